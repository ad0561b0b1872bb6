"""The console of a Ringback that runs, as a person at it uses it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from proxy.console.client import Client, Failed
from proxy.console.places import NAME
from tests.support.waiting import BOUND


async def said(folder: Path, line: str, *, reason: str = "") -> list[str]:
    """Return the lines that a command prints.

    Raises:
        Failed: it was not carried out.
    """
    return await asyncio.to_thread(lambda: [line for lines in _asked(folder, line, reason=reason) for line in lines])


async def value(folder: Path, line: str) -> Any:
    """Return a command's value as JSON."""
    (found,) = await asyncio.to_thread(lambda: _asked(folder, line, as_json=True))
    return found


async def refused(folder: Path, line: str) -> str:
    """Return why a command is not carried out."""
    try:
        lines = await said(folder, line)
    except Failed as failed:
        return str(failed)
    raise AssertionError(f"{line} was carried out: {lines}")


def _asked(folder: Path, line: str, *, as_json: bool = False, reason: str = "") -> list[Any]:
    with Client([folder]) as client:
        return list(client.ask(line, as_json=as_json, reason=reason))


class Follower:
    """Somebody who follows with tail or trace."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader, self.writer = reader, writer

    async def line(self, *, within: float = BOUND) -> str:
        """Return the next line. Raises EOFError if the server has ended the stream."""
        async with asyncio.timeout(within):
            line = await self.reader.readline()
        if not line:
            raise EOFError
        return line.decode("ascii").rstrip("\n")

    async def until(self, text: str) -> list[str]:
        """Return the lines up to the first with a text in it."""
        lines = [await self.line()]
        while text not in lines[-1]:
            lines.append(await self.line())
        return lines


@asynccontextmanager
async def following(folder: Path, line: str) -> AsyncIterator[Follower]:
    """Follow; when this begins, the command was sent and every process has joined."""
    reader, writer = await asyncio.open_unix_connection(str(folder / NAME))
    try:
        assert (await reader.readline()).startswith(b"# Ringback ")
        writer.write(f"{line}\n".encode())
        await writer.drain()
        await value(folder, "workers")  # questions are answered in order, so all know of it
        yield Follower(reader, writer)
    finally:
        writer.close()
