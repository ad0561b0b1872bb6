"""A client that speaks SMTP in bytes and sees replies in bytes: nothing is corrected on the way."""

from __future__ import annotations

import asyncio
import re
import socket
import struct
from collections.abc import Sequence
from types import TracebackType
from typing import Self

from tests.support.waiting import BOUND

LONGEST_REPLY_LINE = 64 * 1024


class Conversation:
    """One connection to an SMTP server, seen from the client's side."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Take over a connected pair of streams; use `open` to make one."""
        self._reader = reader
        self._writer = writer
        self.banner = ""

    @classmethod
    async def open(cls, address: str, port: int, *, source: str | None = None) -> Self:
        """Connect, from another loopback address if one is given, and read the banner."""
        client = await cls.connect(address, port, source=source)
        try:
            client.banner = await client.reply()
        except BaseException:
            await client.close()
            raise
        return client

    @classmethod
    async def connect(cls, address: str, port: int, *, source: str | None = None) -> Self:
        """Connect without waiting for the banner."""
        async with asyncio.timeout(BOUND):
            reader, writer = await asyncio.open_connection(
                address, port, limit=LONGEST_REPLY_LINE, local_addr=None if source is None else (source, 0)
            )
        writer.transport.get_extra_info("socket").setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        return cls(reader, writer)

    @property
    def local_port(self) -> int:
        """The port of the client's end."""
        port: int = self._writer.get_extra_info("sockname")[1]
        return port

    async def reply(self, *, within: float = BOUND) -> str:
        """Return the next reply; the lines of a multi-line reply are joined by a line feed.

        Raises:
            ConnectionError: the server closed instead.
            TimeoutError: nothing came in time.
        """
        lines: list[str] = []
        async with asyncio.timeout(within):
            while True:
                raw = await self._reader.readline()
                if not raw.endswith(b"\n"):
                    raise ConnectionResetError(f"closed in place of a reply, after {raw!r}")
                assert raw.endswith(b"\r\n"), f"a reply line ends with CR LF, not {raw!r}"
                lines.append(raw[:-2].decode("utf-8", "backslashreplace"))
                if raw[3:4] != b"-":
                    return "\n".join(lines)

    async def send(self, *lines: str) -> None:
        """Send command lines in one write, adding CR LF to each."""
        await self.send_raw(b"".join(line.encode() + b"\r\n" for line in lines))

    async def send_raw(self, sent: bytes) -> None:
        """Send bytes as they are."""
        self._writer.write(sent)
        async with asyncio.timeout(BOUND):
            await self._writer.drain()

    async def ask(self, line: str) -> str:
        """Send one command and return its reply."""
        await self.send(line)
        return await self.reply()

    async def pipeline(self, *lines: str) -> list[str]:
        """Send several commands in one write and return their replies."""
        await self.send(*lines)
        return [await self.reply() for _ in lines]

    async def ehlo(self, name: str = "client.test") -> str:
        """Greet with EHLO; the reply must be a 250."""
        answer = await self.ask(f"EHLO {name}")
        assert answer.startswith("250"), answer
        return answer

    async def envelope(self, sender: str, recipients: Sequence[str]) -> None:
        """Greet, give sender and recipients and begin DATA; everything must be accepted."""
        await self.ehlo()
        for command in (f"MAIL FROM:<{sender}>", *(f"RCPT TO:<{each}>" for each in recipients)):
            answer = await self.ask(command)
            assert answer.startswith("250"), f"{command} was answered {answer!r}"
        answer = await self.ask("DATA")
        assert answer.startswith("354"), answer

    async def content(self, message: bytes) -> str:
        """Send a message, dots stuffed, and the final dot; return the reply to the dot."""
        assert message.endswith(b"\r\n"), "a message ends with a line end"
        await self.send_raw(stuffed(message) + b".\r\n")
        return await self.reply()

    async def deliver(self, sender: str, recipients: Sequence[str], message: bytes) -> str:
        """Run a whole transaction; return the reply to the dot."""
        await self.envelope(sender, recipients)
        return await self.content(message)

    async def quit(self) -> str:
        """Say QUIT, return the reply and close."""
        answer = await self.ask("QUIT")
        await self.close()
        return answer

    async def rest(self) -> bytes:
        """Return everything until the server closes; a reset counts as a close."""
        try:
            async with asyncio.timeout(BOUND):
                return await self._reader.read()
        except ConnectionError:
            return b""

    def half_close(self) -> None:
        """Send FIN and keep listening."""
        self._writer.write_eof()

    def abort(self) -> None:
        """Close with RST, as a killed client or a torn line does."""
        reset(self._writer)

    def leave(self) -> None:
        """Close without a word, and without waiting until it is done."""
        self._writer.close()

    async def close(self) -> None:
        """Close without a word."""
        self._writer.close()
        try:
            async with asyncio.timeout(BOUND):
                await self._writer.wait_closed()
        except ConnectionError:
            pass  # the other side was faster

    async def __aenter__(self) -> Self:
        """Return the open conversation."""
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None
    ) -> None:
        """Close without a word."""
        await self.close()


def reset(writer: asyncio.StreamWriter) -> None:
    """Close a connection so that the kernel sends RST: SO_LINGER with a time of zero."""
    raw = writer.get_extra_info("socket")
    if raw is not None and not writer.is_closing():
        raw.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    writer.transport.abort()


def stuffed(message: bytes) -> bytes:
    """Double the dot that begins a line (RFC 5321, 4.5.2)."""
    doubled = message.replace(b"\r\n.", b"\r\n..")
    return b"." + doubled if doubled.startswith(b".") else doubled


def unstuffed(content: bytes) -> bytes:
    """Take away the first dot of every line that begins with one (RFC 5321, 4.5.2)."""
    return re.sub(rb"(\A|\r\n)\.", rb"\1", content)
