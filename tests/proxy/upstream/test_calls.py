"""What one relayed message costs on a kept connection, in function calls: they are the same on every machine."""

from __future__ import annotations

import asyncio
import cProfile
import pstats
from pathlib import Path as File
from typing import cast

import uvloop

from proxy import outgoing, upstream
from proxy.mail.session import Path, Recipient, Session
from proxy.upstream.pools import Pools
from proxy.upstream.relay import UpstreamRelay
from proxy.upstream.routes import Router
from tests.support.worker import ALICE, BOB, LETTER, assembly, core, resolver

MOST_CALLS = 90
ROUNDS = 50
OUR_ROOMS = tuple(str(File(room.__file__ or "").parent) for room in (outgoing, upstream))

SENDER = Path(ALICE.encode(), "alice", "sender.test")
RECIPIENT = Path(BOB.encode(), "bob", "example.com")


class Sink(asyncio.Protocol):
    """Accepts all mail."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)
        self._in_content, self._count = False, 0
        self._say(b"220 sink.test ESMTP\r\n")

    def data_received(self, data: bytes) -> None:
        if self._in_content:
            self._in_content = False
            self._count += 1
            self._say(b"250 2.0.0 Ok: queued as %06d\r\n" % self._count)
        elif data.startswith(b"EHLO"):
            self._say(b"250-sink.test\r\n250-PIPELINING\r\n250 SIZE\r\n")
        elif data.startswith(b"MAIL"):
            self._say(b"250 2.1.0 Ok\r\n250 2.1.5 Ok\r\n")
        elif data.startswith(b"DATA"):
            self._in_content = True
            self._say(b"354 End data with <CR><LF>.<CR><LF>\r\n")
        else:
            self._say(b"221 2.0.0 Bye\r\n")

    def _say(self, reply: bytes) -> None:
        self._transport.write(reply)


async def relay(router: Router, pools: Pools, session: Session) -> None:
    """Relay one message."""
    one = UpstreamRelay(router, pools, session)
    await one.recipients(session.transaction, [RECIPIENT])
    await one.begin()
    assert (await one.finish(LETTER)).accepted


def calls(profile: cProfile.Profile) -> float:
    """Return the calls a message of functions of the rooms, and of those that they call."""
    total = 0
    for (file, _, _), (_, count, _, _, callers) in pstats.Stats(profile).stats.items():  # type: ignore[attr-defined]
        if file.startswith(OUR_ROOMS):
            total += count
        else:
            total += sum(times[1] for (by, _, _), times in callers.items() if by.startswith(OUR_ROOMS))
    return total / ROUNDS


def test_a_message_on_a_kept_connection_takes_few_calls() -> None:
    profile = cProfile.Profile()

    async def run() -> None:
        loop = asyncio.get_running_loop()
        server = await loop.create_server(Sink, "127.0.0.1", 0)
        pools, router = Pools(resolver()), Router(assembly(server.sockets[0].getsockname()[1]).settings)
        session = Session(loop, ("127.0.0.1", 1), ("127.0.0.1", 25), core())
        session.transaction.begin(SENDER, {})
        session.transaction.add(Recipient(RECIPIENT))
        for _ in range(ROUNDS):
            await relay(router, pools, session)
        profile.enable()
        for _ in range(ROUNDS):
            await relay(router, pools, session)
        profile.disable()
        await pools.close()
        server.close()

    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(run())
    assert calls(profile) <= MOST_CALLS
