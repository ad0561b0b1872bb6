"""What happens to a test whose server program is missing: it is skipped, or fails where every program is demanded."""

from __future__ import annotations

import os
import subprocess

import pytest

from tests.support.programs import MissingProgramError, find_program

REQUIRE_REAL = "RINGBACK_REQUIRE_REAL"
"""The environment variable that is 1 where every server program must be there."""


def need(name: str) -> None:
    """Look for a server program or a Perl module; skip the test, naming it, or fail where `REQUIRE_REAL` is 1."""
    try:
        if "::" in name:
            _find_module(name)
        else:
            find_program(name)
    except MissingProgramError as missing:
        if os.environ.get(REQUIRE_REAL) == "1":
            pytest.fail(f"{missing}, and {REQUIRE_REAL}=1 demands it", pytrace=False)
        pytest.skip(str(missing))


def _find_module(name: str) -> None:
    """See that Perl loads a module: without Net::SSLeay, swaks runs and speaks no TLS."""
    command = [find_program("perl"), f"-M{name}", "-e", "1"]
    if subprocess.run(command, capture_output=True, check=False).returncode != 0:
        raise MissingProgramError(f"{name} is not installed")
