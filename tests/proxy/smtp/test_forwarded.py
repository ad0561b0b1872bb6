"""Clients behind a front: PROXY headers and XCLIENT, believed only from the networks that may say such things."""

from __future__ import annotations

import struct
from dataclasses import replace
from ipaddress import ip_address
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from structlog.testing import capture_logs

from proxy.mail.replies import XCLIENT_SYNTAX
from proxy.mail.session import Session
from proxy.mail.verdict import PASS, Verdict
from proxy.smtp import forwarded
from proxy.smtp.forwarded import BadProxyHeader, Introduction, ProxyHeader, introduction_of, proxy_header
from sieve.phases import Phase
from tests.support.conversation import Conversation
from tests.support.exchanger import Dialogue, Exchanger
from tests.support.worker import ALICE, BOB, LETTER, Rule, WorkerStage, refuses, serving

BALANCER = "127.0.0.1"
STRANGER = "127.0.0.9"
BEHIND_BALANCER = {"Proxy_Protocol_Networks": "( 127.0.0.0/30 )"}
BEHIND_FRONT = {"Xclient_Hosts": "( 127.0.0.0/30 )"}

CLIENT, OURS = ("198.51.100.7", 40025), ("192.0.2.1", 25)
V1 = b"PROXY TCP4 198.51.100.7 192.0.2.1 40025 25\r\n"
V1_SIX = b"PROXY TCP6 2001:db8::7 2001:db8::1 40025 25\r\n"
SIGNATURE = b"\r\n\r\n\0\r\nQUIT\n"


def v2(command: int, family: int, payload: bytes) -> bytes:
    return SIGNATURE + struct.pack("!BBH", command, family, len(payload)) + payload


def addresses(client: str, ours: str) -> bytes:
    return ip_address(client).packed + ip_address(ours).packed + struct.pack("!HH", 40025, 25)


V2 = v2(0x21, 0x11, addresses("198.51.100.7", "192.0.2.1"))
V2_SIX = v2(0x21, 0x21, addresses("2001:db8::7", "2001:db8::1"))
V2_MORE = v2(0x21, 0x11, addresses("198.51.100.7", "192.0.2.1") + b"\x04\0\x03abc")
LOCAL = v2(0x20, 0x00, b"\x04\0\x03abc")

SIX = (("2001:db8::7", 40025), ("2001:db8::1", 25))
HEADERS = [
    (V1, ProxyHeader(len(V1), CLIENT, OURS)),
    (V1_SIX, ProxyHeader(len(V1_SIX), *SIX)),
    (V2, ProxyHeader(len(V2), CLIENT, OURS)),
    (V2_SIX, ProxyHeader(len(V2_SIX), *SIX)),
    (V2_MORE, ProxyHeader(len(V2_MORE), CLIENT, OURS)),
    (LOCAL, ProxyHeader(len(LOCAL))),
    (b"PROXY TCP6 ::ffff:198.51.100.7 ::1 0 65535\r\n", ProxyHeader(44, ("198.51.100.7", 0), ("::1", 65535))),
]


@pytest.mark.parametrize(("header", "expected"), HEADERS)
def test_a_header_is_read_to_its_end_and_not_beyond(header: bytes, expected: ProxyHeader) -> None:
    assert proxy_header(header + b"EHLO early\r\n") == expected
    assert [proxy_header(header[:octets]) for octets in range(len(header))] == [None] * len(header)


