"""The client's identity as sent to the next hop: PROXY header, XCLIENT, XFORWARD."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from structlog.testing import capture_logs

from proxy.mail.session import Session
from proxy.outgoing.handshake import Dial, dial
from proxy.outgoing.wire import Wire, WireBroken
from proxy.smtp.forwarded import ProxyHeader
from proxy.smtp.forwarded import proxy_header as read_header
from proxy.upstream.failures import RefusedUs
from proxy.upstream.identity import _xclient, _xforward, _xtext, forward_client, introduce_client
from proxy.upstream.proxy_protocol import proxy_header
from proxy.upstream.routes import Router
from proxy.upstream.upstream import Upstream
from tests.support.exchanger import Exchanger, Step, closes, says
from tests.support.worker import assembly, core

BOUND = 10.0


def upstream_at(port: int, **options: Any) -> Upstream:
    return Router(assembly(port, **options).settings).default


def session(
    *,
    address: str = "192.0.2.77",
    local: str = "192.0.2.2",
    helo: str | None = "client.test",
    extended: bool = True,
    name: str | None = None,
) -> Session:
    made = Session(asyncio.get_running_loop(), (address, 40025), (local, 25), core())
    made.host_name, made.extended_smtp, made.client_name = helo, extended, name
    return made


# ---------------------------------------------------------------- PROXY


@pytest.mark.parametrize(
    ("client", "local", "octets", "read"),
    [
        ("192.0.2.77", "192.0.2.2", 28, ("192.0.2.77", "192.0.2.2")),
        ("2001:db8::7", "2001:db8::2", 52, ("2001:db8::7", "2001:db8::2")),
        ("::ffff:192.0.2.77", "::ffff:192.0.2.2", 28, ("192.0.2.77", "192.0.2.2")),
        ("fe80::7%eth0", "fe80::2%eth0", 52, ("fe80::7", "fe80::2")),
        ("2001:db8::7", "192.0.2.2", 52, ("2001:db8::7", "::")),
        ("192.0.2.77", "2001:db8::2", 28, ("192.0.2.77", "0.0.0.0")),
    ],
    ids=["IPv4", "IPv6", "mapped IPv4", "link-local", "XCLIENT named IPv6", "XCLIENT named IPv4"],
)
async def test_a_header_names_the_client_and_where_it_came_to(
    client: str, local: str, octets: int, read: tuple[str, str]
) -> None:
    header = proxy_header(session(address=client, local=local))
    assert read_header(header) == ProxyHeader(octets, (read[0], 40025), (read[1], 25))
    assert len(header) == octets


def test_without_a_client_a_header_says_local() -> None:
    assert proxy_header(None) == b"\r\n\r\n\0\r\nQUIT\n\x20\x00\x00\x00"


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
        ({"name": "mail.client.test"}, {"NAME"}, b"XCLIENT NAME=mail.client.test\r\n"),
        ({"name": "unknown"}, {"NAME"}, b"XCLIENT NAME=[UNAVAILABLE]\r\n"),
        ({"helo": "x" * 300}, {"HELO"}, b"XCLIENT HELO=%b\r\n" % (b"x" * 255)),
        ({"helo": "+" * 86}, {"HELO"}, b"XCLIENT HELO=%b\r\n" % (b"+2B" * 85)),
        ({"helo": "x ADDR=127.0.0.1"}, {"HELO"}, b"XCLIENT HELO=x+20ADDR+3D127.0.0.1\r\n"),
    ],
)
async def test_xclient_tells_what_the_upstream_asks_for_encoded(
    given: dict[str, Any], names: set[str], command: bytes
) -> None:
    assert _xclient(session(**given), names) == command


@pytest.mark.parametrize(
    ("text", "encoded"), [("plain", "plain"), ("a b", "a+20b"), ("+=", "+2B+3D"), ("\x7f", "+7F"), ("ü", "+C3+BC")]
)
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
        with pytest.raises(RefusedUs, match=r"^XCLIENT is required but not offered$"):
            await introduce_client(wire, upstream_at(server.port, XCLIENT="required"), session())
        assert server.commands == ["EHLO ringback.test"]
        wire.abort("done")


# ---------------------------------------------------------------- XFORWARD

EVERYTHING = {"NAME", "ADDR", "PORT", "PROTO", "HELO", "IDENT", "SOURCE"}


async def test_xforward_tells_what_the_upstream_names_and_the_transaction_for_its_log() -> None:
    speaking = session(name="mail.client.test")
    assert _xforward(speaking, EVERYTHING | {"FAX"}) == [
        b"XFORWARD NAME=mail.client.test ADDR=192.0.2.77 PORT=40025 PROTO=ESMTP HELO=client.test IDENT=%b"
        b" SOURCE=REMOTE\r\n" % speaking.transaction_id.encode()
    ]
    assert _xforward(speaking, {"ADDR"}) == [b"XFORWARD ADDR=192.0.2.77\r\n"]
    assert _xforward(speaking, set()) == []


async def test_attributes_that_do_not_fit_one_command_come_in_two() -> None:
    first, second = _xforward(session(name="n" * 250, helo="h" * 250), EVERYTHING)
    assert max(len(first), len(second)) <= 512
    assert second.startswith(b"XFORWARD HELO=hhh")
    assert first.endswith(b" PROTO=ESMTP\r\n")


@pytest.mark.parametrize(
    ("mode", "answer", "told"),
    [
        ("ifavailable", says("421 4.3.2 closing"), r"^XFORWARD: 421 4\.3\.2 closing$"),
        ("required", says("550 5.7.0 not you"), r"^XFORWARD: 550 5\.7\.0 not you$"),
        ("ifavailable", closes(), r"^closed by the peer$"),
    ],
)
async def test_a_connection_on_which_xforward_fails_is_of_no_use(mode: str, answer: Any, told: str) -> None:
    async with Exchanger(extensions=("XFORWARD ADDR",), script={Step.OTHER: answer}) as server:
        wire = await dialled(server)
        with pytest.raises(WireBroken, match=told):
            await forward_client(wire, upstream_at(server.port, XFORWARD=mode).policy, session())
        wire.abort("done")


async def test_where_xforward_is_not_required_its_refusal_is_a_line_in_the_log() -> None:
    async with Exchanger(extensions=("XFORWARD ADDR",), script={Step.OTHER: says("550 5.7.0 not you")}) as server:
        wire = await dialled(server)
        with capture_logs() as logs:
            await forward_client(wire, upstream_at(server.port, XFORWARD="ifavailable").policy, session())
        assert [(each["event"], each["reason"]) for each in logs] == [
            ("xforward_refused", "XFORWARD: 550 5.7.0 not you")
        ]
        wire.abort("done")


async def test_nothing_is_said_unless_it_is_wanted() -> None:
    async with Exchanger(extensions=("XFORWARD ADDR", "XCLIENT ADDR")) as server:
        wire = await dialled(server)
        await forward_client(wire, upstream_at(server.port).policy, session())
        await introduce_client(wire, upstream_at(server.port), session())
        assert server.commands == ["EHLO ringback.test"]
        wire.abort("done")
