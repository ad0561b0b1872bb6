"""Ends that a busy session must not miss: its time is over, its client is lost, a hook was cancelled."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from typing import cast

import pytest

from proxy.mail.replies import Reply
from proxy.mail.session import Session
from proxy.mail.validator import Hook
from proxy.mail.verdict import PASS, Verdict
from proxy.smtp.connection import LINES_IN_A_TURN
from proxy.smtp.ports import SessionHooks
from proxy.smtp.protocol import SmtpProtocol
from sieve.phases import Phase
from tests.support.exchanger import Exchanger
from tests.support.gate import Gate, Place
from tests.support.waiting import eventually
from tests.support.worker import ALICE, SENDER_OK, Rule, WorkerStage, serving

TIMEOUT = "421 4.4.2 Timeout exceeded, closing"
INTERNAL = "451 4.3.0 Temporary failure, try again later"
LIFETIME = 1000


def session_of(stage: WorkerStage) -> SmtpProtocol:
    (session,) = stage.worker.front.live
    return cast(SmtpProtocol, session)


def grow_old(session: SmtpProtocol) -> None:
    """Let the session's time be over."""
    session.session.tally.started -= LIFETIME + 1


async def test_a_session_whose_time_is_over_takes_no_more_commands_after_one_that_waited() -> None:
    waits, released = asyncio.Event(), asyncio.Event()

    async def later(_session: Session) -> Verdict:
        waits.set()
        await released.wait()
        return PASS

    async with serving(None, Rule(Phase.MAILFROM, later), session_time=LIFETIME) as stage:
        client = await stage.greeted()
        await client.send(f"MAIL FROM:<{ALICE}>", "RSET", "QUIT")
        await waits.wait()
        grow_old(session_of(stage))
        released.set()
        assert (await client.rest()).decode().split("\r\n") == [SENDER_OK, TIMEOUT, ""]


async def test_a_session_whose_time_is_over_ends_with_its_turn() -> None:
    async with serving(None, session_time=LIFETIME) as stage:
        client = await stage.greeted()
        grow_old(session_of(stage))
        await client.send(*["RSET"] * (LINES_IN_A_TURN + 30))
        replies = (await client.rest()).decode().split("\r\n")
        assert len(replies) <= LINES_IN_A_TURN + 2
        assert replies[-2:] == [TIMEOUT, ""]


TRANSACTION = [f"MAIL FROM:<{ALICE}>", "RCPT TO:<reply.1@example.com>"]
CHUNK = b"BDAT 14 LAST\r\nSubject: x\r\n\r\n"


async def test_a_client_lost_after_the_commit_point_gets_nothing_more_done_and_its_session_ends() -> None:
    async with Exchanger() as upstream, Gate(upstream.port) as gate, serving(cast(Exchanger, gate)) as stage:
        client = await stage.greeted()
        session = session_of(stage)
        assert len(await client.pipeline(*TRANSACTION)) == 2
        again = "".join(f"{each}\r\n" for each in TRANSACTION).encode() + CHUNK
        await client.send_raw(CHUNK + again)
        await eventually(lambda: gate.held[Place.REPLY], "the next hop judges the message")
        session.pause_writing()  # it did not read its replies
        client.abort()
        await eventually(lambda: session.connection.lost, "the client is lost")
        gate.release.set()
        await stage.ended()
    assert len(upstream.messages) == 1


class Now(Rule):
    """A rule whose hook is a plain function."""

    def hooks(self) -> Mapping[Phase, Hook]:
        return {self.phase: self.fail}

    def fail(self, session: Session) -> Verdict:
        del session
        raise asyncio.CancelledError


async def awaits_what_was_cancelled(_session: Session) -> Verdict:
    other = asyncio.get_running_loop().create_future()
    other.cancel()
    await other
    return PASS


@pytest.mark.parametrize(
    "rule", [Now(Phase.MAILFROM), Rule(Phase.MAILFROM, awaits_what_was_cancelled)], ids=["at-once", "later"]
)
async def test_a_hook_that_was_cancelled_has_failed_and_the_session_goes_on(rule: Rule) -> None:
    async with serving(None, rule) as stage:
        client = await stage.greeted()
        assert await client.ask(f"MAIL FROM:<{ALICE}>") == INTERNAL
        assert await client.ask("NOOP") == "250 2.0.0 OK"


async def test_a_hook_of_a_command_that_was_cancelled_is_our_failure_and_the_session_goes_on() -> None:
    async def noop(_session: Session, _argument: str) -> Reply | None:
        other = asyncio.get_running_loop().create_future()
        other.cancel()
        return await other

    async with serving(None) as stage:
        client = await stage.greeted()
        stage.worker.front.hooks = SessionHooks(noop=noop)
        assert await client.ask("NOOP") == INTERNAL
        stage.worker.front.hooks = SessionHooks()
        assert await client.ask("NOOP") == "250 2.0.0 OK"


async def test_a_hook_that_raises_what_is_no_exception_ends_its_session_and_no_other() -> None:
    async def broken(_session: Session) -> Verdict:
        await asyncio.sleep(0)
        raise GeneratorExit

    async with serving(None, Rule(Phase.MAILFROM, broken)) as stage:
        client, other = await stage.greeted(), await stage.greeted()
        await client.send(f"MAIL FROM:<{ALICE}>")
        assert (await client.rest()).decode().startswith("421 4.3.0 ")
        assert await other.ask("NOOP") == "250 2.0.0 OK"
        assert len(stage.worker.front.live) == 1


async def test_the_longest_proxy_header_is_read_although_it_comes_in_pieces() -> None:
    fixed = b"\r\n\r\n\0\r\nQUIT\n\x21\x11" + (65_535).to_bytes(2)
    header = fixed + bytes((192, 0, 2, 7, 192, 0, 2, 25)) + (40_025).to_bytes(2) + (25).to_bytes(2) + bytes(65_535 - 12)
    async with serving(None, proxy_protocol_networks="( 127.0.0.0/8 )") as stage:
        client = await stage.connection()
        await client.send_raw(header[:-8])
        await eventually(
            lambda: len(session_of(stage).connection.buffer) == len(header) - 8, "all but its end has come"
        )
        await client.send_raw(header[-8:])
        assert (await client.reply()).startswith("220 ")
        assert session_of(stage).session.client_ip == "192.0.2.7"