@pytest.mark.parametrize(
    ("header", "reason"),
    [
        (b"EHLO client.test\r\n", "no header"),
        (b"proxy TCP4 198.51.100.7 192.0.2.1 40025 25\r\n", "no header"),
        (b"\r\n\r\n\0\r\nQUIT\r", "no header"),
        (b"PROXY UNKNOWN\r\n", "malformed line"),
        (b"PROXY UNKNOWN 198.51.100.7 192.0.2.1 40025 25\r\n", "malformed line"),
        (b"PROXY UDP4 198.51.100.7 192.0.2.1 40025 25\r\n", "malformed line"),
        (b"PROXY  TCP4 198.51.100.7 192.0.2.1 40025 25\r\n", "malformed line"),
        (b"PROXY TCP4 198.51.100.7 192.0.2.1 40025 25 \r\n", "malformed line"),
        (b"PROXY TCP4 198.51.100.7 192.0.2.1 040025 25\r\n", "malformed line"),
        (b"PROXY TCP4 198.51.100.7 192.0.2.1 65536 25\r\n", "malformed line"),
        (b"PROXY TCP4 198.51.100.7 192.0.2.1 +1 25\r\n", "malformed line"),
        (b"PROXY TCP4 198.51.100.07 192.0.2.1 1 25\r\n", "malformed line"),
        (b"PROXY TCP4 198.51.100.256 192.0.2.1 1 25\r\n", "malformed line"),
        (b"PROXY TCP4 2001:db8::7 192.0.2.1 1 25\r\n", "malformed line"),
        (b"PROXY TCP6 198.51.100.7 192.0.2.1 1 25\r\n", "malformed line"),
        (b"PROXY TCP6 fe80::1%1 ::1 1 25\r\n", "malformed line"),
        (b"PROXY TCP4 198.51.100.7 192.0.2.1 1 25\nEHLO x\r\n", "malformed line"),
        (b"PROXY " + b"x" * 101, "line too long"),
        (b"PROXY " + b"x" * 100 + b"\r\n", "line too long"),
        (v2(0x11, 0x11, bytes(12)), "unknown version or command"),
        (v2(0x22, 0x11, bytes(12)), "unknown version or command"),
        (v2(0x21, 0x00, b""), "no TCP addresses"),
        (v2(0x21, 0x12, bytes(12)), "no TCP addresses"),
        (v2(0x21, 0x31, bytes(216)), "no TCP addresses"),
        (v2(0x21, 0x11, bytes(11)), "no TCP addresses"),
        (v2(0x21, 0x21, bytes(12)), "no TCP addresses"),
    ],
)
def test_what_names_no_tcp_client_is_no_header(header: bytes, reason: str) -> None:
    with pytest.raises(BadProxyHeader) as refused:
        proxy_header(header)
    assert str(refused.value) == reason


@given(st.sampled_from([b"", b"PROXY ", b"PROXY TCP4 ", SIGNATURE, SIGNATURE + b"\x21\x11\0\x0c"]), st.binary())
def test_any_bytes_are_a_header_or_none_and_nothing_is_read_twice(head: bytes, rest: bytes) -> None:
    try:
        found = proxy_header(head + rest)
    except BadProxyHeader:
        return
    assert found is None or 0 < found.octets <= len(head + rest)


# ---------------------------------------------------------------- PROXY, on the wire


async def behind(stage: WorkerStage, header: bytes, *, source: str = BALANCER) -> Conversation:
    """Connect and send a header; the connection is closed at the end."""
    client = await Conversation.connect(stage.address, stage.port, source=source)
    stage.clients.append(client)
    await client.send_raw(header)
    return client


@pytest.mark.parametrize(("header", "ip"), [(V1, "198.51.100.7"), (V2_MORE, "198.51.100.7"), (V2_SIX, "2001:db8::7")])
async def test_the_client_of_the_header_is_the_client(header: bytes, ip: str) -> None:
    async with Exchanger() as upstream, serving(upstream, **BEHIND_BALANCER) as stage:
        with capture_logs() as log:
            client = await behind(stage, header)
            assert await client.reply() == "220 ringback.test ESMTP Ringback"
            assert (await client.deliver(ALICE, [BOB], LETTER)).startswith("250")
            await client.quit()
            await stage.ended()
        (summary,) = (each for each in log if each["event"] == "session")
        assert (summary["client"], summary["via"], summary["ended"]) == (ip, BALANCER, "quit")
        literal = f"IPv6:{ip}" if ":" in ip else ip
        assert f"Received: from client.test ([{literal}])\r\n".encode() in upstream.messages[0].content


@pytest.mark.parametrize("header", [V1, V2])
async def test_a_header_may_come_byte_by_byte(header: bytes) -> None:
    async with serving(**BEHIND_BALANCER) as stage:
        client = await behind(stage, b"")
        for octet in header:
            await client.send_raw(bytes([octet]))
        assert await client.reply() == "220 ringback.test ESMTP Ringback"


async def test_relaying_is_judged_by_the_client_and_not_by_the_balancer() -> None:
    options = BEHIND_BALANCER | {"Relay_Hosts": "( 127.0.0.0/8 198.51.100.0/24 )"}
    async with Exchanger() as upstream, serving(upstream, **options) as stage:
        for header, answer in ((V1, "250"), (V1_SIX, "550 5.7.1 Relaying denied")):
            client = await behind(stage, header)
            await client.reply()
            await client.ehlo()
            await client.ask(f"MAIL FROM:<{ALICE}>")
            assert (await client.ask("RCPT TO:<u@elsewhere.test>")).startswith(answer)


