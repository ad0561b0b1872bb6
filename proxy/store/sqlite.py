"""The store of one machine: an SQLite file that its workers share and that survives a restart.

Every change is one statement, so it is atomic for all processes. Reads use a separate connection: with a write-ahead
log, writers never block readers. `sqlite_file` opens the file.
"""

from __future__ import annotations

import asyncio
import secrets
import sqlite3
import time
from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TypeVar

from proxy.base.tasks import TaskOwner, spawn
from proxy.options.throttle import Throttle
from proxy.store.base import MOST_SCANNED, Stored, StoreUnavailable, Taking, Untouched, decoded, encoded
from proxy.store.batches import Batches
from proxy.store.clocks import AHEAD_SECONDS, steady
from proxy.store.sqlite_file import open_for_reading, open_for_writing
from proxy.store.sqlite_thread import Change, Parameters, Row, SqliteThread

SECONDS = 2.0
"""Time limit of one operation, including the wait for other writers (`sqlite_file.BUSY_SECONDS`)."""

MOST_ENTRIES = 1_000_000
"""Most entries in the file; beyond that, the next sweep removes those that expire soonest."""

SWEEP_SECONDS = 60.0
"""How often expired rows are removed: they may hold addresses, which are personal data."""

MOST_SWEPT = 2000
"""Rows that one statement of the sweep removes, so that others can write in between."""

LOOK_SECONDS = 20.0
"""How often to see whether another process has written to the file."""

SEEN_SECONDS = 60.0
"""How long the last look counts. An operator's purge is heeded after this time at most."""

_CLOSE_SECONDS = 2.0

T = TypeVar("T")

_PUT = "INSERT OR REPLACE INTO entries (key, value, expires) VALUES (?, ?, ?)"
_TAKE = """
INSERT INTO buckets (key, tokens, at, expires, allowed) VALUES (?1, ?2 - ?3, ?4, ?4 + ?5, 1)
ON CONFLICT (key) DO UPDATE SET
  (tokens, allowed) = (
    SELECT filled - iif(filled >= ?3, ?3, 0), filled >= ?3
    FROM (SELECT min(?2, buckets.tokens + max(0.0, ?4 - buckets.at) * ?2 / ?5) AS filled)
  ),
  at = ?4, expires = ?4 + ?5
RETURNING allowed
"""
_ACQUIRE = """
INSERT INTO locks (key, token, expires) VALUES (:key, :token, :now + :seconds)
ON CONFLICT (key) DO UPDATE SET token = excluded.token, expires = excluded.expires
  WHERE locks.expires <= :now OR locks.expires > :now + :seconds + :ahead
RETURNING token
"""
_BEGINS = "key >= :first AND (:after IS NULL OR key < :after) AND expires > :now"
_SWEEP = "DELETE FROM {table} WHERE key IN (SELECT key FROM {table} WHERE expires <= ? LIMIT ?) RETURNING 1"
_TRIM = (
    "DELETE FROM entries WHERE key IN (SELECT key FROM entries ORDER BY expires"
    " LIMIT min(?, max(0, (SELECT count(*) FROM entries) - ?))) RETURNING 1"
)

_BROKEN_FILE = frozenset({sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB, sqlite3.SQLITE_IOERR, sqlite3.SQLITE_READONLY})
"""After these errors, the connection is closed and the file opened again: it may have been replaced."""


@dataclass(frozen=True, slots=True, eq=False)
class _Connections:
    reader: SqliteThread
    writer: SqliteThread

    def let_go(self) -> None:
        self.reader.let_go()
        self.writer.let_go()


