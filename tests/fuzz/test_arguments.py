"""Whatever a client, or a front before it, says of itself: it is read, or refused with a reply. Pure functions only."""

from __future__ import annotations

import asyncio
import base64
import contextlib
import ipaddress
import random
import struct
from dataclasses import replace

from proxy.mail.replies import Reply
from proxy.mail.session import Recipient
from proxy.options.core import CoreOptions
from proxy.options.route import Route
from proxy.smtp.authentication import ExchangeFailed, credentials_of
from proxy.smtp.commands.mail import sender_of, submitter_for
from proxy.smtp.commands.rcpt import recipient_of
from proxy.smtp.forwarded import BadProxyHeader, introduction_of, proxy_header
from proxy.smtp.plan import banner
from tests.fuzz.fuzzing import fuzz, joined, mutated, octets

CARRIED = frozenset({"SIZE", "8BITMIME", "SMTPUTF8", "DSN", "BINARYMIME", "CHUNKING", "AUTH"})
OPTIONS = CoreOptions(esmtp_listener=(), gateway=Route("192.0.2.25"), hostname="mx.example.com")
KINDS = (
    OPTIONS,
    OPTIONS.model_copy(update={"strict_addresses": True}),
    OPTIONS.model_copy(update={"domain_for_unqualified_sender_address": "d.test", "allow_null_envelope_sender": False}),
)
WORDS = (
    *(b"<a@b.test>", b"<>", b"a@b.test", b" ", b"\t", b"SIZE=", b"99999999999999999999", b"BODY=BINARYMIME"),
    b"SMTPUTF8",
    *(b"RET=HDRS", b"ENVID=", b"+3D", b"+", b"NOTIFY=NEVER,", b"ORCPT=rfc822;a+2Bb@c", b"ORCPT=utf-8;\\x{FC}"),
    b"AUTH=<>",
    *("ü@ö.test".encode(), b"\xff", b"\0", b"=", b"<", b">", b"FROM:", b"TO:", b"@x:", b'"', b"\\", b"[192.0.2.1]"),
    *(b"ADDR=", b"192.0.2.1", b"IPV6:2001:db8::1", b"NAME=", b"[UNAVAILABLE]", b"PORT=", b"65536", b"PROTO=ESMTP"),
    b"HELO=",
    *(b"LOGIN=", b"DESTADDR=", b"DESTPORT=0", b"+C3+BC", b"+00", b"+0D+0A", b"x" * 300),
)
PROXIES = (
    *(b"PROXY TCP4 192.0.2.1 192.0.2.2 1 25\r\n", b"PROXY TCP6 2001:db8::1 ::1 1 25\r\n", b"PROXY UNKNOWN\r\n"),
    b"PROXY ",
    b"\r\n\r\n\0\r\nQUIT\n\x21\x11" + struct.pack("!H4s4sHH", 12, b"\xc0\0\2\1", b"\xc0\0\2\2", 1, 25),
    b"\r\n\r\n\0\r\nQUIT\n\x20\0\0\0",
    b"\r\n\r\n\0\r\nQUIT\n\x21\x21\0\x24" + bytes(36),
)


def judge_arguments(chance: random.Random) -> None:
    options, carried = chance.choice(KINDS), chance.choice((CARRIED, frozenset[str]()))
    words = joined(chance, WORDS, 10)
    for keyword, read in (
        (b"FROM:", lambda given: sender_of(given, options, lambda: carried)),
        (b"TO:", lambda given: recipient_of(given, options, lambda: carried, utf8=chance.random() < 0.5)),
    ):
        found = read(keyword + (b"<a@b.test> " if chance.random() < 0.5 else b"") + words)
        if isinstance(found, Reply):
            assert 500 <= found.code < 600
        else:
            parameters = found.parameters if isinstance(found, Recipient) else found[1]
            assert all(not set(value or "") & set("\r\n\0 ") for value in parameters.values())
            submitter_for(parameters.get("AUTH") or "", chance.choice(("", "a@b.test", "ü")))
    introduction = introduction_of(words)
    if not isinstance(introduction, Reply):
        ipaddress.ip_address(introduction.client(("192.0.2.9", 1))[0])
        replace(introduction, port=None).local(("192.0.2.9", 1))
    text = joined(chance, ("220-a", "\\r\\n", "220 ", "\\n", "\r", "\x0b", "é", "\udcff", "\t"), 6)
    assert banner(options.model_copy(update={"static_banner": text})).wire.startswith(b"220")


def judge_proxy_header(chance: random.Random) -> None:
    sent = chance.choice(PROXIES) + octets(chance)
    if chance.random() < 0.8:
        sent = mutated(chance, sent, (*PROXIES, b"\r\n", b"\xff\xff", b"65536", b"::ffff:1.2.3.4", b"%lo", b" "))
    with contextlib.suppress(BadProxyHeader):
        header = proxy_header(sent)
        if header is None:
            return
        assert 0 < header.octets <= len(sent)
        if header.client is not None:
            ipaddress.ip_address(header.client[0])
            assert 0 <= header.client[1] <= 65535
        assert proxy_header(sent[: header.octets]) == header


def judge_exchange(chance: random.Random) -> None:
    def answer() -> bytes:
        raw = joined(chance, (b"\0", b"user", b"pass", b"\xff", "ü".encode()), 6)
        return (
            mutated(chance, base64.b64encode(raw), (b"=", b"*", b"\n", b" ", b"\xff")) if chance.random() < 0.7 else raw
        )

    async def ask(_challenge: Reply) -> bytes:
        return answer() + chance.choice((b"\r\n", b"\r\n", b"\n", b""))

    argument = chance.choice((b"PLAIN", b"LOGIN", b"plain", b"CRAM-MD5", b"")) + chance.choice(
        (b"", b" ", b" =", b" " + answer())
    )
    with contextlib.suppress(ExchangeFailed):
        found = asyncio.run(credentials_of(argument, ask))
        assert found.user
        assert found.password


def test_any_argument_of_mail_rcpt_and_xclient_is_read_or_refused() -> None:
    fuzz(judge_arguments, cases=500, share=0.6)


def test_any_octets_are_a_proxy_header_or_none() -> None:
    fuzz(judge_proxy_header, cases=1000, share=0.2)


def test_any_exchange_of_auth_gives_credentials_or_a_reply() -> None:
    fuzz(judge_exchange, cases=300, share=0.2)
