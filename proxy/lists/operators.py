"""`OperatorLists`: the control process's side of the operators' lists. It adds, removes, ends, and keeps a file.

The shared region is the truth, so that a control process that replaces another one goes on with the same entries. The
file in State_Directory is for a restart of the service.
"""

from __future__ import annotations

import asyncio
import os
import threading
import time
from collections.abc import Callable, Iterable
from pathlib import Path

import msgspec

from proxy.base.log import get_logger
from proxy.base.tasks import TaskOwner, spawn
from proxy.lists.entries import DECODE, ENCODE, MOST_ENTRIES, NEVER, Entry, network_of
from proxy.lists.networks import NotANetwork
from proxy.lists.region import Full, Region

log = get_logger()

LOOK_SECONDS = 1.0
"""How soon the log says that an entry has ended. The entry stops counting at once."""

_NAME = "lists.json"
_MOST_OCTETS = 8 << 20


class NoRoom(Exception):
    """There are too many entries."""


def stored(state_directory: Path) -> list[Entry]:
    """Return the entries of the file that have not ended; none if there is no usable file."""
    try:
        with (state_directory / _NAME).open("rb") as file:
            found = DECODE(file.read(_MOST_OCTETS))
        for each in found:
            network_of(each.network)
        return _holding(found, time.time())
    except FileNotFoundError:
        return []
    except (OSError, msgspec.DecodeError, NotANetwork) as error:
        log.error("lists_not_read", path=str(state_directory / _NAME), reason=str(error))
        return []


def _holding(entries: Iterable[Entry], now: float) -> list[Entry]:
    return [each for each in entries if each.until == NEVER or each.until > now]


class OperatorLists:
    """The control process owns it. Every change reads the region again; the console's thread and ours take turns."""

    def __init__(self, region: Region, state_directory: Path, clock: Callable[[], float] = time.time) -> None:
        """Publish what the file has, unless a process before us has published."""
        self._region, self._folder, self._clock = region, state_directory, clock
        self._taking_turns = threading.Lock()
        if not region.version:
            region.write(stored(state_directory))

    @property
    def entries(self) -> list[Entry]:
        """Those that hold now."""
        return _holding(self._region.entries.every, self._clock())

    def add(self, entry: Entry) -> str:
        """Add an entry, in the place of one for the same network; return why it will not outlive a restart, or "".

        Raises:
            NoRoom: there are too many.
        """
        with self._taking_turns:
            rest = [each for each in self.entries if (each.list, each.network) != (entry.list, entry.network)]
            if len(rest) >= MOST_ENTRIES:
                raise NoRoom
            kept = self._publish([*rest, entry])
        self._tell("added", entry, entry.user)
        return kept

    def remove(self, name: str, network: str, user: str) -> Entry | None:
        """Remove an entry; return it, or None if it was not there."""
        with self._taking_turns:
            entries = self.entries
            found = next((each for each in entries if (each.list, each.network) == (name, network)), None)
            if found is not None:
                self._publish([each for each in entries if each is not found])
        if found is not None:
            self._tell("removed", found, user)
        return found

    @property
    def entries_end(self) -> bool:
        """Whether an entry has ended that is still there."""
        now = self._clock()
        return any(each.until != NEVER and each.until <= now for each in self._region.entries.every)

    def end(self) -> None:
        """Remove what has ended."""
        with self._taking_turns:
            every = self._region.entries.every
            holding = _holding(every, self._clock())
            if len(holding) != len(every):
                self._publish(holding)
        for each in every:
            if each not in holding:
                self._tell("ended", each, each.user)

    def _publish(self, entries: list[Entry]) -> str:
        try:
            self._region.write(entries)
        except Full:
            raise NoRoom from None
        try:
            self._store(entries)
        except OSError as error:
            return f"{self._folder}: {error.strerror}"
        return ""

    def _store(self, entries: list[Entry]) -> None:
        new = self._folder / f".{_NAME}.{os.getpid()}"
        try:
            with new.open("wb") as file:
                file.write(ENCODE(entries))
                file.flush()
                os.fsync(file.fileno())
            new.chmod(0o600)
            new.rename(self._folder / _NAME)
        except OSError:
            new.unlink(missing_ok=True)
            raise

    def _tell(self, change: str, entry: Entry, user: str) -> None:
        seconds = 0 if entry.until == NEVER else round(entry.until - entry.added)
        log.info(
            "list_changed",
            list=entry.list,
            network=entry.network,
            change=change,
            seconds=seconds,
            reason=entry.reason,
            operator=user,
        )


class Ending:
    """A part of the control process: it removes entries when they end."""

    name = "lists"

    def __init__(self, lists: OperatorLists) -> None:
        """Wait for nothing yet."""
        self._lists = lists
        self._owner = TaskOwner("lists")

    async def start(self) -> None:
        """Look from now on."""
        spawn(self._watch(), name="ends of list entries", owner=self._owner)

    async def _watch(self) -> None:
        while True:
            if self._lists.entries_end:
                await asyncio.to_thread(self._lists.end)
            await asyncio.sleep(LOOK_SECONDS)

    async def stop(self) -> None:
        """Look no more."""
        await self._owner.cancel()