class SqliteStore:
    """Entries, buckets and locks in a file. It is opened at the first use, in the event loop that uses it."""

    def __init__(self, path: Path, clock: Callable[[], float] = time.time, *, most: int = MOST_ENTRIES) -> None:
        """`clock` gives the time of day; `most` bounds the entries."""
        self._path, self._clock, self._most = path, clock, most
        self._owner = TaskOwner("sqlite")
        self._connected: _Connections | None = None
        self._opening: asyncio.Task[_Connections | StoreUnavailable] | None = None
        self._keeping: list[asyncio.Task[None]] = []
        """The tasks that sweep and look now and then."""
        self._first = True
        self.untouched = Untouched()
        self._steady = steady(clock)
        self._seen: tuple[_Connections, int] | None = None
        """The connection and the version of its data at the last look."""
        self._reads = Batches(self._read, name="sqlite reads", seconds=SECONDS)
        self._changes: Batches[Sequence[Change], list[list[Row]]] = Batches(
            self._change_all, name="sqlite changes", seconds=SECONDS
        )

    # ------------------------------------------------------------ entries

    async def get(self, key: str) -> Stored | None:
        """Return an entry that has not expired."""
        return (await self.get_all((key,)))[0]

    async def get_all(self, keys: Sequence[str]) -> list[Stored | None]:
        """Return several entries."""
        found, now = await self._reads.ask([encoded(key) for key in keys]), self._clock()
        return [stored if stored is not None and stored.expires_at > now else None for stored in found]

    async def put(self, key: str, value: bytes, lives: float) -> None:
        """Store an entry for `lives` seconds; return when its batch is written."""
        await self._change(_PUT, (encoded(key), value, self._clock() + lives))

    async def delete(self, key: str) -> None:
        """Remove an entry."""
        await self._change("DELETE FROM entries WHERE key = ?", (encoded(key),))

    async def purge(self, prefix: str = "") -> int:
        """Remove entries whose keys begin so, also from the write-ahead log: `secure_delete` overwrites them."""
        removed = 0
        condition = (
            f"DELETE FROM entries WHERE key IN (SELECT key FROM entries WHERE {_BEGINS} LIMIT :most) RETURNING 1"  # noqa: S608 - our own words
        )
        while rows := await self._change(condition, {**self._range(prefix), "most": MOST_SWEPT}):
            removed += len(rows)
        await self._alone("PRAGMA wal_checkpoint(TRUNCATE)")
        return removed

    async def count(self, prefix: str = "") -> int:
        """Return how many entries have keys that begin with `prefix`."""
        rows = await self._ask(f"SELECT count(*) FROM entries WHERE {_BEGINS}", self._range(prefix))  # noqa: S608 - our own words
        return int(rows[0][0])

    async def scan(self, prefix: str = "", most: int = MOST_SCANNED) -> list[tuple[str, Stored]]:
        """Return entries whose keys begin with `prefix`, ordered by key."""
        statement = f"SELECT key, value, expires FROM entries WHERE {_BEGINS} ORDER BY key LIMIT :most"  # noqa: S608 - our own words
        rows = await self._ask(statement, {**self._range(prefix), "most": most})
        return [(decoded(key), Stored(value, expires)) for key, value, expires in rows]

    def _range(self, prefix: str) -> dict[str, object]:
        first = encoded(prefix)
        return {"first": first, "after": _after(first), "now": self._clock()}

    # ------------------------------------------------------------ buckets and locks

    async def take(self, key: str, throttle: Throttle, tokens: int = 1) -> bool:
        """Take tokens from a bucket shared by all processes of the machine."""
        return (await self.take_each(((key, throttle, tokens),)))[0]

    async def take_each(self, takings: Sequence[Taking]) -> list[bool]:
        """Take tokens from several buckets."""
        now = self._clock()
        changes = [_taking(each, now) for each in takings if 0 < each[1].count >= each[2]]
        rows = iter(await self._changes.ask(changes) if changes else ())
        return [bool(next(rows)[0][0]) if 0 < each[1].count >= each[2] else not each[1].count for each in takings]

    async def acquire(self, key: str, seconds: float) -> str | None:
        """Lock a key for all processes of the machine; locks from before the clock was set back are ignored."""
        token = secrets.token_hex(8)
        rows = await self._change(
            _ACQUIRE, {"key": encoded(key), "token": token, "now": self._clock(), "seconds": seconds,
             "ahead": AHEAD_SECONDS},
        )  # fmt: skip
        return token if rows else None

    async def release(self, key: str, token: str) -> bool:
        """Unlock a key."""
        statement = "DELETE FROM locks WHERE key = ? AND token = ? AND expires > ? RETURNING 1"
        return bool(await self._change(statement, (encoded(key), token, self._clock())))

    # ------------------------------------------------------------ the file

    async def sweep(self) -> None:
        """Remove expired rows, and entries beyond the limit, a few at a time."""
        for table in ("entries", "buckets", "locks"):
            statement = _SWEEP.format(table=table)
            while len(await self._change(statement, (self._clock(), MOST_SWEPT))) == MOST_SWEPT:
                pass
        while len(await self._change(_TRIM, (MOST_SWEPT, self._most))) == MOST_SWEPT:
            pass

    async def look(self) -> None:
        """Tell whether another process has, or may have, written to the file since the last check."""
        before = self._steady()
        self._note(await self._using(_version), before)

    def _note(self, seen: tuple[_Connections, int], before: float) -> None:
        """Note what a look that began `before` has seen."""
        if seen != self._seen:
            self._seen, self.untouched.since = seen, self._steady()
        self.untouched.until = before + SEEN_SECONDS

    async def close(self) -> None:
        """Close the file, without waiting for a disk that hangs."""
        await self._reads.close()
        await self._changes.close()
        await self._owner.cancel()
        connected, self._connected = self._connected, None
        if connected is not None:
            await connected.reader.close(_CLOSE_SECONDS)
            await connected.writer.close(_CLOSE_SECONDS)

    async def _read(self, reads: list[list[bytes]]) -> list[list[Stored | None]]:
        """Answer a batch of reads."""
        keys = [key for read in reads for key in read]
        few = 1 << (len(keys) - 1).bit_length()  # so that there are few different statements: each is prepared once
        marks = ",".join("?" * few)
        statement = f"SELECT key, value, expires FROM entries WHERE key IN ({marks})"  # noqa: S608 - question marks
        rows = await self._ask(statement, [*keys, *[None] * (few - len(keys))])
        found = {key: Stored(value, expires) for key, value, expires in rows}
        return [[found.get(key) for key in read] for read in reads]

    async def _change_all(self, requests: list[Sequence[Change]]) -> list[list[list[Row]] | StoreUnavailable]:
        """Make a batch of changes, with one trip to the thread and one transaction."""
        changes = [change for request in requests for change in request]
        if len(changes) == 1:
            return [[await self._alone(*changes[0])]]
        done = iter(await self._using(lambda connected: _sound(connected.writer.changes(changes))))
        return [_all_of([next(done) for _ in request]) for request in requests]

    async def _change(self, statement: str, parameters: Parameters = ()) -> list[Row]:
        return (await self._changes.ask(((statement, parameters),)))[0]

    async def _alone(self, statement: str, parameters: Parameters = ()) -> list[Row]:
        return await self._using(lambda connected: connected.writer.rows(statement, parameters))

    async def _ask(self, statement: str, parameters: Parameters = ()) -> list[Row]:
        return await self._using(lambda connected: connected.reader.rows(statement, parameters))

    async def _using(self, work: Callable[[_Connections], Awaitable[T]]) -> T:
        used: _Connections | None = None
        try:
            async with asyncio.timeout(SECONDS):
                used = await self._connections()
                return await work(used)
        except TimeoutError:
            raise StoreUnavailable(f"no answer within {SECONDS:g} s") from None
        except (sqlite3.Error, RuntimeError) as error:  # RuntimeError: closed meanwhile
            if _is_broken_file(error):
                self._give_up(used)
            raise StoreUnavailable(str(error)) from error

    async def _connections(self) -> _Connections:
        """Open the file if necessary. A caller that times out leaves, and the file is opened anyway."""
        if self._connected is not None:
            return self._connected
        if self._opening is None:
            self._opening = spawn(self._open(), name="sqlite opening", owner=self._owner)
        opened = await asyncio.shield(self._opening)
        if isinstance(opened, StoreUnavailable):
            raise StoreUnavailable(opened.reason)
        return opened

    async def _open(self) -> _Connections | StoreUnavailable:
        """Open both connections. A failure is returned, so that all waiting callers get it."""
        made = _Connections(SqliteThread(), SqliteThread())
        try:
            await made.writer.open(partial(open_for_writing, self._path, first=self._first))
            await made.reader.open(partial(open_for_reading, self._path))
            self._note(await _version(made), self._steady())
        except (sqlite3.Error, OSError) as error:
            made.let_go()
            return StoreUnavailable(str(error))
        except BaseException:
            made.let_go()
            raise
        finally:
            self._opening = None
        self._first = False
        self._connected = made
        if not self._keeping:
            self._keeping = [
                spawn(self._now_and_then(self.sweep, SWEEP_SECONDS), name="sqlite sweep", owner=self._owner),
                spawn(self._now_and_then(self.look, LOOK_SECONDS), name="sqlite look", owner=self._owner),
            ]
        return self._connected

    def _give_up(self, broken: _Connections | None) -> None:
        """Close a broken connection; the next operation opens the file again."""
        if broken is not None and broken is self._connected:
            self._connected = None
            broken.let_go()

    async def _now_and_then(self, work: Callable[[], Awaitable[None]], seconds: float) -> None:
        while True:
            await asyncio.sleep(seconds)
            with suppress(StoreUnavailable):  # users of the store notice it too, and log it
                await work()


