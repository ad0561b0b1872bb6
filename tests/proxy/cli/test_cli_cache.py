"""`ringback cache`: what is remembered can be looked up, counted and forgotten, or it is said why not."""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path

import pytest

from proxy.callback.cache import CallbackCache
from proxy.callback.lives import Lives
from proxy.callback.question import Question
from proxy.callback.verdict import CallbackVerdict, Status
from proxy.modules.smtp_cbv.making import cache_of
from proxy.modules.smtp_cbv.options import SmtpCbvOptions
from proxy.options.store import parse_store_url
from proxy.store.memory import MemoryStore
from proxy.store.opening import open_store
from tests.proxy.cli.test_cli import process
from tests.support.servers import RedisServer

UNKNOWN = CallbackVerdict(Status.FAIL, "no_such_user", "5.1.1 no", "rcpt", 550, "mx.test", "192.0.2.1")
ACCEPTED = CallbackVerdict(Status.PASS, "accepted", "2.1.5 Ok", "rcpt", 250, "mx.test", "192.0.2.1")
GONE = CallbackVerdict(Status.FAIL, "nxdomain", "gone.test: no such domain", "dns")

CONFIGURATION = """\
ESMTP_Listener = ( 127.0.0.1:0 )
Hostname = "ringback.test"
Gateway = "127.0.0.1"
smtp_cbv passive {{
  store = "{store}"
}}
"""


def written(folder: Path, store: str) -> Path:
    path = folder / "ecelerity.conf"
    path.write_text(CONFIGURATION.format(store=store))
    return path


async def keep(store_url: str, work: Callable[[CallbackCache], Awaitable[None]]) -> None:
    url = parse_store_url(store_url)
    store = open_store(url)
    await work(cache_of(SmtpCbvOptions(), url, store))
    await store.close()


async def _fill(cache: CallbackCache) -> None:
    await cache.keep(Question("alice", "sender.test", ""), UNKNOWN)
    await cache.keep(Question("alice", "sender.test", "probe@ringback.test"), ACCEPTED)
    await cache.keep(Question("list+bob", "sender.test", ""), ACCEPTED)
    await cache.keep(Question("carol", "gone.test", ""), GONE)
    await cache.mark("catchall", "sender.test", 600.0)


@pytest.fixture(params=["sqlite", pytest.param("redis", marks=pytest.mark.real("redis-server"))])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[str]:
    if request.param == "sqlite":
        yield f"sqlite://{tmp_path}/callback.db"
        return
    with RedisServer() as server:
        yield f"redis://{server.address}/0"


async def test_what_is_kept_is_shown_counted_and_forgotten(tmp_path: Path, store: str) -> None:
    await keep(store, _fill)
    path = written(tmp_path, store)

    async def cache(*arguments: str) -> tuple[int, str, str]:
        return await process("cache", "-c", path, *arguments)

    assert await cache("count") == (0, "5\n", "")  # the +tag's family has a record of its own
    status, out, _ = await cache("lookup", "alice@SENDER.test")
    rows = out.splitlines()
    assert (status, sorted(rows[::2])) == (
        0,
        [
            "fail      no_such_user alice@SENDER.test: 550 5.1.1 no",
            "pass      accepted     alice@SENDER.test: 250 2.1.5 Ok",
        ],
    )
    assert all(row.startswith("  found ") and " s ago, valid for " in row for row in rows[1::2])
    assert await cache("lookup", "sender.test") == (0, "sender.test: catchall\n", "")
    assert (await cache("lookup", "gone.test"))[1].startswith(
        "fail      nxdomain     gone.test: gone.test: no such domain\n"
    )
    follow = "running servers follow within 60 seconds\n"
    assert await cache("purge", "list+bob@sender.test") == (0, f"2 records removed; {follow}", "")
    assert await cache("purge", "sender.test") == (0, f"2 records removed; {follow}", "")
    nothing = "sender.test: nothing is cached\n"
    assert await cache("lookup", "sender.test") == (1, "", nothing)
    assert await cache("lookup", "alice@sender.test") == (1, "", f"alice@{nothing}")
    assert (await cache("purge", "--all"))[0] == 0
    assert await cache("count") == (0, "0\n", "")


