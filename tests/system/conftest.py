"""The servers of the system tests: Postfix and dnsmasq once a run, everything else once a test."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from contextlib import AsyncExitStack
from pathlib import Path

import pytest

from tests.support.servers import Dnsmasq, Postfix
from tests.system.stage import ZONE, Stage


@pytest.fixture(scope="session")
def postfix() -> Iterator[Postfix]:
    with Postfix() as server:
        yield server


@pytest.fixture(scope="session")
def nameserver() -> Iterator[Dnsmasq]:
    with Dnsmasq(ZONE) as server:
        yield server


@pytest.fixture
async def stage(tmp_path: Path, nameserver: Dnsmasq) -> AsyncIterator[Stage]:
    """Take everything down at the end, Ringback first, and look at what the scripted servers found amiss."""
    async with AsyncExitStack() as stack:
        made = Stage(stack, tmp_path, nameserver)
        yield made
    assert [fault for server in made.servers for fault in server.faults] == []