async def test_each_client_behind_a_balancer_has_its_own_limits() -> None:
    async with serving(**BEHIND_BALANCER, max_connections_per_client=1) as stage:
        assert (await (await behind(stage, V1)).reply()).startswith("220")
        assert (await (await behind(stage, V1_SIX)).reply()).startswith("220")
        assert await (await behind(stage, V2)).reply() == "421 4.7.0 Too many sessions, try again later"


async def test_options_of_the_clients_network_are_in_force_and_policy_sees_its_address() -> None:
    seen: list[tuple[object, ...]] = []

    async def look(session: Session) -> Verdict:
        seen.append((session.peer_address, session.local, session.via, session.client_network))
        return PASS

    async with serving(None, Rule(Phase.CONNECT, look), **BEHIND_BALANCER) as stage:
        await (await behind(stage, V2)).reply()
        assert seen == [(CLIENT, OURS, BALANCER, "198.51.100.7")]
        assert dict(stage.worker.front.clients) == {"198.51.100.7": 1}


async def test_a_client_that_speaks_early_behind_the_header_is_an_early_talker() -> None:
    async with serving(**BEHIND_BALANCER) as stage:
        with capture_logs() as log:
            client = await behind(stage, V1 + b"EHLO client.test\r\n")
            assert await client.rest() == b"554 5.5.0 SMTP protocol synchronization error\r\n"
            await stage.ended()
        (early,) = (each for each in log if each["event"] == "refused")
        assert (early["client"], early["decided_by"]) == ("198.51.100.7", "early_talker")


async def test_a_health_check_speaks_for_the_balancer_itself() -> None:
    seen: list[str] = []

    async def look(session: Session) -> Verdict:
        seen.append(session.client_ip)
        return PASS

    async with serving(None, Rule(Phase.CONNECT, look), **BEHIND_BALANCER) as stage:
        client = await behind(stage, LOCAL)
        assert await client.reply() == "220 ringback.test ESMTP Ringback"
        assert await client.quit() == "221 2.0.0 Bye"
        assert seen == [BALANCER]


@pytest.mark.parametrize("header", [b"PROXY UNKNOWN\r\n", b"EHLO client.test\r\n", v2(0x21, 0x00, b"")])
async def test_a_balancer_that_names_no_client_is_sent_away(header: bytes) -> None:
    async with serving(**BEHIND_BALANCER) as stage:
        with capture_logs() as log:
            client = await behind(stage, header)
            assert await client.rest() == b"421 4.5.2 PROXY header expected, closing\r\n"
            await stage.ended()
        (refused,) = (each for each in log if each["event"] == "proxy_header_refused")
        assert refused["client"] == BALANCER