async def _version(connected: _Connections) -> tuple[_Connections, int]:
    """Return the version of the data, which only the writing of others changes (www.sqlite.org/pragma.html)."""
    rows = await connected.writer.rows("PRAGMA data_version", ())
    return connected, int(rows[0][0])


def _taking(taking: Taking, now: float) -> Change:
    """Return the change that takes tokens from a bucket."""
    key, throttle, tokens = taking
    count, seconds = float(throttle.count), float(throttle.seconds)
    return _TAKE, (encoded(f"{throttle}:{key}"), count, tokens, now, seconds)


def _all_of(done: list[list[Row] | sqlite3.Error]) -> list[list[Row]] | StoreUnavailable:
    """Return the rows of all changes of a request, or the first failure."""
    rows = []
    for each in done:
        if isinstance(each, sqlite3.Error):
            return StoreUnavailable(str(each))
        rows.append(each)
    return rows


async def _sound(changes: Awaitable[list[list[Row] | sqlite3.Error]]) -> list[list[Row] | sqlite3.Error]:
    """Raise a change's failure if it concerns the file, and so all changes."""
    done = await changes
    for each in done:
        if isinstance(each, sqlite3.Error) and _is_broken_file(each):
            raise each
    return done


def _is_broken_file(error: Exception) -> bool:
    return getattr(error, "sqlite_errorcode", 0) & 0xFF in _BROKEN_FILE


def _after(first: bytes) -> bytes | None:
    """Return the smallest key after all keys that begin with `first`; None if there is no such key."""
    kept = first.rstrip(b"\xff")
    return kept[:-1] + bytes((kept[-1] + 1,)) if kept else None
