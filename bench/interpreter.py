"""Which Python the benchmarks run on, whether its build was optimised with a profile (PGO), and its garbage collection.

A Python without it is 20 to 60 % slower, so Ringback looks slower beside Postfix. `python bench/interpreter.py` says
which build it is; the exit status is 0 if it is optimised and new enough. `make bench` asks /usr/bin/python3 before
others. With `--complete`, it must also be able to make environments and to build libraries: `make test` and
`make demo` ask so.
"""

from __future__ import annotations

import gc
import importlib.util
import platform
import sys
import sysconfig
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

OLDEST = (3, 11)

DEBIAN = ("--prefix=/usr'", "-Wdate-time", "--with-wheel-pkg-dir=/usr/share/python-wheels/")
"""Debian and Ubuntu build their python3 with a profile, but record the configuration of the shared library's build."""


def optimised() -> bool:
    """Tell whether this Python was built with a profile, as far as its own record says."""
    arguments = str(sysconfig.get_config_var("CONFIG_ARGS") or "")
    return (
        "--enable-optimizations" in arguments
        or "-fprofile-use" in str(sysconfig.get_config_var("PY_CORE_CFLAGS") or "")
        or all(each in arguments for each in DEBIAN)
    )


def complete() -> bool:
    """Tell whether it can make environments and build libraries; Debian has packages of their own for both."""
    headers = Path(sysconfig.get_path("include"), "Python.h")
    return importlib.util.find_spec("ensurepip") is not None and headers.is_file()


def named() -> str:
    """Return its version and where it comes from."""
    kind = "optimised" if optimised() else "NOT OPTIMISED: its figures are too low, compare none of them"
    return f"{platform.python_version()} ({getattr(sys, 'base_prefix', sys.prefix)}, {kind})"


def warn() -> None:
    """Say on standard error that the figures are too low, if they are."""
    if not optimised():
        sys.stderr.write(
            f"warning: {sys.executable} was built without --enable-optimizations. Its figures mean little:\n"
            "use the system's python3, or build one so, and run make bench BENCH_PYTHON=/path/to/python3\n"
        )


@contextmanager
def without_collections() -> Iterator[None]:
    """Collect no garbage of this process meanwhile: that took the clients 60 ms, which looked like the server's."""
    gc.collect()
    gc.disable()
    try:
        yield
    finally:
        gc.enable()


if __name__ == "__main__":
    sys.stdout.write(f"{named()}\n")
    able = optimised() and sys.version_info >= OLDEST
    sys.exit(0 if able and (complete() or "--complete" not in sys.argv[1:]) else 1)