async def test_the_memory_of_a_running_server_cannot_be_reached(tmp_path: Path) -> None:
    assert await process("cache", "-c", written(tmp_path, "memory"), "count") == (
        69,
        "",
        "verdicts are only in the server's memory: other processes cannot see them, and a restart loses them\n",
    )


async def test_a_file_that_no_server_has_made_is_not_made(tmp_path: Path) -> None:
    file = tmp_path / "callback.db"
    status, out, err = await process("cache", "-c", written(tmp_path, f"sqlite://{file}"), "purge", "--all")
    assert (status, out, err) == (69, "", f"sqlite://{file}: nothing has been stored there yet\n")
    assert not file.exists()


@pytest.mark.parametrize("arguments", [["count"], ["lookup", "a@sender.test"], ["purge", "--all"]])
async def test_a_store_that_cannot_be_reached_exits_69_and_says_why(tmp_path: Path, arguments: list[str]) -> None:
    status, out, err = await process("cache", "-c", written(tmp_path, "redis://127.0.0.1:9/0"), *arguments)
    assert (status, out, err.count("\n")) == (69, "", 1)
    assert err.startswith("redis://127.0.0.1:9/0: ")


@pytest.mark.parametrize("subject", ["a b@sender.test", "@", "a@b@c", "sender test"])
async def test_what_is_neither_an_address_nor_a_domain_exits_64(tmp_path: Path, subject: str) -> None:
    status, out, err = await process("cache", "-c", written(tmp_path, "memory"), "purge", subject)
    assert (status, out, err) == (64, "", f"{subject}: neither an address nor a domain\n")


@pytest.mark.parametrize("arguments", [["purge"], ["purge", "sender.test", "--all"]])
async def test_to_forget_everything_is_said_in_so_many_words(tmp_path: Path, arguments: list[str]) -> None:
    status, _, err = await process("cache", "-c", written(tmp_path, "memory"), *arguments)
    assert status == 2
    assert "give an address or a domain, or --all" in err


async def test_with_a_secret_the_same_questions_are_answered_and_no_address_is_kept() -> None:
    store = MemoryStore(time.time)
    cache = CallbackCache(Lives(), store, most=100, shared=False, secret=b"s" * 32)
    await _fill(cache)
    assert {each.verdict.status for each in await cache.held("sender.test", "alice")} == {Status.FAIL, Status.PASS}
    assert (await cache.facts("sender.test"), await cache.facts("gone.test")) == (["catchall"], [])
    assert not [key for key, _ in await store.scan() if "alice" in key or "sender.test" in key]
    assert await cache.purge("list+bob", "sender.test") == 2
    assert await cache.purge("", "sender.test") == 2
    assert await cache.held("sender.test", "alice") == []


@pytest.mark.parametrize(
    ("local_part", "text", "kept"),
    [
        ("alice", "5.1.1 <Alice@sender.test>: user alice unknown", "5.1.1 <<address>>: user <user> unknown"),
        ("a", "5.1.1 a: no such user as a", "5.1.1 <user>: no such user as <user>"),
        ("a.b", "5.1.1 axb a.b.", "5.1.1 axb <user>."),
    ],
)
async def test_with_a_secret_the_exchangers_words_are_kept_without_the_address(
    local_part: str, text: str, kept: str
) -> None:
    cache = CallbackCache(Lives(), MemoryStore(time.time), most=100, shared=False, secret=b"s" * 32)
    verdict = CallbackVerdict(Status.FAIL, "no_such_user", text, "rcpt", 550)
    assert (await cache.keep(Question(local_part, "sender.test", ""), verdict)).verdict.text == kept
