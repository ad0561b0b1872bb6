"""`Desk`: the Unix socket of the console. It takes command lines and answers with text or JSON.

A line that begins with `{` is JSON: `{"command": …, "reason": …, "json": true, "texts": {…}}`. Its answer is one JSON
object a line; the last one has `ok`, and `replaced` if another process answers from now on. Any other line is a command
as a person types it. Its answer is text that ends with a line that is only a dot, as SMTP does it, so that `socat` and
a shell script are enough.
"""

from __future__ import annotations

import asyncio
import json
import socket
from collections.abc import AsyncGenerator, Coroutine, Sequence
from contextlib import aclosing, suppress
from pathlib import Path
from typing import Any

from proxy.base.log import get_logger, printable
from proxy.base.tasks import TaskOwner, spawn
from proxy.console.carrying import Carrying, failed
from proxy.console.errors import Refused
from proxy.console.people import Doorman, Peer, Person
from proxy.console.places import Taken, bound
from proxy.console.registry import LONGEST_LINE, Call, Command, Commands
from proxy.console.results import Result, form_of, shown
from proxy.console.version import VERSION

log = get_logger()

MOST_CONNECTIONS = 64
READER_SECONDS = 600.0
"""A client that reads nothing for this long is cut off. Until then its stream waits and loses answers."""

IDLE_SECONDS = 3600.0
_AGAIN_SECONDS = 5.0


class Desk:
    """A part of the control process. The event loop's thread owns its state."""

    name = "desk"

    def __init__(self, folders: Sequence[Path], doorman: Doorman, commands: Commands) -> None:
        """Use the first folder that can be written."""
        self._folders, self._doorman, self._commands = folders, doorman, commands
        self._owner = TaskOwner("console")
        self._listening: socket.socket | None = None
        self._connections = 0

    async def start(self) -> None:
        """Bind and serve. If another server has the place, try again until it has gone."""
        if not self._bind():
            spawn(self._try_again(), name="console's socket", owner=self._owner)
        else:
            spawn(self._accept(), name="console", owner=self._owner)

    async def stop(self) -> None:
        """Stop answering. The socket's file stays: the next process replaces it."""
        if self._listening is not None:
            self._listening.close()
        await self._owner.cancel()

    def _bind(self, *, tells: bool = True) -> bool:
        reason = ""
        for folder in self._folders:
            try:
                self._listening = bound(folder)
            except Taken as taken:
                if tells:
                    reason = f"another Ringback answers at {taken}: give each its own State_Directory"
                    log.error("console_unavailable", reason=reason)
                return False
            except OSError as error:
                reason = reason or f"{folder}: {error.strerror}"
                continue
            return True
        if tells:
            log.info("console_unavailable", reason=reason)
        return False

    async def _try_again(self) -> None:
        while not self._bind(tells=False):  # noqa: ASYNC110 — another process frees the place without a signal
            await asyncio.sleep(_AGAIN_SECONDS)
        spawn(self._accept(), name="console", owner=self._owner)

    async def _accept(self) -> None:
        loop, listening = asyncio.get_running_loop(), self._listening
        while listening is not None:
            try:
                connection, _ = await loop.sock_accept(listening)
            except OSError as error:  # no descriptor is left
                log.error("console_unavailable", reason=str(error))
                await asyncio.sleep(_AGAIN_SECONDS)
                continue
            if self._connections >= MOST_CONNECTIONS:
                connection.close()
                continue
            spawn(self._serve(connection), name="console's client", owner=self._owner)

    async def _serve(self, connection: socket.socket) -> None:
        self._connections += 1
        try:
            peer = Peer.of(connection)
            person = self._doorman.person(peer)
            reader, writer = await asyncio.open_unix_connection(sock=connection, limit=LONGEST_LINE)
        except OSError:
            connection.close()
            self._connections -= 1
            return
        try:
            with suppress(OSError, ValueError):  # it has left, or sends a line without an end
                if person is None:
                    log.warning("console_refused", user=printable(peer.name), pid=peer.pid)
                    writer.write(b"! You may not use this console: ask for membership in the group of the service.\n")
                else:
                    writer.write(f"# Ringback {VERSION}\n".encode())
                    await Conversation(self._commands, person, reader, writer).run()
        finally:
            self._connections -= 1
            writer.close()


