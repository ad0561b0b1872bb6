"""From an upstream to a connection: addresses in turn, which of them rest, and what is told of the client."""

from __future__ import annotations

import asyncio
import tempfile
from pathlib import Path
from typing import Any

import pytest
from structlog.testing import capture_logs

from proxy.app import load
from proxy.greeting import Dial, dial
from proxy.session import Session
from proxy.upstream.connect import Connector, Unreachable
from proxy.upstream.identity import RefusedUs, _xclient, _xtext, introduce_client
from proxy.upstream.routes import Router, Upstream
from proxy.wire import Wire, WireBroken
from tests.proxy.stage import Names, assembly, core, resolver, unavailable
from tests.support.exchanger import Act, Exchanger, Step, closes, is_silent, says
from tests.support.programs import free_port

BOUND = 10.0


def upstream_at(port: int, **options: Any) -> Upstream:
    return Router(assembly(port, **options).settings).default


def routed(*hosts: str | int, **options: Any) -> Upstream:
    """Return an upstream whose routes are these, ports of 127.0.0.1 or hosts, preferred in this order."""
    named = [f"127.0.0.1:{each}" if isinstance(each, int) else each for each in hosts]
    routes = " ".join(f'"smtp://{each}?pref={at}"' for at, each in enumerate(named))
    with tempfile.NamedTemporaryFile("w", suffix=".conf") as file:
        lines = ["ESMTP_Listener = ( 127.0.0.1:0 )", 'Hostname = "ringback.test"', f"Routes = ( {routes} )"]
        file.write("\n".join([*lines, *(f"{name} = {value}" for name, value in options.items())]) + "\n")
        file.flush()
        return Router(load(Path(file.name))[0].settings).default


def session(*, address: str = "192.0.2.77", helo: str | None = "client.test", extended: bool = True) -> Session:
    made = Session(asyncio.get_running_loop(), (address, 40025), ("192.0.2.2", 25), core())
    made.host_name, made.extended_smtp = helo, extended
    return made


# ---------------------------------------------------------------- which address


async def test_the_first_address_that_takes_a_connection_is_used() -> None:
    async with Exchanger() as first, Exchanger() as second:
        wire = await Connector(routed(first.port, second.port), resolver()).connect()
        assert (len(first.dialogues), len(second.dialogues)) == (1, 0)
        wire.abort("done")


@pytest.mark.parametrize("act", [closes(), says("554 5.7.1 go away"), says("220-no end", "999 what")])
async def test_an_address_that_fails_is_followed_by_the_next_and_then_tried_last(act: Act) -> None:
    async with Exchanger(script={Step.BANNER: act}) as first, Exchanger() as second:
        connector = Connector(routed(first.port, second.port), resolver())
        for _ in range(3):
            (await connector.connect()).abort("done")
        assert (len(first.dialogues), len(second.dialogues)) == (1, 3)


async def test_an_address_that_works_again_rests_no_longer() -> None:
    async with Exchanger(script={Step.BANNER: closes()}) as first, Exchanger() as second:
        connector = Connector(routed(first.port, second.port), resolver())
        (await connector.connect()).abort("done")
        first.script.clear()
        second.script[Step.BANNER] = closes()
        for _ in range(2):
            (await connector.connect()).abort("done")
        assert (len(first.dialogues), len(second.dialogues)) == (3, 2)


async def test_an_address_that_has_rested_is_tried_in_its_turn() -> None:
    async with Exchanger(script={Step.BANNER: closes()}) as first, Exchanger() as second:
        connector = Connector(routed(first.port, second.port, Host_Failure_Retry=0), resolver())
        (await connector.connect()).abort("done")
        first.script.clear()
        (await connector.connect()).abort("done")
        assert (len(first.dialogues), len(second.dialogues)) == (2, 1)


