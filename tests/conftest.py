"""What all tests share: the skip, or the failure, where a real server is missing."""

from __future__ import annotations

import os

import pytest

from tests.support.programs import MissingProgramError, find_program

REQUIRE_REAL = "RINGBACK_REQUIRE_REAL"


def pytest_runtest_setup(item: pytest.Item) -> None:
    """Look for the servers that a test's `real` marker names, before its fixtures start anything."""
    for marker in item.iter_markers("real"):
        for name in marker.args:
            _need(name)


def _need(name: str) -> None:
    try:
        find_program(name)
    except MissingProgramError as missing:
        if os.environ.get(REQUIRE_REAL) == "1":
            pytest.fail(f"{missing}, and {REQUIRE_REAL}=1 demands it", pytrace=False)
        pytest.skip(str(missing))
