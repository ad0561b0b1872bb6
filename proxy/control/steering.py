"""What the control process asks its supervisor to do: try settings, keep them for new processes, reload.

Each message is one packet of a pair of sockets that the supervisor makes. Its answers may come later, and carry the
number of the question.
"""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Sequence
from itertools import count
from typing import Any, TypeAlias

import msgspec

from config.overlay import Change
from proxy.base.log import get_logger

log = get_logger()

MOST_OCTETS = 96 * 1024
"""Octets of a message; the kernel takes about 200 KiB in one packet."""

TRY_SECONDS = 30.0
KEEP_SECONDS = 15.0
RELOAD_SECONDS = 55.0
"""A rehearsal has 15 s, and the new processes have 30 s to serve."""

Packed: TypeAlias = tuple[tuple[tuple[str, str], ...], str, str | None, str | None]


class Try(msgspec.Struct, array_like=True, tag=1, frozen=True):
    """Build everything that would serve with these settings, in a child."""

    number: int
    generation: int
    changes: tuple[Packed, ...]


class Keep(msgspec.Struct, array_like=True, tag=2, frozen=True):
    """Start processes with these settings from now on."""

    number: int
    generation: int
    changes: tuple[Packed, ...]
    serial: int = 0


class Reload(msgspec.Struct, array_like=True, tag=3, frozen=True):
    """Load the configuration's file again, as SIGHUP does."""

    number: int


class Done(msgspec.Struct, array_like=True, frozen=True):
    """The answer."""

    number: int
    error: str = ""
    """Why it was not done, as diagnostics show it."""
    told: str = ""
    """Warnings."""


Asked: TypeAlias = Try | Keep | Reload

encode = msgspec.msgpack.Encoder().encode
decode_asked = msgspec.msgpack.Decoder(Asked).decode
decode_done = msgspec.msgpack.Decoder(Done).decode


class Steering:
    """The control process's side. The event loop's thread owns it."""

    def __init__(self, outside: socket.socket) -> None:
        """Ask through one end of the pair."""
        self._outside = outside
        self._numbers = count(1)
        self._waiting: dict[int, asyncio.Future[Done]] = {}
        asyncio.get_running_loop().add_reader(outside.fileno(), self._hear)

    async def try_out(self, generation: int, changes: Sequence[Change]) -> Done:
        """Try settings as `check` would; the diagnostics are in the answer."""
        return await self._ask(Try(next(self._numbers), generation, packed(changes)), TRY_SECONDS)

    async def keep(self, generation: int, changes: Sequence[Change], serial: int) -> Done:
        """Have replacements of processes start with these settings."""
        return await self._ask(Keep(next(self._numbers), generation, packed(changes), serial), KEEP_SECONDS)

    async def reload(self) -> Done:
        """Load the file again. The answer comes when the new processes serve, or when it was rejected."""
        return await self._ask(Reload(next(self._numbers)), RELOAD_SECONDS)

    async def _ask(self, asked: Asked, seconds: float) -> Done:
        octets = encode(asked)
        if len(octets) > MOST_OCTETS:
            return Done(asked.number, f"the settings of the console have {len(octets)} octets together, and at most "
                        f"{MOST_OCTETS} are kept: write them into the file, and reload")  # fmt: skip
        answered = self._waiting[asked.number] = asyncio.get_running_loop().create_future()
        try:
            self._outside.send(octets)
            async with asyncio.timeout(seconds):
                done: Done = await answered
                return done
        except OSError as error:
            return Done(asked.number, f"the supervisor cannot be asked: {error.strerror or error}")
        finally:
            del self._waiting[asked.number]

    def _hear(self) -> None:
        try:
            octets = self._outside.recv(MOST_OCTETS * 2)
        except BlockingIOError:
            return
        except OSError:
            octets = b""
        if not octets:  # the supervisor has died
            asyncio.get_running_loop().remove_reader(self._outside.fileno())
            return
        done = decode_done(octets)
        waiting = self._waiting.get(done.number)
        if waiting is not None and not waiting.done():
            waiting.set_result(done)


def packed(changes: Sequence[Change]) -> tuple[Packed, ...]:
    """Return settings as plain data."""
    return tuple((each.place, each.option, each.value, each.text) for each in changes)


def unpacked(given: Sequence[Any]) -> tuple[Change, ...]:
    """Return the settings of plain data."""
    return tuple(
        Change(tuple((str(kind), str(name)) for kind, name in place), option, value, text)
        for place, option, value, text in given
    )