async def test_where_all_fail_the_last_trouble_is_told_once_in_the_log() -> None:
    async with Exchanger(script={Step.BANNER: says("554 5.7.1 go away")}) as upstream:
        with capture_logs() as logs, pytest.raises(RefusedUs, match=r"^127\.0\.0\.1: banner: 554 5\.7\.1 go away$"):
            await Connector(routed(free_port(), upstream.port), resolver()).connect()
    assert [(each["event"], each["reason"]) for each in logs] == [
        ("upstream_unreachable", "127.0.0.1: banner: 554 5.7.1 go away")
    ]


async def test_where_all_rest_one_caller_tries_and_the_others_are_turned_away_at_once() -> None:
    gate = asyncio.Event()
    async with Exchanger(script={Step.BANNER: closes()}) as upstream:
        connector = Connector(upstream_at(upstream.port), resolver())
        with pytest.raises(Unreachable):
            await connector.connect()
        upstream.script[Step.BANNER] = says("220 back", until=gate)
        trying = asyncio.get_running_loop().create_task(connector.connect())
        await upstream.until(lambda: bool(upstream.held), "one tries")
        for _ in range(3):
            with pytest.raises(Unreachable, match=r"^every address failed lately$"):
                await connector.connect()
        gate.set()
        (await trying).abort("done")
        (await connector.connect()).abort("done")
        assert len(upstream.dialogues) == 3


async def test_the_one_that_tries_makes_room_for_the_next_however_it_ends() -> None:
    async with Exchanger(script={Step.BANNER: closes()}) as upstream:
        connector = Connector(upstream_at(upstream.port), resolver())
        for _ in range(3):
            with pytest.raises(Unreachable):
                await connector.connect()
        upstream.script[Step.BANNER] = is_silent()
        trying = asyncio.get_running_loop().create_task(connector.connect())
        await upstream.until(lambda: len(upstream.dialogues) == 4, "it tries")
        trying.cancel()
        with pytest.raises(asyncio.CancelledError):
            await trying
        upstream.script.clear()
        (await connector.connect()).abort("done")


async def test_a_caller_that_gives_up_says_nothing_of_the_address() -> None:
    """A client that hangs up while we connect must not put the upstream to rest for everybody."""
    gate = asyncio.Event()
    async with Exchanger(script={Step.BANNER: says("220 slow", until=gate)}) as upstream:
        connector = Connector(upstream_at(upstream.port), resolver())
        gone = asyncio.get_running_loop().create_task(connector.connect())
        await upstream.until(lambda: len(upstream.held) == 1, "it is connecting")
        gone.cancel()
        with pytest.raises(asyncio.CancelledError):
            await gone
        both = [asyncio.get_running_loop().create_task(connector.connect()) for _ in range(2)]
        await upstream.until(lambda: len(upstream.dialogues) == 3, "two callers connect at the same time")
        gate.set()
        for each in both:
            (await each).abort("done")


@pytest.mark.parametrize("step", [Step.BANNER, Step.EHLO])
async def test_an_address_that_is_silent_is_given_up_for_the_next_and_rests(step: Step) -> None:
    async with Exchanger(script={step: is_silent()}) as first, Exchanger() as second:
        upstream = routed(first.port, second.port, Connect_Timeout="0.1", EHLO_Timeout="0.2")
        connector = Connector(upstream, resolver())
        for _ in range(2):
            (await connector.connect()).abort("done")
        assert (len(first.dialogues), len(second.dialogues)) == (1, 2)


@pytest.mark.parametrize("answer", [unavailable("mx.test"), []])
async def test_a_name_without_an_address_is_unreachable(answer: Any) -> None:
    with pytest.raises(Unreachable):
        await Connector(routed("mx.test"), resolver(Names(hosts={"mx.test": answer}))).connect()


# ---------------------------------------------------------------- XCLIENT

ATTRIBUTES = {"NAME", "ADDR", "PORT", "PROTO", "HELO", "DESTADDR", "DESTPORT", "LOGIN"}