class Conversation:
    """One connection."""

    def __init__(
        self, commands: Commands, person: Person, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        """Talk to a person."""
        self._carrying, self._reader, self._writer = Carrying(commands, person), reader, writer

    async def run(self) -> None:
        """Answer until the client leaves."""
        while True:
            async with asyncio.timeout(IDLE_SECONDS):
                line = await self._reader.readline()
            if not line.endswith(b"\n"):
                return
            text = line.decode("utf-8", "backslashreplace").strip()
            if text in {"quit", "exit"}:
                return
            if text.startswith("{"):
                await self._answer_json(text)
            elif text:
                await self._answer_text(text)

    async def _answer_text(self, line: str) -> None:
        form, command = form_of(line)
        try:
            async with aclosing(self._answers(command, {}, "")) as answers:
                async for result in answers:
                    lines = result.lines if form is None else [form(command, result.value)]
                    await self._send("".join(f"{'.' if each[:1] == '.' else ''}{each}\n" for each in lines))
        except Refused as refused:
            failed = {"ok": False, "error": str(refused)}
            await self._send(f"{shown(str(refused)) if form is None else form(command, failed)}\n")
        await self._send(".\n")

    async def _answer_json(self, line: str) -> None:
        last: dict[str, Any] = {"ok": True}
        try:
            asked = _asked(line)
            texts = {str(name): _encodable(str(text)) for name, text in asked.get("texts", {}).items()}
            line, reason = _encodable(str(asked.get("command", ""))), printable(str(asked.get("reason", "")))
            async with aclosing(self._answers(line, texts, reason)) as answers:
                async for result in answers:
                    row = {"value": result.value} if asked.get("json") else {"lines": result.lines}
                    await self._send(f"{json.dumps(row)}\n")
                    if result.replaced:
                        last["replaced"] = True
        except Refused as refused:
            last = {"ok": False, "error": str(refused)}
        await self._send(f"{json.dumps(last)}\n")

    async def _send(self, text: str) -> None:
        if self._writer.is_closing():
            raise ConnectionResetError
        self._writer.write(text.encode("ascii", "backslashreplace"))
        async with asyncio.timeout(READER_SECONDS):
            await self._writer.drain()

    async def _answers(self, line: str, texts: dict[str, str], reason: str) -> AsyncGenerator[Result, None]:
        """Carry a command out, and tell the log if it changes something or was refused."""
        found = self._carrying.found(line, reason)
        call = Call(found.arguments, self._carrying.person, texts=texts)
        if found.command.follow is None:
            yield await self._carrying.once(found, call, reason)
            return
        async for result in self._followed(found.command, call):
            yield result

    async def _followed(self, command: Command, call: Call) -> AsyncGenerator[Result, None]:
        """Yield a stream's answers until its client sends anything, or leaves."""
        assert command.follow is not None  # noqa: S101 — a programmer's mistake
        owner = TaskOwner("console's stream")
        stopped = spawn(self._heard(), name="end of a stream", owner=owner)
        answers = command.follow(call)
        try:
            while (result := await _first(_next(answers, command), stopped, owner)) is not None:
                if isinstance(result, Refused):
                    raise result
                yield result
        finally:
            await owner.cancel()
            await answers.aclose()

    async def _heard(self) -> bytes:
        """Return the next line; empty if the client has left."""
        with suppress(OSError, ValueError):
            return await self._reader.readline()
        return b""


def _asked(line: str) -> dict[str, Any]:
    try:
        found = json.loads(line)
    except (ValueError, RecursionError) as error:
        raise Refused(f"the question is not JSON: {error}") from None
    if not isinstance(found, dict):
        raise Refused("the question is no JSON object")
    if not isinstance(found.get("texts", {}), dict):
        raise Refused("texts is no JSON object: write names and their texts")
    return found


def _encodable(text: str) -> str:
    """Return a text without lone surrogates, which JSON may have: what cannot be sent on is escaped, as in a line."""
    return text.encode("utf-8", "backslashreplace").decode("utf-8")


async def _first(
    answer: Coroutine[Any, Any, Result | Refused | None], stopped: asyncio.Task[bytes], owner: TaskOwner
) -> Result | Refused | None:
    """Return the next answer of a stream; None if it has ended, or the client wants no more."""
    coming = spawn(answer, name="next of a stream", owner=owner)
    await asyncio.wait((coming, stopped), return_when=asyncio.FIRST_COMPLETED)
    return coming.result() if coming.done() and not stopped.done() else None


async def _next(answers: AsyncGenerator[Result, None], command: Command) -> Result | Refused | None:
    """Return the next answer or refusal. It is not raised: the log would have the task's failure as our own."""
    try:
        return await anext(answers, None)
    except Refused as refused:
        return refused
    except Exception as error:  # noqa: BLE001 - a command never costs its connection
        return failed(command, error)
