"""A mail server that does as it is told: exchanger of a sender's domain, or upstream, for faults and for time.

Each step of the dialogue has an `Act`: what is said, when, and what happens to the connection then. A step without one
is answered as a friendly server would. Everything is recorded in bytes: each dialogue's lines, and each message.
"""

from __future__ import annotations

import asyncio
import re
import socket
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from enum import Enum, auto
from types import TracebackType
from typing import Self

from tests.support.conversation import reset, unstuffed
from tests.support.inbox import END, Gone, Inbox
from tests.support.waiting import BOUND


class Step(Enum):
    """A place in the dialogue at which something may go wrong."""

    BANNER = auto()
    EHLO = auto()
    HELO = auto()
    STARTTLS = auto()
    XCLIENT = auto()
    MAIL = auto()
    RCPT = auto()
    DATA = auto()
    CONTENT = auto()
    DOT = auto()
    BDAT = auto()
    """A chunk, the last one included; the octets have been read."""
    RSET = auto()
    NOOP = auto()
    QUIT = auto()
    OTHER = auto()


class After(Enum):
    """What becomes of the connection once the reply, if any, is sent."""

    GO_ON = auto()
    CLOSE = auto()
    RESET = auto()
    HALF_CLOSE = auto()
    """Send FIN and read on."""
    SILENCE = auto()
    """Read on and say nothing any more."""


@dataclass(frozen=True, slots=True)
class Act:
    """What the server does at a step: wait for `until`, send `reply` as it is, then `after`."""

    reply: bytes = b""
    until: asyncio.Event | None = None
    after: After = After.GO_ON


def says(*lines: str, until: asyncio.Event | None = None, after: After = After.GO_ON) -> Act:
    """Reply with these lines (`code-text` for all but the last), once `until` is set if it is given."""
    return Act("".join(f"{line}\r\n" for line in lines).encode(), until, after)


def sends(reply: bytes) -> Act:
    """Send these bytes, whatever they are."""
    return Act(reply)


def is_silent() -> Act:
    """Read on and never answer."""
    return Act()


def closes() -> Act:
    """Close the connection in place of a reply."""
    return Act(after=After.CLOSE)


def breaks_off(reply: bytes) -> Act:
    """Send a part of a reply and close the connection."""
    return Act(reply, after=After.CLOSE)


def resets() -> Act:
    """Reset the connection (RST) in place of a reply."""
    return Act(after=After.RESET)


FRIENDLY: Mapping[Step, Act] = {
    Step.BANNER: says("220 exchanger.test ESMTP"),
    Step.HELO: says("250 exchanger.test"),
    Step.STARTTLS: says("502 5.5.2 Error: command not recognized"),
    Step.XCLIENT: says("502 5.5.2 Error: command not recognized"),
    Step.MAIL: says("250 2.1.0 Ok"),
    Step.RCPT: says("250 2.1.5 Ok"),
    Step.DATA: says("354 End data with <CR><LF>.<CR><LF>"),
    Step.BDAT: says("250 2.0.0 Ok"),
    Step.RSET: says("250 2.0.0 Ok"),
    Step.NOOP: says("250 2.0.0 Ok"),
    Step.QUIT: says("221 2.0.0 Bye", after=After.CLOSE),
    Step.OTHER: says("502 5.5.2 Error: command not recognized"),
}

EXTENSIONS = ("PIPELINING", "SIZE 52428800", "8BITMIME", "ENHANCEDSTATUSCODES", "SMTPUTF8")


@dataclass(frozen=True, slots=True)
class Message:
    """A message that the server accepted with 250 after the dot."""

    sender: str
    """The whole MAIL command, parameters included."""
    recipients: tuple[str, ...]
    """The whole RCPT command of each recipient that was accepted."""
    content: bytes
    """The message with its dots unstuffed."""
    wire: bytes
    """The message as it came, without the end mark."""


@dataclass(slots=True, eq=False)
class Dialogue:
    """One connection: what was said on it, and where it stands."""

    writer: asyncio.StreamWriter
    peer: tuple[str, int]
    commands: list[str] = field(default_factory=list)
    """The client's command lines, in order, without line ends."""
    content_size: int = 0
    """Content bytes that have come in the transaction that runs, or in the last one."""
    script: dict[Step, Act] = field(default_factory=dict)
    """Acts on this connection only; they come before the server's."""
    held_at: Step | None = None
    """The step whose `until` is awaited."""
    ended: bool = False
    """Whether the connection is gone."""
    mute: bool = False
    """Whether nothing more is said on it, whatever comes."""
    sender: str = ""
    """The MAIL command of the transaction that runs, or of the last one."""
    recipients: list[str] = field(default_factory=list)
    """The RCPT commands in it that were accepted."""
    in_transaction: bool = False
    chunks: list[bytes] = field(default_factory=list)
    """The chunks of the transaction that runs, or of the last one."""

    def close(self) -> None:
        """Close it from the server's side, as an idle time-out does."""
        self.writer.close()

    def reset(self) -> None:
        """Reset it from the server's side."""
        reset(self.writer)


