# Targets: demo, test, bench, docs. Each creates .venv and installs what it needs.
#
#   make demo                         with another Python:  make demo PYTHON=python3.13
#   make test ARGS='-k relay'         make demo ARGS=--once          make bench ARGS=--quick
#   make test PROCESSES=2             make test ROUNDS=8           make bench BENCH_PYTHON=/opt/python3.13/bin/python3

# A Python that was built with a profile takes a tenth less time for the tests.
PYTHON ?= $(shell for each in python3 /usr/bin/python3; do \
	$$each bench/interpreter.py --complete >/dev/null 2>&1 && echo $$each && exit; done; echo python3)
VENV   := .venv
BIN    := $(VENV)/bin
PIP    := $(BIN)/python -m pip --disable-pip-version-check --quiet --quiet

# Stamps: installed again if pyproject.toml changes.
RUN := $(VENV)/installed-demo
DEV := $(VENV)/installed-dev

SOURCES := config sieve proxy tests bench packaging

# Processes that share the tests, and how often the oracle kills at each place; `make test-long` runs it whole. System
# tests mostly wait for servers, so more processes than cores pay; each begins at another part of the suite, so that
# those that wait run beside those that calculate.
PROCESSES ?= 5
ROUNDS    ?= 2
PYTEST     = RINGBACK_ORACLE_ROUNDS=$(ROUNDS) $(BIN)/pytest --numprocesses $(PROCESSES) --dist worksteal --durations 25

# Benchmarks want a Python that was built with a profile: the system's, if it is one, in an environment of its own.
BENCH_PYTHON ?= $(shell for each in /usr/bin/python3 $(PYTHON); do \
	$$each bench/interpreter.py >/dev/null 2>&1 && echo $$each && exit; done; echo $(PYTHON))
BENCH_VENV   := .venv-bench

# A container may forbid bytecode. Then each Python compiles all that it loads, and half the time of a start goes there.
unexport PYTHONDONTWRITEBYTECODE

.PHONY: help demo test suite compiled test-long test-busy coverage checks bench bench-quick bench-all bench-relay docs lock clean
.DELETE_ON_ERROR:

help:
	@echo "make demo    run Ringback with demo servers: sample mail, then yours"
	@echo "make test    run the checks and tests"
	@echo "make bench   run the benchmarks; make bench-quick shows the relay's bars in a minute"
	@echo "make docs    generate the reference pages from the code"
	@echo "make clean   remove .venv, builds and caches"
	@echo
	@echo "make checks      linters, types, imports, generated pages"
	@echo "make test-long   the tests with the whole oracle"
	@echo "make test-busy   the tests beside two busy loops"
	@echo "make coverage    the tests, then the lines that none of them ran"
	@echo "make lock        choose the versions for the Debian package and the image again"

demo: $(RUN)
	@$(BIN)/ringback demo $(ARGS)

test: $(DEV)
	@$(MAKE) --no-print-directory --jobs 2 --output-sync=recurse checks compiled
	$(PYTEST) $(ARGS)

# without the checks, which .ci/run does beside its installations
suite: $(DEV)
	$(PYTEST) $(ARGS)

# The bytecode of all tests: otherwise each process makes it for itself, all at the same time.
compiled: $(DEV)
	@$(BIN)/pytest --collect-only --quiet --numprocesses 0 >/dev/null || true

# Here each `ringback` is a new Python; `make test` forks most from one that has loaded it (tests/support/warm.py).
test-long: ROUNDS = 8
test-long: $(DEV)
	RINGBACK_COLD_STARTS=1 $(PYTEST) $(ARGS)

# No test may depend on a quiet machine.
test-busy: $(DEV)
	@$(BIN)/python -c 'while True: pass' & first=$$!; \
	$(BIN)/python -c 'while True: pass' & second=$$!; \
	trap "kill $$first $$second" EXIT INT TERM; \
	$(PYTEST) $(ARGS)

coverage: $(DEV)
	$(PYTEST) --cov --cov-report=term-missing:skip-covered $(ARGS)

checks: $(DEV)
	$(BIN)/ruff check $(SOURCES)
	$(BIN)/ruff format --check $(SOURCES)
	$(BIN)/mypy
	$(BIN)/lint-imports
	$(BIN)/ringback docs --check
	$(BIN)/check-jsonschema --builtin-schema vendor.compose-spec docker-compose.yml

bench:
	@$(MAKE) --no-print-directory VENV=$(BENCH_VENV) PYTHON=$(BENCH_PYTHON) bench-all

bench-quick:
	@$(MAKE) --no-print-directory VENV=$(BENCH_VENV) PYTHON=$(BENCH_PYTHON) bench-relay

# A missed bar does not keep the others from running.
bench-all: $(DEV)
	-$(BIN)/python -m bench.relay $(ARGS)
	-$(BIN)/python -m bench.front
	-$(BIN)/python -m bench.memory
	-$(BIN)/python -m bench.sieve
	-$(BIN)/python -m bench.config_load
	-$(BIN)/python -m bench.callback
	-$(BIN)/python -m bench.fairness
	-$(BIN)/python -m bench.observed
	-$(BIN)/python -m bench.viewers
	-$(BIN)/python -m bench.policy
	-$(BIN)/python -m bench.authentication
	-$(BIN)/python -m bench.crowd
	$(BIN)/python -m bench.history

bench-relay: $(DEV)
	$(BIN)/python -m bench.relay --quick $(ARGS)

docs: $(DEV)
	$(BIN)/ringback docs

# What the Debian package and the image install, each file with its hash. uv asks the registry that its environment names
# (UV_INDEX_URL), and the lock names none. Debian's Python is the oldest that we support.
LOCK := $(VENV)/uv/bin/uv pip compile --quiet --upgrade --generate-hashes --no-annotate --no-header \
	--python-version 3.11.2 --python-platform linux

# drivers that have wheels
EXTRAS := pgsql mysql

lock: $(DEV)
	$(BIN)/python -m venv $(VENV)/uv
	$(VENV)/uv/bin/pip --disable-pip-version-check --quiet install uv
	$(LOCK) $(EXTRAS:%=--extra %) --output-file packaging/requirements.txt pyproject.toml
	printf 'hatchling>=1.26\nsetuptools>=77\n' | $(LOCK) --output-file packaging/build-requirements.txt -

clean:
	rm -rf $(VENV) $(BENCH_VENV) build dist .mypy_cache .ruff_cache .pytest_cache .import_linter_cache .hypothesis .coverage*

$(BIN)/python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { \
	  echo "Ringback needs Python 3.11 or newer; '$(PYTHON)' is older or missing. Name another: make PYTHON=python3.12 ..." >&2; \
	  exit 1; }
	@$(PYTHON) -m venv $(VENV) || { \
	  rm -rf $(VENV); \
	  echo "'$(PYTHON) -m venv' failed; on Debian and Ubuntu, run: apt-get install python3-venv" >&2; \
	  exit 1; }

$(RUN): pyproject.toml | $(BIN)/python
	@echo "installing Ringback into $(VENV)"
	@$(PIP) install --editable .
	@touch $@

$(DEV): pyproject.toml | $(BIN)/python
	@echo "installing Ringback and its development tools into $(VENV)"
	@$(PIP) install --editable '.[dev]'
	@touch $@
