"""The client's identity as the next hop sees it: from a PROXY header, and in its log from XFORWARD."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from proxy.smtp.forwarded import ProxyHeader, proxy_header
from tests.support.conversation import Conversation
from tests.support.exchanger import EXTENSIONS, Act, Dialogue, Exchanger, Step, breaks_off, says
from tests.support.house import greeted, opened
from tests.support.inbox import Inbox
from tests.support.servers import Postfix
from tests.support.waiting import eventually
from tests.support.world import Stage

pytestmark = pytest.mark.real("dnsmasq")

LETTER = b"Subject: who\r\n\r\nbody\r\n"
REFUSED_US = "451 4.3.5 Next-hop server rejected our session, try again later"
LOST = "451 4.4.2 Next-hop server did not answer, try again later"


async def letter(client: Conversation, mark: bytes) -> str:
    """Run a transaction in a session that was greeted; return the reply to the dot."""
    for command in ("MAIL FROM:<a@sender.test>", "RCPT TO:<b@example.com>"):
        reply = await client.ask(command)
        assert reply.startswith("250 "), f"{command} was answered {reply!r}"
    assert (await client.ask("DATA")).startswith("354 ")
    return await client.content(b"Subject: %b\r\n\r\nbody\r\n" % mark)


async def rcpt(client: Conversation) -> str:
    await client.ask("MAIL FROM:<a@sender.test>")
    return await client.ask("RCPT TO:<b@example.com>")


# ---------------------------------------------------------------- PROXY


@pytest.fixture(scope="module")
def balanced() -> Iterator[Postfix]:
    """A Postfix that expects a PROXY header from a load balancer."""
    with Postfix(service=("smtpd_upstream_proxy_protocol=haproxy",)) as server:
        yield server


@pytest.mark.real("postfix")
async def test_postfix_takes_the_client_of_the_proxy_header_for_its_own(
    stage: Stage, tmp_path: Path, balanced: Postfix
) -> None:
    ringback = await opened(stage, tmp_path, "Upstream_Proxy_Protocol = v2", upstream_port=balanced.port)
    for source in ("127.0.0.81", "127.0.0.82"):
        async with await greeted(ringback, source=source) as client:
            for _ in range(2):
                assert (await letter(client, b"proxied %b" % source.encode())).startswith("250 ")
    texts = await eventually(
        lambda: len(found := balanced.delivered(b"Subject: proxied")) >= 4 and found, "Postfix delivers"
    )
    for text in texts:
        mark = re.search(rb"Subject: proxied (\S+)", text)
        seen = re.search(rb"Received: from \S+ \(unknown \[(\S+)\]\)\r\n\tby upstream\.test \(Postfix\)", text)
        assert mark is not None
        assert seen is not None
        assert seen[1] == mark[1]
    for source in (r"127\.0\.0\.81", r"127\.0\.0\.82"):
        assert len(re.findall(rf"smtpd\[\d+\]: connect from unknown\[{source}\]", balanced.log)) == 1
    assert "proxy protocol" not in balanced.log, "it objected to no header, not even the first connection's"


class Balanced(Exchanger):
    """An upstream that reads a PROXY header before its greeting, and records the client that each names."""

    def __init__(self, **parts: object) -> None:
        super().__init__(**parts)  # type: ignore[arg-type]
        self.headers: list[ProxyHeader] = []

    async def _before_banner(self, dialogue: Dialogue, inbox: Inbox) -> None:
        received = b""
        while (header := proxy_header(received)) is None:
            if not len(inbox):
                await inbox.more()
            received += inbox.take(1)
        self.headers.append(header)
        await super()._before_banner(dialogue, inbox)

    def clients(self) -> list[str]:
        """Return the clients that the headers named, in order; an empty string for a header without one."""
        return [each.client[0] if each.client else "" for each in self.headers]


async def test_a_connection_made_for_nobody_names_nobody_and_carries_no_mail(stage: Stage, tmp_path: Path) -> None:
    upstream = await stage.put_up(Balanced())
    ringback = await opened(stage, tmp_path, "Upstream_Proxy_Protocol = v2", upstream_port=upstream.port)
    await upstream.until(lambda: upstream.clients() == [""], "Ringback asks what the upstream carries")
    async with await greeted(ringback, source="127.0.0.83") as client:
        port = client.local_port
        assert (await letter(client, b"one")).startswith("250 ")
        assert (await letter(client, b"two")).startswith("250 ")
    assert upstream.headers[1:] == [
        ProxyHeader(28, ("127.0.0.83", port), ("127.0.0.1", ringback.port)),
    ], "one connection carries the session"
    assert upstream.dialogues[0].sender == ""
    await upstream.until(lambda: upstream.dialogues[1].ended, "it ends with the session")


async def test_an_upstream_with_one_place_serves_one_client_after_another_by_proxy_header(
    stage: Stage, tmp_path: Path
) -> None:
    upstream = await stage.put_up(Balanced())
    ringback = await opened(
        stage, tmp_path, "Upstream_Proxy_Protocol = v2", "Max_Outbound_Connections = 1", upstream_port=upstream.port
    )
    async with await greeted(ringback, source="127.0.0.83") as first:
        assert (await letter(first, b"one")).startswith("250 ")
        async with await greeted(ringback, source="127.0.0.84") as second:
            assert (await letter(second, b"two")).startswith("250 ")
        assert (await letter(first, b"three")).startswith("250 ")
    assert upstream.clients() == ["", "127.0.0.83", "127.0.0.84", "127.0.0.83"]


async def test_the_header_comes_again_where_a_failed_handshake_is_followed_by_a_connection_in_the_clear(
    stage: Stage, tmp_path: Path
) -> None:
    upstream = await stage.put_up(Balanced(extensions=(*EXTENSIONS, "STARTTLS")))
    upstream.script[Step.STARTTLS] = breaks_off(b"220 2.0.0 go\r\n")
    ringback = await opened(
        stage, tmp_path, "Upstream_Proxy_Protocol = v2", "TLS = ifavailable", upstream_port=upstream.port
    )
    async with await greeted(ringback, source="127.0.0.83") as client:
        assert await rcpt(client) == "250 2.1.5 Ok"
    await eventually(
        lambda: sorted(upstream.clients()) == ["", "", "127.0.0.83", "127.0.0.83"], "each connection has its header"
    )


# ---------------------------------------------------------------- XFORWARD


@pytest.fixture(scope="module")
def told() -> Iterator[Postfix]:
    """A Postfix that takes XFORWARD from us."""
    with Postfix(options={"smtpd_authorized_xforward_hosts": "127.0.0.0/8"}) as server:
        yield server


@pytest.mark.real("postfix")
async def test_postfix_logs_the_client_that_xforward_named_for_every_message_of_a_shared_connection(
    stage: Stage, tmp_path: Path, told: Postfix
) -> None:
    ringback = await opened(
        stage, tmp_path, "XFORWARD = required", "Max_Outbound_Connections = 1", upstream_port=told.port
    )
    sources = ("127.0.0.91", "127.0.0.92", "127.0.0.91", "127.0.0.93")
    for source in sources:
        async with await greeted(ringback, source=source, name="odd name+=") as client:
            assert (await letter(client, b"forwarded")).startswith("250 ")
    logged = await eventually(
        lambda: len(found := re.findall(r"client=.*orig_client=unknown\[(127\.0\.0\.9\d)\]", told.log)) >= 4 and found,
        "Postfix logs the clients",
    )
    assert tuple(logged) == sources
    idents = re.findall(r"orig_queue_id=(\S+), orig_client", told.log)
    messages = await eventually(
        lambda: len(found := [each["session"] for each in ringback.log if each["event"] == "message"]) >= 4 and found,
        "Ringback logs the messages",
    )
    assert idents == [f"{each}.1" for each in messages]
    assert len(re.findall(r"smtpd\[\d+\]: connect from", told.log)) <= 2, "the readiness check, and ours"


class Told(Exchanger):
    """An upstream that takes XFORWARD and forgets it with the transaction, as Postfix does."""

    answer: Act = says("250 2.0.0 Ok")

    def act_at(self, step: Step, command: str) -> Act:
        if step is Step.OTHER and command.startswith("XFORWARD "):
            return self.answer
        return super().act_at(step, command)


XFORWARD = "XFORWARD NAME ADDR PORT PROTO HELO IDENT SOURCE"


async def test_xforward_comes_before_each_mail_and_connections_stay_shared(stage: Stage, tmp_path: Path) -> None:
    upstream = await stage.put_up(Told(extensions=(*EXTENSIONS, XFORWARD)))
    ringback = await opened(stage, tmp_path, "XFORWARD = ifavailable", upstream_port=upstream.port)
    ports = []
    for source in ("127.0.0.91", "127.0.0.92"):
        async with await greeted(ringback, source=source) as client:
            ports.append(client.local_port)
            assert (await letter(client, b"x")).startswith("250 ")
    (used,) = upstream.dialogues
    assert [line[:4] for line in used.commands] == ["EHLO", *("XFOR", "MAIL", "RCPT", "DATA") * 2]
    said = [re.sub(r"IDENT=\S+", "IDENT=…", line) for line in used.commands if line.startswith("XFORWARD")]
    assert said == [
        f"XFORWARD NAME=[UNAVAILABLE] ADDR=127.0.0.9{at} PORT={port} PROTO=ESMTP HELO=client.test IDENT=… SOURCE=REMOTE"
        for at, port in enumerate(ports, start=1)
    ]


@pytest.mark.parametrize(
    ("mode", "extension", "answer", "expected"),
    [
        ("ifavailable", "", "", "250 2.1.5 Ok"),
        ("required", "", "", REFUSED_US),
        ("ifavailable", "XFORWARD ADDR", "550 5.7.0 not you", "250 2.1.5 Ok"),
        ("required", "XFORWARD ADDR", "550 5.7.0 not you", LOST),
        ("ifavailable", "XFORWARD ADDR", "421 4.3.2 closing", LOST),
        ("required", "XFORWARD FAX", "", LOST),
    ],
)
async def test_an_upstream_that_does_not_take_xforward_is_used_unless_it_is_required(
    stage: Stage, tmp_path: Path, mode: str, extension: str, answer: str, expected: str
) -> None:
    upstream = await stage.put_up(Told(extensions=(*EXTENSIONS, extension) if extension else EXTENSIONS))
    if answer:
        upstream.answer = says(answer)
    ringback = await opened(stage, tmp_path, f"XFORWARD = {mode}", upstream_port=upstream.port)
    async with await greeted(ringback) as client:
        assert await rcpt(client) == expected