class Exchanger:
    """A scripted SMTP server on one loopback address, or on a Unix socket, whose path is given in its place.

    `script` may be changed while it runs. `recipients` maps a recipient's address, without brackets, to the act at its
    RCPT. `content_act` is done once `content_limit` bytes of content have come.
    """

    def __init__(
        self,
        address: str = "127.0.0.1",
        port: int = 0,
        *,
        script: Mapping[Step, Act] | None = None,
        recipients: Mapping[str, Act] | None = None,
        content_limit: int | None = None,
        extensions: Sequence[str] = EXTENSIONS,
    ) -> None:
        """Describe the server; it listens from `start` on."""
        self.address = address
        self.port = port
        self.script: dict[Step, Act] = dict(script or {})
        self.recipients: dict[str, Act] = dict(recipients or {})
        self.content_limit = content_limit
        self.extensions = extensions
        self.dialogues: list[Dialogue] = []
        self.messages: list[Message] = []
        self.faults: list[str] = []
        self._server: asyncio.Server | None = None
        self._changed = asyncio.Condition()
        self._handlers: set[asyncio.Task[None]] = set()

    # ---- what tests read

    @property
    def open_dialogues(self) -> list[Dialogue]:
        """Connections that have not ended."""
        return [each for each in self.dialogues if not each.ended]

    @property
    def commands(self) -> list[str]:
        """Every command of every connection, in the order of the connections."""
        return [command for each in self.dialogues for command in each.commands]

    @property
    def held(self) -> list[Dialogue]:
        """Connections that wait for their act's event."""
        return [each for each in self.dialogues if each.held_at is not None]

    def count(self, verb: str) -> int:
        """Return how often a command was given, on all connections."""
        return sum(command.upper().startswith(verb.upper()) for command in self.commands)

    async def until(self, condition: Callable[[], bool], what: str, *, within: float = BOUND) -> None:
        """Wait until the recorded state meets a condition.

        Raises:
            AssertionError: it did not in time.
        """
        try:
            async with asyncio.timeout(within), self._changed:
                await self._changed.wait_for(condition)
        except TimeoutError:
            said = [(each.commands[-3:], each.held_at, each.ended) for each in self.dialogues[-5:]]
            raise AssertionError(f"not within {within:g} s: {what}; last dialogues: {said}") from None

    # ---- its life

    async def start(self) -> Self:
        """Listen."""
        if self.address.startswith("/"):
            self._server = await asyncio.start_unix_server(self._serve, self.address, backlog=1024, limit=2**20)
            return self
        self._server = await asyncio.start_server(self._serve, self.address, self.port, backlog=1024, limit=2**20)
        self.port = self._server.sockets[0].getsockname()[1]
        return self

    async def stop_listening(self) -> None:
        """Refuse new connections; those that are open go on."""
        if self._server is not None:
            self._server.close()

    async def stop(self) -> None:
        """Stop listening, reset what is open and wait until every dialogue has ended."""
        await self.stop_listening()
        for each in self.open_dialogues:
            each.reset()
        for handler in tuple(self._handlers):
            handler.cancel()
        await asyncio.gather(*self._handlers, return_exceptions=True)

    async def __aenter__(self) -> Self:
        """Listen."""
        return await self.start()

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None
    ) -> None:
        """Stop."""
        await self.stop()

    # ---- one connection

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        handler = asyncio.current_task()
        assert handler is not None
        self._handlers.add(handler)
        if not self.address.startswith("/"):
            writer.get_extra_info("socket").setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        dialogue = Dialogue(writer, writer.get_extra_info("peername"))
        self.dialogues.append(dialogue)
        inbox = Inbox(reader)
        try:
            await self._before_banner(dialogue, inbox)
            await self._do(dialogue, Step.BANNER)
            while True:
                await self._command(dialogue, self._line(await inbox.line()), inbox)
        except (Gone, ConnectionError, asyncio.CancelledError):
            pass  # each is an end that tests ask for; a cancelled handler is one that `stop` ends
        finally:
            dialogue.ended = True
            writer.close()
            self._handlers.discard(handler)
            await self._note()

    async def _before_banner(self, dialogue: Dialogue, inbox: Inbox) -> None:
        """Read what is said before the greeting; a subclass may expect something."""

    async def _command(self, dialogue: Dialogue, command: str, inbox: Inbox) -> None:
        dialogue.commands.append(command)
        step = _step(command)
        if step is Step.MAIL:
            self._begin(dialogue, command)
        await self._note()
        if step is Step.BDAT:
            await self._take_chunk(dialogue, command, inbox)
            return
        reply = await self._do(dialogue, step, command)
        if step in {Step.EHLO, Step.HELO, Step.RSET}:
            dialogue.in_transaction = False
        if not reply.startswith((b"2", b"354")):
            return
        if step is Step.MAIL:
            dialogue.in_transaction = True
        elif step is Step.RCPT:
            dialogue.recipients.append(command)
        elif step is Step.DATA:
            await self._take_content(dialogue, inbox)
            dialogue.in_transaction = False

    def _begin(self, dialogue: Dialogue, command: str) -> None:
        if dialogue.in_transaction:
            self.faults.append(f"{command} within a transaction")
        dialogue.sender, dialogue.recipients, dialogue.content_size, dialogue.chunks = command, [], 0, []

    async def _take_content(self, dialogue: Dialogue, inbox: Inbox) -> None:
        inbox.put_back(b"\r\n")  # so that a dot which is the first line ends an empty message
        limit, looked = self.content_limit, 0
        while True:
            at = inbox.find_end(looked - len(END))
            looked = len(inbox)
            dialogue.content_size = (looked if at < 0 else at + 2) - 2
            if limit is not None and dialogue.content_size >= limit:
                limit = None
                await self._do(dialogue, Step.CONTENT)
            if at >= 0:
                break
            await self._note()
            await inbox.more()
        wire = inbox.take(at + len(END))[2:-3]
        message = Message(dialogue.sender, tuple(dialogue.recipients), unstuffed(wire), wire)
        await self._do(dialogue, Step.DOT, before_reply=lambda reply: self._keep(message, reply))

    async def _take_chunk(self, dialogue: Dialogue, command: str, inbox: Inbox) -> None:
        octets = int(command.split()[1])
        while len(inbox) < octets:
            await inbox.more()
        dialogue.chunks.append(inbox.take(octets))
        if not command.upper().endswith(" LAST"):
            await self._do(dialogue, Step.BDAT)
            return
        content = b"".join(dialogue.chunks)
        message = Message(dialogue.sender, tuple(dialogue.recipients), content, content)
        await self._do(dialogue, Step.DOT, before_reply=lambda reply: self._keep(message, reply))
        dialogue.in_transaction = False

    def _keep(self, message: Message, reply: bytes) -> None:
        if reply.startswith(b"2"):
            self.messages.append(message)

    # ---- one step

    async def _do(
        self,
        dialogue: Dialogue,
        step: Step,
        command: str = "",
        *,
        before_reply: Callable[[bytes], None] = lambda reply: None,  # noqa: ARG005 - the default does nothing
    ) -> bytes:
        if dialogue.mute:
            return b""
        act = dialogue.script.get(step) or self._out_of_order(dialogue, step) or self.act_at(step, command)
        if act.until is not None and not act.until.is_set():
            await self._hold(dialogue, step, act.until)
        before_reply(act.reply)
        if act.reply:
            await self._say(dialogue, step, act.reply)
        await self._note()
        await self._leave(dialogue, act.after)
        return act.reply

    async def _say(self, dialogue: Dialogue, step: Step, reply: bytes) -> None:  # noqa: ARG002 - for subclasses
        """Send a reply; a subclass may send it in pieces, or together with the next one."""
        dialogue.writer.write(reply)
        await dialogue.writer.drain()

    async def _leave(self, dialogue: Dialogue, after: After) -> None:
        if after is After.RESET:
            dialogue.reset()
        if after in {After.CLOSE, After.RESET}:
            raise Gone
        if after is After.HALF_CLOSE:
            dialogue.writer.write_eof()
        if after is not After.GO_ON:
            dialogue.mute = True
            await self._note()

    def _out_of_order(self, dialogue: Dialogue, step: Step) -> Act | None:
        """Return the refusal of a command that may not come now (RFC 5321, 4.1.4)."""
        if step is Step.MAIL and dialogue.in_transaction:
            return says("503 5.5.1 Error: nested MAIL command")
        if step is Step.RCPT and not dialogue.in_transaction:
            return says("503 5.5.1 Error: need MAIL command")
        if step is Step.DATA and not dialogue.recipients:
            return says("554 5.5.1 Error: no valid recipients")
        return None

    def act_at(self, step: Step, command: str) -> Act:
        """Return what to do at a step; a subclass may decide otherwise each time."""
        if step is Step.RCPT and (act := self.recipients.get(_address(command))) is not None:
            return act
        if (act := self.script.get(step)) is not None:
            return act
        if step is Step.EHLO:
            lines = ["exchanger.test", *self.extensions]
            return says(*(f"250-{line}" for line in lines[:-1]), f"250 {lines[-1]}")
        if step is Step.DOT:
            return says(f"250 2.0.0 Ok: queued as {len(self.messages) + 1:06X}")
        return FRIENDLY.get(step, Act())

    async def _hold(self, dialogue: Dialogue, step: Step, until: asyncio.Event) -> None:
        dialogue.held_at = step
        await self._note()
        try:
            await until.wait()
        finally:
            dialogue.held_at = None

    def _line(self, raw: bytes) -> str:
        if not raw.endswith(b"\r\n"):
            self.faults.append(f"a command line ends with CR LF, not {raw!r}")
        return raw.rstrip(b"\r\n").decode("utf-8", "backslashreplace")

    async def _note(self) -> None:
        async with self._changed:
            self._changed.notify_all()


_STEPS = {step.name[:4]: step for step in Step if step not in {Step.BANNER, Step.CONTENT, Step.DOT, Step.OTHER}}


def _step(command: str) -> Step:
    return _STEPS.get(command[:4].upper(), Step.OTHER)


def _address(command: str) -> str:
    found = re.search(r"<([^>]*)>", command)
    return found[1] if found else ""
