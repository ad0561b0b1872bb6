"""On which event loop these run: the server's, and where the upstream is silent, one whose clock can be put forward."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping

import pytest
import uvloop

from tests.support.skipping import SkippingLoop


@pytest.hookimpl(optionalhook=True)
def pytest_asyncio_loop_factories(item: pytest.Item) -> Mapping[str, Callable[[], asyncio.AbstractEventLoop]]:
    """Return the loop of a test."""
    if item.path.name == "test_fault_silence.py":
        return {"skipping": SkippingLoop}
    return {"uvloop": uvloop.new_event_loop}
