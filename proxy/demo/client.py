"""A mail client that sends one message and records the dialogue: SampleMessage, ConversationResult, send.

It speaks one command at a time, as telnet would, so that the timeline shows where Ringback makes it wait.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from dataclasses import dataclass
from datetime import UTC, datetime
from email.utils import format_datetime

from proxy.demo.mailhost import ROUTINE, UNREADABLE, hang_up, one_line
from proxy.demo.timeline import PeerRole, Timeline

PATIENCE = 60.0
"""Seconds for a whole conversation; the demonstration's probes end long before."""

HELO = "client.example"


@dataclass(frozen=True, slots=True)
class SampleMessage:
    """One message to send: its envelope and what to put in it. An empty sender is the null sender."""

    sender: str
    recipient: str
    subject: str
    text: str

    def content(self) -> bytes:
        """Return the message with CRLF line ends."""
        author = f"<{self.sender}>" if self.sender else "<MAILER-DAEMON@client.example>"
        lines = (
            f"From: {author}",
            f"To: <{self.recipient}>",
            f"Subject: {self.subject}",
            f"Date: {format_datetime(datetime.now(UTC))}",
            "",
            self.text,
        )
        return "".join(f"{line}\r\n" for line in lines).encode()


@dataclass(frozen=True, slots=True)
class ConversationResult:
    """How a conversation ended: the stage and reply that decided, the content sent, and when (monotonic seconds)."""

    stage: str
    code: int
    text: str
    content: bytes
    finished: float

    @property
    def accepted(self) -> bool:
        """Whether the server took the message over."""
        return self.stage == "dot" and self.code == 250


async def send(
    server: tuple[str, int], letter: SampleMessage, timeline: Timeline, name: str = "client"
) -> ConversationResult:
    """Send the letter and return the reply that decided; a lost or silent server is an outcome with code 0."""
    content = letter.content()
    conversation = _Conversation(timeline, name)
    try:
        async with asyncio.timeout(PATIENCE):
            await conversation.open(server)
            await conversation.offer(letter, content)
    except (OSError, *UNREADABLE) as lost:
        conversation.code, conversation.text = 0, str(lost) or type(lost).__name__
    finally:
        await conversation.close()
    return ConversationResult(conversation.stage, conversation.code, conversation.text, content, time.monotonic())


class _Conversation:
    """One connection to Ringback: the stage it is at and the reply heard last."""

    def __init__(self, timeline: Timeline, name: str) -> None:
        self.stage, self.code, self.text = "connect", 0, ""
        self._timeline, self._name = timeline, name
        self._reader = asyncio.StreamReader()
        self._writer: asyncio.StreamWriter | None = None

    async def open(self, server: tuple[str, int]) -> None:
        """Connect and read the greeting."""
        self._reader, self._writer = await asyncio.open_connection(*server)
        self.stage = "greeting"
        await self._hear(routine=True)

    async def offer(self, letter: SampleMessage, content: bytes) -> None:
        """Speak until the message is taken or something is refused, then take leave."""
        for stage, command in (
            ("EHLO", f"EHLO {HELO}"),
            ("MAIL", f"MAIL FROM:<{letter.sender}>"),
            ("RCPT", f"RCPT TO:<{letter.recipient}>"),
            ("DATA", "DATA"),
        ):
            if self.code // 100 != 2:
                break
            self.stage = stage
            await self._ask(command)
        if self.code == 354:
            self.stage = "dot"
            self._timeline.remark(
                PeerRole.CLIENT, self._name, f"sends the message, {len(content)} bytes", to_peer=False
            )
            self._write(content.replace(b"\r\n.", b"\r\n..") + b".\r\n")
            await self._hear()
        decided = self.code, self.text
        with contextlib.suppress(OSError, *UNREADABLE):
            await self._ask("QUIT")
        self.code, self.text = decided

    async def close(self) -> None:
        """Drop the connection, if there is one."""
        if self._writer is not None:
            await hang_up(self._writer)

    async def _ask(self, command: str) -> None:
        routine = command[:4] in ROUTINE
        self._timeline.line(PeerRole.CLIENT, self._name, command, to_peer=False, routine=routine)
        self._write(f"{command}\r\n".encode())
        await self._hear(routine=routine)

    def _write(self, octets: bytes) -> None:
        if self._writer is not None:
            self._writer.write(octets)

    async def _hear(self, *, routine: bool = False) -> None:
        lines = []
        more = True
        while more:
            line = (await self._reader.readuntil(b"\r\n")).decode("utf-8", "backslashreplace").rstrip("\r\n")
            lines.append(line)
            more = line[3:4] == "-"
        self._timeline.line(PeerRole.CLIENT, self._name, one_line(lines), to_peer=True, routine=routine)
        self.code = int(lines[-1][:3]) if lines[-1][:3].isdigit() else 0
        self.text = lines[-1][4:]
