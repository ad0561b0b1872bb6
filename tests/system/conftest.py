"""The servers of the system tests: Postfix and dnsmasq once a run, everything else once a test."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from contextlib import AsyncExitStack
from pathlib import Path

import pytest
import uvloop

from tests.support.programs import free_port
from tests.support.ringback import Ringback, Setup
from tests.support.servers import Dnsmasq, Postfix
from tests.support.world import ZONE, Stage

_ON_THE_SERVERS_LOOP = frozenset({"test_decisions.py", "test_real_exchangers.py"})
"""What asks runs in the test's own process there; connections fail in other ways on uvloop than on asyncio's loop."""


@pytest.hookimpl(optionalhook=True)
def pytest_asyncio_loop_factories(item: pytest.Item) -> Mapping[str, Callable[[], asyncio.AbstractEventLoop]]:
    """Return the loop of a test."""
    if item.path.name in _ON_THE_SERVERS_LOOP:
        return {"uvloop": uvloop.new_event_loop}
    return {"asyncio": asyncio.new_event_loop}


@pytest.fixture(scope="session")
def postfix() -> Iterator[Postfix]:
    with Postfix() as server:
        yield server


@pytest.fixture(scope="session")
def nameserver() -> Iterator[Dnsmasq]:
    with Dnsmasq(ZONE) as server:
        yield server


@pytest.fixture(scope="module")
def ringback(nameserver: Dnsmasq, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Ringback]:
    """One Ringback for a whole module: it lives through every fault of its tests, and ends cleanly after the last.

    Each test puts its own upstream where this one expects it; senders are null, so that no verdict is remembered.
    """
    setup = Setup(upstream_port=free_port(), nameserver=nameserver.address)
    server = Ringback(setup, tmp_path_factory.mktemp("ringback"))
    server.start()
    yield server
    server.stop()


@pytest.fixture
async def stage(tmp_path: Path, nameserver: Dnsmasq) -> AsyncIterator[Stage]:
    """Take everything down at the end, Ringback first, and look at what the scripted servers found amiss."""
    async with AsyncExitStack() as stack:
        made = Stage(stack, tmp_path, nameserver)
        yield made
    assert [fault for server in made.servers for fault in server.faults] == []
