"""What all tests share: a real server that is missing skips or fails a test, and a wrong event fails it."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator

import pytest

from tests.support.events import Watch
from tests.support.required import need

_watch = Watch()

# A container may forbid bytecode. Then each process compiles all that it loads, and each start takes a second more.
sys.dont_write_bytecode = False
os.environ.pop("PYTHONDONTWRITEBYTECODE", None)

_FIRST = frozenset({"test_debian.py", "test_image.py", "test_wheel.py"})
"""Each of these builds for a minute or more. At the end of a run, the other processes would wait for them."""


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Begin with what takes longest: one process of pytest-xdist has all of it, and none waits for another's build."""
    items.sort(key=lambda item: item.path.name not in _FIRST)


def pytest_sessionfinish(session: pytest.Session, exitstatus: int) -> None:
    """Keep how the run ended: `.ci/run` tries failures again only if all tests have run (1, pytest's TESTS_FAILED)."""
    if getattr(session.config, "cache", None) is not None and not hasattr(session.config, "workerinput"):
        session.config.cache.set("ringback/ended", int(exitstatus))


def pytest_runtest_setup(item: pytest.Item) -> None:
    """Look for the servers that a test's `real` markers name, before its fixtures start anything."""
    for marker in item.iter_markers("real"):
        for name in marker.args:
            need(name)


@pytest.fixture(autouse=True)
def _events_are_declared() -> Iterator[None]:
    """Compare every event that this test logs with its declaration."""
    _watch.problems.clear()
    yield
    assert not _watch.problems
