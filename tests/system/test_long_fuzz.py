"""A running server under many sessions of random bytes: it answers by the grammar, fails nowhere, and keeps nothing.

The sessions come from a fixed seed. What they are made of is what front fuzzing on one loop is made of; here the
process is the real one, so that its memory can be looked at.
"""

from __future__ import annotations

import asyncio
import random
import re
from contextlib import suppress
from pathlib import Path

import pytest

from proxy.cli.state import _asked
from tests.support.conversation import Conversation
from tests.support.exchanger import says
from tests.support.house import opened
from tests.support.ringback import Ringback
from tests.support.waiting import BOUND, eventually
from tests.support.world import Stage

pytestmark = pytest.mark.real("dnsmasq")

SEED = 5321
AT_ONCE = 25
WARMING = 1500
"""Sessions until interpreter and allocator have what they want to keep."""

MEASURED = 4500
MOST_GROWTH = 3 * 1024
"""KiB; a leak of one small object a session would pass it, and so would one buffer in a hundred."""

LINE = re.compile(rb"[2345][0-5][0-9][ -][ -~]{0,506}")
WORDS = (
    b"EHLO client.test\r\n", b"HELO client.test\r\n", b"MAIL FROM:<>\r\n", b"MAIL FROM:<a@sender.test> SIZE=10\r\n",
    b"RCPT TO:<bob@example.com>\r\n", b"RCPT TO:<nobody@example.com>\r\n", b"DATA\r\n", b"Subject: s\r\n\r\n",
    b"\r\n.\r\n", b".\r\n", b"BDAT 3\r\nabc", b"BDAT 0 LAST\r\n", b"BDAT 5 LAST\r\nabcde", b"BDAT 9999 LAST\r\n",
    b"RSET\r\n", b"NOOP\r\n", b"VRFY x\r\n", b"QUIT\r\n", b"STARTTLS\r\n", b"\n", b"\r", b"\0", b"<", b"@", b'"', b"=",
    b"MAIL FROM:", b"RCPT TO:<", b"SMTPUTF8", b"\xff", "ü".encode(), b"x" * 2100, b"y" * 9000, b"[IPv6:::1]", b"\x1b",
    b"Host: x\r\n", b"XCLIENT ADDR=1\r\n", b"PROXY UNKNOWN\r\n", b"AUTH PLAIN AAAA\r\n",
)  # fmt: skip
PREFACES = (
    b"",
    b"EHLO client.test\r\n",
    b"EHLO client.test\r\nMAIL FROM:<>\r\nRCPT TO:<bob@example.com>\r\n",
    b"EHLO client.test\r\nMAIL FROM:<>\r\nRCPT TO:<bob@example.com>\r\nDATA\r\n",
    b"EHLO client.test\r\nMAIL FROM:<>\r\nRCPT TO:<bob@example.com>\r\nBDAT 3\r\nabc",
)


def packets(chance: random.Random) -> list[bytes]:
    """Return what one client sends after its preface."""

    def fragment() -> bytes:
        return chance.choice(WORDS) if chance.random() < 0.85 else chance.randbytes(chance.randrange(40))

    return [b"".join(fragment() for _ in range(chance.randrange(9))) for _ in range(chance.randrange(5))]


async def prefaced(client: Conversation, preface: bytes) -> None:
    """Say the preface as it must be said: EHLO and DATA are the last of what goes out together."""
    greeting, _, rest = preface.partition(b"\r\n")
    if greeting:
        await client.send_raw(greeting + b"\r\n")
        await client.reply()
    if rest:
        await client.send_raw(rest)
        for _ in range(rest.count(b"\r\n")):
            await client.reply()


async def session(port: int, chance: random.Random) -> None:
    """Be one random client; whatever is answered is made of replies."""
    preface, sent, leaves = chance.choice(PREFACES), packets(chance), chance.random() < 0.2
    client = await Conversation.open("127.0.0.1", port)
    try:
        await prefaced(client, preface)
        with suppress(OSError):  # the server may close before everything is sent
            for each in sent:
                await client.send_raw(each)
            if leaves:
                return
            client.half_close()
        lines = (await client.rest()).split(b"\r\n")
        assert lines.pop() == b""
        assert [each for each in lines if not LINE.fullmatch(each)] == [], sent
    finally:
        client.abort()


async def many(port: int, chance: random.Random, sessions: int) -> None:
    """Be many clients, some at a time."""
    for _ in range(sessions // AT_ONCE):
        async with asyncio.TaskGroup() as group:
            for _ in range(AT_ONCE):
                group.create_task(session(port, random.Random(chance.random())))  # noqa: S311 — reproducible


def connections(state: Path) -> int | None:
    """Return how many there are; None while the control process starts."""
    try:
        return int(_asked(state, "status")["connections"])
    except OSError:
        return None


def kibibytes(ringback: Ringback) -> int:
    """Return the worker's resident memory."""
    (worker,) = ringback.workers
    found = re.search(r"VmRSS:\s+(\d+) kB", Path(f"/proc/{worker}/status").read_text())
    assert found is not None
    return int(found[1])


async def test_thousands_of_random_sessions_fail_nowhere_and_leave_nothing_in_memory(
    stage: Stage, tmp_path: Path
) -> None:
    upstream = await stage.upstream(recipients={"nobody@example.com": says("550 5.1.1 Nobody")})
    state = tmp_path / "state"
    state.mkdir()
    lines = "Max_Message_Size = 50000", f'State_Directory = "{state}"'
    ringback = await opened(stage, tmp_path, *lines, upstream_port=upstream.port)
    chance = random.Random(SEED)  # noqa: S311 — reproducible

    grown = []
    for sessions in (WARMING, MEASURED):
        await many(ringback.port, chance, sessions)
        async with asyncio.timeout(BOUND):
            await eventually(lambda: connections(state) == 0, "every session is over")
        grown.append(kibibytes(ringback))
        upstream.messages.clear()
    assert grown[1] - grown[0] < MOST_GROWTH, grown
    assert [each for each in ringback.log if each.get("level") in {"error", "critical"}] == []
    assert [each for each in ringback.log if each["event"] == "unstructured"] == []
    assert "Traceback" not in ringback.program.printed()
