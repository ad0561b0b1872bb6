"""What the tests of counting share."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator

import pytest

from tests.support.counting import KINDS, Backing, counting_on
from tests.support.servers import RedisServer


@pytest.fixture(scope="session")
def redis_server() -> Iterator[RedisServer]:
    with RedisServer() as server:
        yield server


@pytest.fixture(params=KINDS)
async def backing(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Backing]:
    server = request.getfixturevalue("redis_server") if request.param == "redis" else None
    async with counting_on(request.param, monkeypatch, server) as made:
        yield made
