"""`duplicate` (RFC 7352) over several workers, and over two servers that share a Redis."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.support.exchanger import Step, says
from tests.support.house import greeted, opened
from tests.support.ringback import Ringback
from tests.support.servers import RedisServer
from tests.support.world import Stage

SCRIPT = 'require ["duplicate", "reject"];\nif duplicate :handle "x" { reject "seen before"; }\n'


async def _sent(ringback: Ringback, number: int) -> str:
    async with await greeted(ringback) as client:
        letter = f"Message-ID: <{number}@sender.test>\r\n\r\nbody\r\n".encode()
        return (await client.deliver("a@sender.test", ["b@example.com"], letter))[:3]


def _prepare(folder: Path) -> None:
    folder.mkdir()
    (folder / "data.sieve").write_text(SCRIPT)
    (folder / "state").mkdir()


async def _house(stage: Stage, folder: Path, upstream: int, store: str = "") -> Ringback:
    _prepare(folder)
    sieve = f'sieve {{\n  dialect = rfc5228\n  data_phase1 = "{folder}/data.sieve"\n{store}}}'
    lines = (f'State_Directory = "{folder}/state"', "Workers = 2", sieve)
    return await opened(stage, folder, *lines, upstream_port=upstream)


async def test_several_workers_know_the_same_messages_but_only_those_that_were_delivered(
    stage: Stage, tmp_path: Path
) -> None:
    upstream = await stage.upstream(script={Step.DOT: says("451 4.3.0 not now")})
    ringback = await _house(stage, tmp_path / "one", upstream.port)
    assert [await _sent(ringback, 1) for _ in range(3)] == ["451"] * 3  # none was delivered, so none is known
    del upstream.script[Step.DOT]
    assert [await _sent(ringback, 1) for _ in range(8)] == ["250"] + ["550"] * 7  # whichever worker they come to
    assert await _sent(ringback, 2) == "250"


@pytest.mark.real("redis-server")
async def test_two_servers_with_one_redis_know_the_same_messages(stage: Stage, tmp_path: Path) -> None:
    upstream = await stage.upstream()
    with RedisServer() as redis:
        store = f'  store = "redis://{redis.address}/0"\n'
        one = await _house(stage, tmp_path / "one", upstream.port, store)
        other = await _house(stage, tmp_path / "other", upstream.port, store)
        assert [await _sent(each, 1) for each in (one, other, one)] == ["250", "550", "550"]
        assert [await _sent(each, 2) for each in (other, one)] == ["250", "550"]
