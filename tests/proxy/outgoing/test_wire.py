"""The wire pairs replies with commands by the letter of RFC 5321, and breaks at whatever does not fit."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import replace

import pytest

from proxy.mail.replies import Reply
from proxy.outgoing.handshake import Dial, GreetingRefused, dial
from proxy.outgoing.wire import LONGEST_LINE, MOST_LINES, Answers, ReplyParser, Wire, WireBroken
from tests.support.conversation import reset
from tests.support.exchanger import Act, After, Exchanger, Step, closes, is_silent, says, sends

BOUND = 10.0


# ---------------------------------------------------------------- the reply reader

STREAM = b"250-first\r\n250-\r\n250 last\r\n421 closing\r\n354\r\n250 \xff\xfe\r\n"
REPLIES = [
    Reply(250, (b"first", b"", b"last")),
    Reply(421, (b"closing",)),
    Reply(354, (b"",)),
    Reply(250, (b"\xff\xfe",)),
]


@pytest.mark.parametrize("cut", range(len(STREAM) + 1))
def test_replies_are_the_same_wherever_the_stream_is_cut(cut: int) -> None:
    parser = ReplyParser()
    assert [*parser.feed(STREAM[:cut]), *parser.feed(STREAM[cut:])] == REPLIES


def test_replies_are_the_same_byte_by_byte() -> None:
    parser = ReplyParser()
    assert [each for octet in STREAM for each in parser.feed(bytes((octet,)))] == REPLIES


@pytest.mark.parametrize(
    ("received", "why"),
    [
        (b"250-one\r\n550 two\r\n", "a reply mixes codes"),
        (b"550-one\r\n250 two\r\n", "a reply mixes codes"),
        (b"250 ok\n", "a reply line contains a bare line break or NUL"),
        (b"250 a\rb\r\n", "a reply line contains a bare line break or NUL"),
        (b"250 ok\r\r\n", "a reply line contains a bare line break or NUL"),
        (b"250 a\0b\r\n", "a reply line contains a bare line break or NUL"),
        (b"\r\n", "a line is not a reply"),
        (b"hello there\r\n", "a line is not a reply"),
        (b"25 ok\r\n", "a line is not a reply"),
        (b"2500 ok\r\n", "a line is not a reply"),
        (b"250_ok\r\n", "a line is not a reply"),
        (b"250\tok\r\n", "a line is not a reply"),
        (b" 250 ok\r\n", "a line is not a reply"),
        (b"199 ok\r\n", "a line is not a reply"),
        (b"600 ok\r\n", "a line is not a reply"),
        (b"-50 ok\r\n", "a line is not a reply"),
        (b"\xb2\xb50 ok\r\n", "a line is not a reply"),
    ],
)
def test_what_is_not_a_reply_breaks_the_conversation(received: bytes, why: str) -> None:
    with pytest.raises(WireBroken, match=rf"^{why}$"):
        list(ReplyParser().feed(received))


def test_a_line_of_the_longest_length_is_taken() -> None:
    text = b"x" * (LONGEST_LINE - 5)  # the code, the space and the CR belong to the line
    assert list(ReplyParser().feed(b"250 " + text + b"\r\n")) == [Reply(250, (text,))]


@pytest.mark.parametrize("end", [b"\r\n", b""], ids=["finished", "endless"])
def test_an_overlong_line_breaks_the_conversation(end: bytes) -> None:
    with pytest.raises(WireBroken, match=r"^a reply line is too long$"):
        list(ReplyParser().feed(b"250 " + b"x" * LONGEST_LINE + end))


def test_an_endless_line_in_small_pieces_breaks_the_conversation_too() -> None:
    parser = ReplyParser()
    for _ in range(LONGEST_LINE):
        assert list(parser.feed(b"2")) == []
    with pytest.raises(WireBroken, match=r"^a reply line is too long$"):
        list(parser.feed(b"2"))


def test_a_reply_of_the_most_lines_is_taken() -> None:
    received = b"250-x\r\n" * (MOST_LINES - 1) + b"250 x\r\n"
    assert list(ReplyParser().feed(received)) == [Reply(250, (b"x",) * MOST_LINES)]


def test_a_reply_of_more_lines_breaks_the_conversation() -> None:
    with pytest.raises(WireBroken, match=r"^a reply is too long$"):
        list(ReplyParser().feed(b"250-x\r\n" * MOST_LINES + b"250 x\r\n"))


def test_a_reply_that_is_too_long_in_all_breaks_the_conversation() -> None:
    line = b"250-" + b"x" * 2000 + b"\r\n"
    with pytest.raises(WireBroken, match=r"^a reply is too long$"):
        list(ReplyParser().feed(line * 17))


def test_the_size_is_counted_anew_for_every_reply() -> None:
    line = b"250 " + b"x" * 2000 + b"\r\n"
    assert len(list(ReplyParser().feed(line * 50))) == 50


# ---------------------------------------------------------------- the wire


class Peer:
    """The other end of one wire, driven by the test."""

    def __init__(self, wire: Wire, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.wire, self.reader, self.writer = wire, reader, writer

    def says(self, sent: bytes) -> None:
        self.writer.write(sent)

    async def hears(self, count: int) -> bytes:
        async with asyncio.timeout(BOUND):
            return await self.reader.readexactly(count)


@asynccontextmanager
async def connected() -> AsyncIterator[Peer]:
    accepted: asyncio.Future[tuple[asyncio.StreamReader, asyncio.StreamWriter]] = (
        asyncio.get_running_loop().create_future()
    )
    server = await asyncio.start_server(lambda *pair: accepted.set_result(pair), "127.0.0.1", 0)
    loop = asyncio.get_running_loop()
    transport, wire = await loop.create_connection(_Adopted, *server.sockets[0].getsockname()[:2])
    assert isinstance(wire, Wire)
    wire.transport = transport
    async with asyncio.timeout(BOUND):
        reader, writer = await accepted
    try:
        yield Peer(wire, reader, writer)
    finally:
        transport.abort()
        writer.transport.abort()
        server.close()


class _Adopted(Wire):
    def __init__(self) -> None:
        super().__init__(asyncio.Transport(), {})


async def test_replies_that_come_together_are_paired_with_the_commands_in_order() -> None:
    async with connected() as peer:
        first = peer.wire.send(b"MAIL\r\nRCPT\r\n", replies=2)
        second = peer.wire.send(b"DATA\r\n")
        assert await peer.hears(18) == b"MAIL\r\nRCPT\r\nDATA\r\n"
        peer.says(b"250 one\r\n550 two\r\n354 three\r\n")
        assert await peer.wire.read(first, BOUND) == [Reply(250, (b"one",)), Reply(550, (b"two",))]
        assert await peer.wire.read(second, BOUND) == [Reply(354, (b"three",))]
        assert peer.wire.broken is None


async def test_a_reply_that_nobody_asked_for_breaks_the_wire() -> None:
    async with connected() as peer:
        peer.says(b"421 idle too long\r\n")
        assert await peer.reader.read() == b""
        assert peer.wire.broken == "an unexpected reply: 421"
        with pytest.raises(WireBroken, match=r"^an unexpected reply: 421$"):
            await peer.wire.ask(b"NOOP\r\n", BOUND)


async def test_the_asked_for_reply_counts_and_the_stray_one_behind_it_breaks_the_wire() -> None:
    async with connected() as peer:
        asked = peer.wire.send(b"DATA\r\n")
        peer.says(b"354 go\r\n250 stray\r\n")
        assert await peer.wire.read(asked, BOUND) == [Reply(354, (b"go",))]
        assert await peer.reader.read() == b"DATA\r\n"
        assert peer.wire.broken == "an unexpected reply: 250"


async def test_no_bytes_of_a_refusal_are_ever_read_as_the_next_reply() -> None:
    async with connected() as peer:
        asked = peer.wire.send(b"RCPT\r\n")
        peer.says(b"550-no\r\n250 yes\r\n")
        with pytest.raises(WireBroken, match=r"^a reply mixes codes$"):
            await peer.wire.read(asked, BOUND)


@pytest.mark.parametrize(
    ("end", "why"),
    [
        (lambda peer: peer.writer.close(), "closed by the peer"),
        (lambda peer: peer.writer.write_eof(), "closed by the peer"),
        (lambda peer: reset(peer.writer), "reset by the peer"),
    ],
    ids=["close", "half-close", "reset"],
)
async def test_a_peer_that_goes_fails_every_reply_that_is_awaited(end: Callable[[Peer], None], why: str) -> None:
    async with connected() as peer:
        first, second = peer.wire.send(b"A\r\n"), peer.wire.send(b"B\r\nC\r\n", replies=2)
        await peer.hears(9)
        peer.says(b"250 one\r\n250 two\r\n")
        assert await peer.wire.read(first, BOUND) == [Reply(250, (b"one",))]
        end(peer)
        with pytest.raises(WireBroken, match=rf"^{why}$"):
            await peer.wire.read(second, BOUND)
        assert second.replies == [Reply(250, (b"two",))]
        third = peer.wire.send(b"D\r\n")
        with pytest.raises(WireBroken, match=rf"^{why}$"):
            await peer.wire.read(third, BOUND)


async def test_half_a_reply_at_the_end_is_no_reply() -> None:
    async with connected() as peer:
        asked = peer.wire.send(b"DOT\r\n")
        peer.says(b"250 queued as")
        peer.writer.write_eof()
        with pytest.raises(WireBroken, match=r"^closed by the peer$"):
            await peer.wire.read(asked, BOUND)


async def test_a_timeout_breaks_the_wire_so_that_the_late_reply_meets_no_other_command() -> None:
    async with connected() as peer:
        with pytest.raises(TimeoutError):
            await peer.wire.ask(b"RCPT\r\n", 0.01)
        assert peer.wire.broken == "no reply in time"
        assert await peer.reader.read() == b"RCPT\r\n"


async def test_a_reply_that_is_missing_from_a_group_has_its_own_time_and_those_before_it_are_kept() -> None:
    async with connected() as peer:
        answers = peer.wire.send(b"MAIL\r\nRCPT\r\n", replies=2)
        peer.says(b"250 one\r\n")
        with pytest.raises(TimeoutError):
            await peer.wire.read(answers, BOUND, 0.01)
        assert answers.replies == [Reply(250, (b"one",))]
        assert peer.wire.broken == "no reply in time"


async def test_a_group_ends_with_a_reply_that_closes_the_connection_and_keeps_those_before_it() -> None:
    async with connected() as peer:
        answers = peer.wire.send(b"MAIL\r\nRCPT\r\nRCPT\r\n", replies=3)
        peer.says(b"250 one\r\n421 bye\r\n")
        with pytest.raises(WireBroken, match=r"^bye$"):
            await peer.wire.read(answers, BOUND)
        assert answers.replies == [Reply(250, (b"one",))]
        assert peer.wire.broken == "bye"
        with pytest.raises(WireBroken, match=r"^bye$"):
            await peer.wire.read(answers, BOUND)


async def test_who_asks_one_thing_gets_a_reply_that_closes_the_connection_too() -> None:
    async with connected() as peer:
        asking = asyncio.get_running_loop().create_task(peer.wire.ask(b"RCPT\r\n", BOUND))
        await peer.hears(6)
        peer.says(b"421 bye\r\n")
        assert await asking == Reply(421, (b"bye",))


async def test_a_wire_on_which_nothing_is_sent_in_time_tells_its_holder_once() -> None:
    told: list[str] = []
    unused = asyncio.Event()
    async with connected() as peer:
        peer.wire.when_unused(0.01, lambda: told.append("too early"))
        answers = peer.wire.send(b"A\r\n")
        peer.says(b"250 a\r\n")
        assert await peer.wire.read(answers, BOUND) == [Reply(250, (b"a",))]
        peer.wire.when_unused(0.02, lambda: (told.append("unused"), unused.set()))
        async with asyncio.timeout(BOUND):
            await unused.wait()
        assert told == ["unused"]


async def test_a_shorter_time_counts_though_the_reply_before_had_a_longer_one() -> None:
    async with connected() as peer:
        first = peer.wire.send(b"A\r\n")
        peer.says(b"250 a\r\n")
        assert await peer.wire.read(first, 600) == [Reply(250, (b"a",))]
        with pytest.raises(TimeoutError):
            await peer.wire.ask(b"B\r\n", 0.01)


async def test_a_longer_time_counts_though_the_time_of_the_reply_before_passes_meanwhile() -> None:
    async with connected() as peer:
        first = peer.wire.send(b"A\r\n")
        peer.says(b"250 a\r\n")
        assert await peer.wire.read(first, 0.5) == [Reply(250, (b"a",))]
        asyncio.get_running_loop().call_later(0.7, peer.says, b"250 b\r\n")
        assert await peer.wire.ask(b"B\r\n", BOUND) == Reply(250, (b"b",))


async def test_giving_up_a_reply_breaks_the_wire() -> None:
    async with connected() as peer:
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.01):
                await peer.wire.ask(b"RCPT\r\n", BOUND)
        assert peer.wire.broken == "given up"


def never() -> Answers:
    """Return a reply that does not come."""
    return Answers(1)


async def test_the_wait_for_room_ends_with_a_reply_that_came_first() -> None:
    async with connected() as peer:
        peer.wire.transport.set_write_buffer_limits(high=1024)
        early = peer.wire.send(b"x" * 20_000_000)
        peer.says(b"552 enough\r\n")
        await peer.wire.drain(BOUND, early)
        assert early.replies == [Reply(552, (b"enough",))]


async def test_drain_waits_until_the_peer_reads() -> None:
    async with connected() as peer:
        peer.wire.transport.set_write_buffer_limits(high=1024)
        block = b"x" * 8_000_000
        peer.wire.write(block)
        draining = asyncio.get_running_loop().create_task(peer.wire.drain(BOUND, never()))
        assert await peer.hears(len(block)) == block
        async with asyncio.timeout(BOUND):
            await draining
        assert peer.wire.broken is None


async def test_a_peer_that_does_not_read_in_time_breaks_the_wire() -> None:
    async with connected() as peer:
        peer.wire.transport.set_write_buffer_limits(high=1024)
        peer.wire.write(b"x" * 20_000_000)
        with pytest.raises(TimeoutError):
            await peer.wire.drain(0.01, never())
        assert peer.wire.broken == "the peer does not read"


async def test_a_peer_that_goes_ends_the_wait_for_room() -> None:
    async with connected() as peer:
        peer.wire.transport.set_write_buffer_limits(high=1024)
        peer.wire.write(b"x" * 20_000_000)
        reset(peer.writer)
        with pytest.raises(WireBroken, match=r"^reset by the peer$"):
            await peer.wire.drain(BOUND, never())


async def test_an_aborted_wire_sends_nothing_more() -> None:
    async with connected() as peer:
        peer.wire.write(b"content")
        assert await peer.hears(7) == b"content"
        peer.wire.abort("aborted")
        peer.wire.write(b"\r\n.\r\n")
        with pytest.raises(WireBroken, match=r"^aborted$"):
            await peer.wire.drain(BOUND, never())
        assert await _all_that_came(peer.reader.read) == b""


async def _all_that_came(read: Callable[[], Awaitable[bytes]]) -> bytes:
    try:
        async with asyncio.timeout(BOUND):
            return await read()
    except ConnectionError:
        return b""


async def test_quit_is_said_answered_and_the_connection_closed() -> None:
    async with connected() as peer:
        quitting = asyncio.get_running_loop().create_task(peer.wire.quit(BOUND))
        assert await peer.hears(6) == b"QUIT\r\n"
        peer.says(b"221 bye\r\n")
        async with asyncio.timeout(BOUND):
            await quitting
        assert await peer.reader.read() == b""
        assert peer.wire.broken == "closed by us"


# ---------------------------------------------------------------- dialling


def target(port: int, *, seconds: float = BOUND) -> Dial:
    return Dial("127.0.0.1", port, "ringback.test", seconds, seconds)


async def test_dial_greets_and_keeps_the_extensions_in_lower_case() -> None:
    async with Exchanger(extensions=("PIPELINING", "Size 1000", "8BITMIME")) as server:
        wire = await dial(target(server.port))
        assert wire.extensions == {"pipelining": "", "size": "1000", "8bitmime": ""}
        assert await wire.ask(b"NOOP\r\n", BOUND) == Reply(250, (b"2.0.0 Ok",))
        assert server.commands == ["EHLO ringback.test", "NOOP"]
        wire.abort("done")


async def test_helo_is_said_to_a_server_that_does_not_know_ehlo() -> None:
    async with Exchanger(script={Step.EHLO: says("502 what?")}) as server:
        wire = await dial(target(server.port))
        assert wire.extensions == {}
        assert server.commands == ["EHLO ringback.test", "HELO ringback.test"]
        wire.abort("done")


@pytest.mark.parametrize(
    ("script", "stage", "code", "text"),
    [
        ({Step.BANNER: says("554 no service for you")}, "banner", 554, "no service for you"),
        ({Step.BANNER: says("421 busy")}, "banner", 421, "busy"),
        ({Step.EHLO: says("421 busy")}, "ehlo", 421, "busy"),
        ({Step.EHLO: says("500 what?"), Step.HELO: says("550 not you")}, "helo", 550, "not you"),
    ],
)
async def test_a_refusal_before_the_first_command_tells_stage_code_and_text(
    script: dict[Step, Act], stage: str, code: int, text: str
) -> None:
    async with Exchanger(script=script) as server:
        with pytest.raises(GreetingRefused) as refused:
            await dial(target(server.port))
        assert (refused.value.stage, refused.value.code, refused.value.text) == (stage, code, text)
        await server.until(lambda: not server.open_dialogues, "the connection is closed")


@pytest.mark.parametrize(
    "script",
    [
        {Step.BANNER: closes()},
        {Step.BANNER: Act(after=After.RESET)},
        {Step.EHLO: closes()},
        {Step.EHLO: Act(after=After.RESET)},
        {Step.EHLO: sends(b"250-half\r\n"), Step.OTHER: closes()},
    ],
    ids=["banner-close", "banner-reset", "ehlo-close", "ehlo-reset", "half-an-ehlo"],
)
async def test_a_server_that_leaves_before_it_introduced_itself_breaks_the_wire(script: dict[Step, Act]) -> None:
    async with Exchanger(script=script) as server:
        with pytest.raises((WireBroken, TimeoutError)):
            await dial(target(server.port, seconds=0.3))
        await server.until(lambda: not server.open_dialogues, "the connection is closed")


@pytest.mark.parametrize("step", [Step.BANNER, Step.EHLO])
async def test_a_server_that_says_nothing_is_given_up_and_the_connection_closed(step: Step) -> None:
    async with Exchanger(script={step: is_silent()}) as server:
        with pytest.raises(TimeoutError):
            await dial(target(server.port, seconds=0.5))  # on a busy machine, until it has accepted
        await server.until(lambda: bool(server.dialogues) and not server.open_dialogues, "the connection is closed")


async def test_no_server_at_all_breaks_the_wire() -> None:
    server = await Exchanger().start()
    await server.stop()
    with pytest.raises(WireBroken):
        await dial(target(server.port))


@pytest.mark.parametrize(
    "script",
    [
        {Step.EHLO: sends(b"250 hi\r\n250 more than was asked\r\n")},
        {Step.EHLO: sends(b"250 hi\r\n25")},
        {Step.BANNER: sends(b"220 hi\r\n250 too early\r\n")},
        {Step.BANNER: sends(b"220 hi\r\n250-exchanger.test\r\n250 SIZE\r\n250 Ok\r\n250 Ok\r\n250 Ok\r\n")},
    ],
    ids=["behind-ehlo", "begun-behind-ehlo", "behind-the-banner", "everything-at-once"],
)
async def test_a_reply_that_nobody_asked_for_is_noticed_before_the_first_command(script: dict[Step, Act]) -> None:
    async with Exchanger(script=script) as server:
        with pytest.raises(WireBroken, match=r"^an unexpected reply$"):
            await dial(target(server.port))


@pytest.mark.parametrize("step", [Step.BANNER, Step.EHLO])
@pytest.mark.parametrize(
    ("reply", "why"),
    [
        (b"554-no\r\n220 yes\r\n", "a reply mixes codes"),
        (b"550-no\r\n250 yes\r\n", "a reply mixes codes"),
        (b"nonsense\r\n", "a line is not a reply"),
        (b"SSH-2.0-OpenSSH\r\n", "a line is not a reply"),
        (b"220 bare\n", "a reply line contains a bare line break or NUL"),
        (b"250 " + b"x" * 3000, "a reply line is too long"),
        (b"250-x\r\n" * 101, "a reply is too long"),
        (b"250-%b\r\n" % (b"x" * 1900) * 18, "a reply is too long"),
    ],
)
async def test_a_greeting_and_an_answer_to_ehlo_are_read_by_the_letter(step: Step, reply: bytes, why: str) -> None:
    async with Exchanger(script={step: sends(reply)}) as server:
        with pytest.raises(WireBroken, match=f"^{why}$"):
            await dial(target(server.port))
        await server.until(lambda: not server.open_dialogues, "the connection is closed")


async def test_a_listener_hears_both_sides_from_the_greeting_on() -> None:
    heard: list[tuple[bool, bytes]] = []
    async with Exchanger(extensions=("SIZE 1",)) as server:
        wire = await dial(replace(target(server.port), listener=lambda ours, octets: heard.append((ours, octets))))
        await wire.ask(b"NOOP\r\n", BOUND)
        wire.abort("done")
    assert heard == [
        (False, b"220 exchanger.test ESMTP\r\n"),
        (True, b"EHLO ringback.test\r\n"),
        (False, b"250-exchanger.test\r\n250 SIZE 1\r\n"),
        (True, b"NOOP\r\n"),
        (False, b"250 2.0.0 Ok\r\n"),
    ]


async def test_the_wire_knows_what_the_peer_calls_itself() -> None:
    async with Exchanger() as server:
        wire = await dial(target(server.port))
        assert wire.peer_name == "exchanger.test"
        wire.abort("done")


async def test_what_comes_right_after_ehlo_meets_the_adopted_wire() -> None:
    gate = asyncio.Event()
    async with Exchanger(script={Step.MAIL: says("250 late", until=gate)}) as server:
        wire = await dial(target(server.port))
        asked = wire.send(b"MAIL FROM:<>\r\n")
        await server.until(lambda: bool(server.held), "MAIL came")
        gate.set()
        assert await wire.read(asked, BOUND) == [Reply(250, (b"late",))]
        wire.abort("done")