async def test_a_header_that_does_not_come_in_time_ends_the_session(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(forwarded, "HEADER_SECONDS", 0.05)
    async with serving(**BEHIND_BALANCER) as stage:
        client = await behind(stage, V1[:-1])
        assert await client.rest() == b"421 4.5.2 PROXY header expected, closing\r\n"


async def test_a_stranger_cannot_say_who_it_is() -> None:
    async with serving(**BEHIND_BALANCER) as stage:
        with capture_logs() as log:
            client = await behind(stage, b"", source=STRANGER)
            assert await client.reply() == "220 ringback.test ESMTP Ringback"
            await client.send_raw(V1)
            assert await client.rest() == b"421 4.7.0 PROXY header not allowed from this address, closing\r\n"
            await stage.ended()
        assert [each["client"] for each in log if each["event"] == "session"] == [STRANGER]


@pytest.mark.parametrize("header", [V1, V2])
async def test_a_strangers_header_before_the_greeting_is_early_talk(header: bytes) -> None:
    async def hears(session: Session) -> Verdict:
        assert await session.speaks_within(10)
        return PASS

    async with serving(None, Rule(Phase.CONNECT, hears), **BEHIND_BALANCER) as stage:
        client = await behind(stage, header, source=STRANGER)
        assert await client.rest() == b"554 5.5.0 SMTP protocol synchronization error\r\n"


# ---------------------------------------------------------------- XCLIENT

OFFER = "250-XCLIENT NAME ADDR PORT PROTO HELO LOGIN DESTADDR DESTPORT"
DENIED = "550 5.7.0 Insufficient authorization"


async def front_of(stage: WorkerStage, *, source: str = BALANCER) -> Conversation:
    client = await Conversation.open(stage.address, stage.port, source=source)
    stage.clients.append(client)
    return client


async def test_xclient_is_offered_to_those_who_may_say_it() -> None:
    async with serving(**BEHIND_FRONT) as stage:
        assert OFFER[4:] in (await (await front_of(stage)).ehlo()).replace("250 ", "250-")
        stranger = await front_of(stage, source=STRANGER)
        assert "XCLIENT" not in await stranger.ehlo()
        assert await stranger.ask("XCLIENT ADDR=198.51.100.7") == DENIED
        assert await stranger.ask("MAIL FROM:<>") == "250 2.1.0 Sender OK"


async def test_nobody_may_say_xclient_by_default() -> None:
    async with serving() as stage:
        client = await stage.greeted()
        assert await client.ask("XCLIENT ADDR=198.51.100.7") == DENIED


async def test_the_session_begins_anew_for_the_new_client() -> None:
    async with Exchanger() as upstream, serving(upstream, **BEHIND_FRONT) as stage:
        with capture_logs() as log:
            client = await front_of(stage)
            await client.ehlo("front.test")
            answer = await client.ask("XCLIENT NAME=mail.client.test ADDR=198.51.100.7 PORT=40025 PROTO=ESMTP")
            assert answer == "220 ringback.test ESMTP Ringback"
            assert "XCLIENT" not in await client.ehlo()
            assert await client.ask("XCLIENT ADDR=203.0.113.1") == DENIED
            assert (await client.deliver(ALICE, [BOB], LETTER)).startswith("250")
            await client.quit()
            await stage.ended()
        (summary,) = (each for each in log if each["event"] == "session")
        assert (summary["client"], summary["via"]) == ("198.51.100.7", BALANCER)
        assert b"Received: from client.test ([198.51.100.7])\r\n" in upstream.messages[0].content


async def test_an_address_that_is_a_front_itself_may_not_introduce_another() -> None:
    async with serving(**BEHIND_FRONT) as stage:
        client = await front_of(stage)
        assert (await client.ask("XCLIENT ADDR=127.0.0.2")).startswith("220")
        assert await client.ask("XCLIENT ADDR=127.0.0.1") == DENIED


async def test_a_name_alone_leaves_the_front_its_trust() -> None:
    async with serving(**BEHIND_FRONT) as stage:
        client = await front_of(stage)
        assert (await client.ask("XCLIENT NAME=front.test")).startswith("220")
        assert (await client.ask("XCLIENT ADDR=198.51.100.7")).startswith("220")


async def relaying(client: Conversation) -> str:
    await client.ehlo()
    await client.ask(f"MAIL FROM:<{ALICE}>")
    return (await client.ask("RCPT TO:<u@elsewhere.test>"))[:3]


@pytest.mark.parametrize(
    ("told", "answer"),
    [
        ("NAME=front.test", "250"),
        ("ADDR=198.51.100.7", "550"),
        ("ADDR=127.0.0.8", "250"),
        ("ADDR=IPV6:::ffff:127.0.0.8", "250"),
        ("ADDR=198.51.100.7 LOGIN=[UNAVAILABLE]", "550"),
        ("ADDR=198.51.100.7 LOGIN=alice", "250"),
    ],
)
async def test_relaying_is_judged_anew(told: str, answer: str) -> None:
    async with Exchanger() as upstream, serving(upstream, **BEHIND_FRONT, Relay_Hosts="( 127.0.0.0/8 )") as stage:
        client = await front_of(stage)
        assert (await client.ask(f"XCLIENT {told}")).startswith("220")
        assert await relaying(client) == answer


async def test_policy_greets_the_new_client_and_may_turn_it_away() -> None:
    async def judge(session: Session) -> Verdict:
        return refuses(554, "5.7.1 Not you") if session.client_ip == "198.51.100.7" else PASS

    async with serving(None, Rule(Phase.CONNECT, judge), **BEHIND_FRONT) as stage:
        client = await front_of(stage)
        await client.send("XCLIENT ADDR=198.51.100.7")
        assert await client.rest() == b"554 5.7.1 Not you\r\n"


async def test_policy_sees_what_the_front_told() -> None:
    seen: list[tuple[object, ...]] = []

    async def look(session: Session) -> Verdict:
        context = dict(session.context)
        seen.append((session.peer_address, session.local, session.client_name, session.host_name, context))
        return PASS

    async with serving(None, Rule(Phase.CONNECT, look), **BEHIND_FRONT) as stage:
        client = await front_of(stage)
        await client.ask(
            "XCLIENT NAME=[TEMPUNAVAIL] ADDR=IPV6:2001:db8::7 PORT=40025 HELO=h+2Btest"
            " DESTADDR=192.0.2.1 DESTPORT=25 PROTO=SMTP"
        )
        context = {"can_relay": "false", "ehlo_string": "HELO h+test", "ehlo_domain": "h+test"}
        assert seen[1:] == [(("2001:db8::7", 40025), ("192.0.2.1", 25), "unknown", "h+test", context)]
        assert dict(stage.worker.front.clients) == {"2001:db8::/64": 1}


async def test_xclient_within_a_transaction_is_out_of_order() -> None:
    async with serving(**BEHIND_FRONT) as stage:
        client = await front_of(stage)
        await client.ehlo()
        await client.ask("MAIL FROM:<>")
        assert await client.ask("XCLIENT ADDR=198.51.100.7") == "503 5.5.1 Not allowed within a mail transaction"


async def test_what_is_pipelined_behind_xclient_ends_the_session() -> None:
    async with serving(**BEHIND_FRONT) as stage:
        client = await front_of(stage)
        await client.send("XCLIENT ADDR=198.51.100.7", "EHLO client.test")
        assert await client.rest() == b"554 5.5.0 SMTP protocol synchronization error\r\n"


async def test_a_refused_xclient_changes_nothing() -> None:
    async with serving(**BEHIND_FRONT) as stage:
        client = await front_of(stage)
        assert await client.ask("XCLIENT ADDR=nowhere") == "501 5.5.4 Syntax: XCLIENT attribute=value ..."
        assert (await client.ask("XCLIENT ADDR=198.51.100.7")).startswith("220")


@pytest.mark.parametrize(
    "argument",
    [
        b"",
        b"ADDR",
        b"ADDR=",
        b"=x",
        b"COLOUR=red",
        b"ADDR=198.51.100.7 ADDR=198.51.100.8",
        b"ADDR=198.51.100.256",
        b"ADDR=IPV6:198.51.100.7",
        b"ADDR=fe80::1+251",
        b"ADDR=[UNAVAILABLE]",
        b"DESTADDR=here",
        b"PORT=65536",
        b"PORT=-1",
        b"PORT=+D9+A1",
        b"PROTO=LMTP",
        b"NAME=a+0Ab",
        b"NAME=a+0",
        b"NAME=a+zz",
        b"NAME=a+",
        b"NAME=a+7Fb",
        b"NAME=a+C2+85b",
        b"NAME=\xc3\xa4",
        b"NAME=+C3+A4",
        b"LOGIN=+FF",
        b"HELO=" + b"x" * 256,
        b"NAME=a\x07b",
    ],
)
def test_what_is_no_attribute_is_refused(argument: bytes) -> None:
    assert introduction_of(argument) is XCLIENT_SYNTAX


def test_attributes_are_decoded_and_typed() -> None:
    nothing = Introduction()
    assert introduction_of(b"helo=" + b"x" * 255) == replace(nothing, helo="x" * 255)
    assert introduction_of(b"LOGIN=+C3+A4 PROTO=smtp") == replace(nothing, login="ä", extended=False)
    assert introduction_of(b"NAME=[unavailable] PORT=[UNAVAILABLE]") == replace(nothing, name="unknown")
    assert introduction_of(b"ADDR=ipv6:2001:DB8::7 PORT=0") == replace(nothing, address="2001:db8::7", port=0)


def test_a_port_of_the_client_before_is_not_the_new_clients() -> None:
    assert Introduction(address="198.51.100.7").client(("127.0.0.1", 5)) == ("198.51.100.7", 0)
    assert Introduction(name="x").client(("127.0.0.1", 5)) == ("127.0.0.1", 5)


class Informed(Exchanger):
    """An upstream that takes XCLIENT."""

    async def _command(self, dialogue: Dialogue, command: str, inbox: Any) -> None:
        if not command.startswith("XCLIENT"):
            await super()._command(dialogue, command, inbox)
            return
        dialogue.commands.append(command)
        dialogue.writer.write(b"220 exchanger.test ESMTP\r\n")
        await dialogue.writer.drain()


async def test_what_spoke_upstream_for_the_front_does_not_speak_for_its_client() -> None:
    async with (
        Informed(extensions=("PIPELINING", "XCLIENT ADDR")) as upstream,
        serving(upstream, **BEHIND_FRONT, Xclient="required") as stage,
    ):
        client = await front_of(stage)
        assert (await client.deliver(ALICE, [BOB], LETTER)).startswith("250")
        assert (await client.ask("XCLIENT ADDR=198.51.100.7")).startswith("220")
        assert (await client.deliver(ALICE, [BOB], LETTER)).startswith("250")
        told = [command for each in upstream.dialogues for command in each.commands if command.startswith("XCLIENT")]
        assert told == [f"XCLIENT ADDR={BALANCER}", "XCLIENT ADDR=198.51.100.7"]
