"""What all tests share: the skip, or the failure, where a real server is missing."""

from __future__ import annotations

import pytest

from tests.support.required import need


def pytest_runtest_setup(item: pytest.Item) -> None:
    """Look for the servers that a test's `real` markers name, before its fixtures start anything."""
    for marker in item.iter_markers("real"):
        for name in marker.args:
            need(name)
