"""Which event loops the tests run on: what touches transports, on asyncio's own and on the server's uvloop."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping

import pytest
import uvloop

_ON_BOTH = frozenset(
    {
        "test_dialing.py", "test_wire.py", "test_protocol.py", "test_authentication.py",
        "test_forwarded.py", "test_implicit_tls.py", "test_tls_half_close.py", "test_descriptors.py",
    }
)  # fmt: skip
_ON_THE_SERVERS = frozenset(
    {"test_fairness.py", "test_relay.py", "test_pool.py", "test_reception.py", "test_worker.py"}
)


@pytest.hookimpl(optionalhook=True)
def pytest_asyncio_loop_factories(item: pytest.Item) -> Mapping[str, Callable[[], asyncio.AbstractEventLoop]]:
    """Return the loops of a test."""
    if item.path.name in _ON_BOTH:
        return {"asyncio": asyncio.new_event_loop, "uvloop": uvloop.new_event_loop}
    return (
        {"uvloop": uvloop.new_event_loop} if item.path.name in _ON_THE_SERVERS else {"asyncio": asyncio.new_event_loop}
    )
