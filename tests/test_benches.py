"""The benches, as far as a busy machine can tell: they load, and what few others run works."""

from __future__ import annotations

import importlib
import json
import sys
from pathlib import Path

import pytest

from bench import authentication
from proxy.modules.services import Background
from tests.support.programs import Program
from tests.support.ringback import environment

BENCHES = sorted(path.stem for path in Path(authentication.__file__).parent.glob("*.py"))


@pytest.mark.parametrize("name", BENCHES)
def test_a_bench_can_be_loaded(name: str) -> None:
    importlib.import_module(f"bench.{name}")


@pytest.mark.parametrize("row", authentication.rows()[:-1], ids=lambda row: row.name)
async def test_the_messages_of_the_bench_of_senders_pass_the_checks(row: authentication.Row) -> None:
    background = Background()
    validators = authentication.validators_of(row.modules, 0, background)
    await authentication.checked(authentication.PhasePipeline(validators), validators, row.content)
    await background.close()


PROBE = {"calls, memory": 1450, "calls, sqlite": 2750, "octets, EHLO": 18_500, "octets, RCPT": 18_000}
"""At most, for one probe that is asked alone. It was twice as much with a task and timers for each who waits."""


def test_a_probe_makes_few_calls_and_takes_few_octets(tmp_path: Path) -> None:
    arguments = [sys.executable, "-m", "bench.probes"]
    program = Program(arguments, folder=tmp_path, name="probes", environment=environment())
    assert program.wait(within=180) == 0, program.printed()[-3000:]
    found = json.loads(program.stdout.read_text())
    assert found.keys() == PROBE.keys()
    assert not {name: value for name, value in found.items() if value > PROBE[name]}