@pytest.mark.parametrize(
    ("given", "names", "command"),
    [
        ({}, {"ADDR"}, b"XCLIENT ADDR=192.0.2.77\r\n"),
        (
            {},
            ATTRIBUTES,
            (
                b"XCLIENT NAME=[UNAVAILABLE] ADDR=192.0.2.77 PORT=40025 PROTO=ESMTP HELO=client.test"
                b" DESTADDR=192.0.2.2 DESTPORT=25\r\n"
            ),
        ),
        ({"address": "2001:db8::7"}, {"ADDR"}, b"XCLIENT ADDR=IPV6:2001:db8::7\r\n"),
        ({"extended": False}, {"PROTO"}, b"XCLIENT PROTO=SMTP\r\n"),
        ({"helo": None}, {"HELO"}, b"XCLIENT HELO=[UNAVAILABLE]\r\n"),
        ({"helo": "a b=c+d"}, {"HELO"}, b"XCLIENT HELO=a+20b+3Dc+2Bd\r\n"),
        ({"helo": "x ADDR=127.0.0.1"}, {"HELO"}, b"XCLIENT HELO=x+20ADDR+3D127.0.0.1\r\n"),
    ],
)
async def test_xclient_tells_what_the_upstream_asks_for_encoded(
    given: dict[str, Any], names: set[str], command: bytes
) -> None:
    assert _xclient(session(**given), names) == command


@pytest.mark.parametrize(("text", "encoded"), [("plain", "plain"), ("a b", "a+20b"), ("+=", "+2B+3D"), ("\x7f", "+7F")])
def test_xtext_leaves_printable_ascii_but_plus_and_equals(text: str, encoded: str) -> None:
    assert _xtext(text) == encoded


class Informed(Exchanger):
    """An upstream that offers XCLIENT and answers it as told."""

    answer = b"220 exchanger.test ESMTP\r\n"

    async def _command(self, dialogue: Any, command: str, inbox: Any) -> None:
        if not command.startswith("XCLIENT"):
            await super()._command(dialogue, command, inbox)
            return
        dialogue.commands.append(command)
        self.extensions = ("8BITMIME",)
        dialogue.writer.write(self.answer)
        if not self.answer:
            dialogue.close()
        await dialogue.writer.drain()


async def dialled(upstream: Exchanger) -> Wire:
    return await dial(Dial("127.0.0.1", upstream.port, "ringback.test", BOUND, BOUND))


async def test_after_xclient_the_upstream_is_greeted_in_the_clients_name_and_what_it_offers_then_counts() -> None:
    async with Informed(extensions=("PIPELINING", "XCLIENT ADDR HELO")) as server:
        wire = await dialled(server)
        await introduce_client(wire, upstream_at(server.port, XCLIENT="required"), session())
        assert server.commands == ["EHLO ringback.test", "XCLIENT ADDR=192.0.2.77 HELO=client.test", "EHLO client.test"]
        assert wire.extensions == {"8bitmime": ""}
        wire.abort("done")


@pytest.mark.parametrize(
    ("answer", "problem", "told"),
    [
        (b"550 5.7.0 not you\r\n", RefusedUs, r"^XCLIENT: 550 5\.7\.0 not you$"),
        (b"250 2.0.0 odd\r\n", RefusedUs, r"^XCLIENT: 250 2\.0\.0 odd$"),
        (b"", WireBroken, r"^closed by the peer$"),
    ],
)
async def test_an_upstream_that_refuses_xclient_refuses_us(answer: bytes, problem: type[Exception], told: str) -> None:
    async with Informed(extensions=("XCLIENT ADDR",)) as server:
        server.answer = answer
        wire = await dialled(server)
        with pytest.raises(problem, match=told):
            await introduce_client(wire, upstream_at(server.port, XCLIENT="ifavailable"), session())
        wire.abort("done")


async def test_xclient_is_left_out_where_it_is_not_offered_and_a_refusal_where_it_is_required() -> None:
    async with Exchanger() as server:
        wire = await dialled(server)
        await introduce_client(wire, upstream_at(server.port, XCLIENT="ifavailable"), session())
        with pytest.raises(RefusedUs, match=r"^XCLIENT is required and not offered$"):
            await introduce_client(wire, upstream_at(server.port, XCLIENT="required"), session())
        assert server.commands == ["EHLO ringback.test"]
        wire.abort("done")
