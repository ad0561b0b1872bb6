"""The outbox's SQLite file: its tables, and each change as one transaction. It blocks, so it runs in a thread.

A letter has one delivery per recipient. A delivery is held until the message that it goes with is accepted. Then it
waits until it is due, is leased by a worker, and is deleted when the next hop has accepted the letter. A lease ends
with its worker.
"""

from __future__ import annotations

import math
import sqlite3
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path

from proxy.mail.session import Letter
from proxy.outbox.presence import Presence
from proxy.outbox.tables import not_waiting, opened, rewrite

_AHEAD_SECONDS = 300.0
"""How far in the future a stored time may be before a wrong clock must have written it."""

_LONGEST_PAUSE = 7 * 86400.0
"""The longest wait until a letter's next try."""

_NAME = "outbox.db"


_PAGES_AT_ONCE = 4096
"""Free pages that one change gives back: 16 MiB."""


@dataclass(frozen=True, slots=True)
class Bounds:
    """Limits of the outbox; 0 means no limit."""

    octets: int = 0
    letters: int = 0


@dataclass(frozen=True, slots=True)
class Totals:
    """What the outbox holds."""

    letters: int = 0
    octets: int = 0
    oldest: float = field(default=0.0, compare=False)
    """When the oldest letter was made, in seconds since 1970; 0 without one."""

    def exceed(self, bounds: Bounds) -> bool:
        """Whether that exceeds the limits."""
        return 0 < bounds.letters < self.letters or 0 < bounds.octets < self.octets


def anywhere(_: bytes) -> bool:
    """Accept any recipient."""
    return True


class Full(Exception):
    """The letters do not fit; nothing was stored."""


@dataclass(frozen=True, slots=True)
class Delivery:
    """A letter for one recipient."""

    id: int
    letter: int
    sender: bytes
    recipient: bytes
    purpose: str
    origin: str
    """The transaction that created it."""
    created: float
    """Seconds since the epoch."""
    attempts: int
    """How many tries came before."""


class OutboxFile:
    """The open file, for use by one thread."""

    def __init__(self, folder: Path, presence: Presence) -> None:
        """Open the file, creating it if necessary. `presence` names the owner of its leases.

        Raises:
            sqlite3.Error: the file cannot be used, or is not ours.
            OSError: the folder cannot be used.
        """
        self._path, self._presence = folder / _NAME, presence
        self._connection = opened(self._path)
        self._inode = self._path.stat().st_ino
        self._latest = math.inf
        """The latest time of day seen here; infinite before the first check."""

    def close(self) -> None:
        self._connection.close()

    @contextmanager
    def _change(self) -> Iterator[sqlite3.Connection]:
        """One transaction, durable when it ends; other processes wait for it."""
        if self._path.stat().st_ino != self._inode:  # writes to a deleted file would be lost
            raise sqlite3.OperationalError("the file was replaced after it was opened")
        self._connection.execute("BEGIN IMMEDIATE")
        try:
            yield self._connection
        except BaseException:
            with suppress(sqlite3.Error):
                self._connection.execute("ROLLBACK")
            raise
        self._connection.execute("COMMIT")

    # ------------------------------------------------------------ for sessions

    def add(
        self,
        letters: Sequence[Letter],
        origin: str,
        now: float,
        *,
        held: str = "",
        until: float = 0.0,
        bounds: Bounds = Bounds(),
    ) -> int:
        """Store letters; return how many deliveries that makes. Those `held` are dropped at `until`.

        Raises:
            Full: the outbox would exceed its limits.
        """
        self._latest = max(self._latest, now)
        with self._change() as connection:
            count = _insert(connection, letters, origin, now, held=held, due=until if held else now)
            if self.totals().exceed(bounds):
                raise Full
            return count

    def totals(self) -> Totals:
        """Return what is stored, including letters held until their message is accepted."""
        letters, octets = self._connection.execute("SELECT letters, octets FROM totals").fetchone()
        (oldest,) = self._connection.execute("SELECT created FROM letters ORDER BY id LIMIT 1").fetchone() or (0.0,)
        return Totals(letters, octets, oldest)

    def release(self, held: str, count: int, letters: Sequence[Letter], now: float) -> None:
        """Make the deliveries held under a name due, which must be `count` of them, and add letters.

        Raises:
            sqlite3.Error: nothing has changed.
        """
        with self._change() as connection:
            changed = connection.execute("UPDATE deliveries SET held = '', due = ? WHERE held = ?", (now, held))
            if changed.rowcount != count:
                raise sqlite3.IntegrityError("the held letters are gone")
            _insert(connection, letters, held, now, held="", due=now)

    def drop(self, held: str) -> None:
        """Delete what is held under a name."""
        with self._change() as connection:
            dropped = connection.execute("DELETE FROM deliveries WHERE held = ? RETURNING letter", (held,)).fetchall()
            _delete_letters(connection, dropped)
        self._shrink()

    # ------------------------------------------------------------ for the deliverer

    def claim(
        self, now: float, seconds: float, most: int, has_place: Callable[[bytes], bool] = anywhere
    ) -> list[Delivery]:
        """Lease deliveries that are due, and whose recipients' routes have a place, for `seconds`."""
        with self._change() as connection:
            self._end_leases(connection)
            if now < self._latest:  # at the first check, and whenever the clock was set back
                _forget_the_future(connection, now, seconds)
            self._latest = now
            stale = "DELETE FROM deliveries WHERE held <> '' AND due <= ? RETURNING letter"
            forgotten = connection.execute(stale, (now,)).fetchall()
            _delete_letters(connection, forgotten)
            due = connection.execute(
                "SELECT id, recipient FROM deliveries WHERE held = '' AND due <= ? "
                "AND (worker = '' OR leased_until <= ?) ORDER BY due",
                (now, now),
            )
            chosen = list(islice((number for number, recipient in due if has_place(recipient)), most))
            due.close()
            connection.executemany(
                "UPDATE deliveries SET worker = ?, leased_until = ? WHERE id = ?",
                [(self._presence.name, now + seconds, number) for number in chosen],
            )
            claimed = [_leased(connection, number) for number in chosen]
        if forgotten:
            self._shrink()
        return claimed

    def _end_leases(self, connection: sqlite3.Connection) -> None:
        """Free the leases of workers that have ended."""
        for (worker,) in connection.execute("SELECT DISTINCT worker FROM deliveries WHERE worker <> ''").fetchall():
            if self._presence.is_gone(worker):
                connection.execute("UPDATE deliveries SET worker = '', leased_until = 0 WHERE worker = ?", (worker,))

    def content(self, letter: int) -> bytes:
        found = self._connection.execute("SELECT content FROM letters WHERE id = ?", (letter,)).fetchone()
        if found is None:
            raise sqlite3.IntegrityError("the letter is gone")
        return bytes(found[0])

    def next_due(self, after: float) -> float | None:
        """Return when the next delivery after a time is due, in seconds since the epoch; None if there is no other."""
        due = self._connection.execute(
            "SELECT min(at) FROM (SELECT CASE WHEN worker = '' THEN due ELSE max(due, leased_until) END AS at "
            "FROM deliveries) WHERE at > ?",
            (after,),
        ).fetchone()[0]
        return None if due is None else float(due)

    def listed(self, most: int, letter: int = 0) -> list[tuple[Delivery, float, bool]]:
        """Return deliveries, of one letter or of all, each with when it is due and whether it is under way."""
        rows = self._connection.execute(
            "SELECT deliveries.id, letter, sender, recipient, purpose, origin, created, attempts, due, worker <> '' "
            "FROM deliveries JOIN letters ON letters.id = letter WHERE held = '' AND (? = 0 OR letter = ?) "
            "ORDER BY due LIMIT ?",
            (letter, letter, most),
        ).fetchall()
        return [(Delivery(*row[:8]), row[8], bool(row[9])) for row in rows]

    def hasten(self, letters: Sequence[int], now: float) -> int:
        """Make the waiting deliveries of these letters due; return how many."""
        with self._change() as connection:
            return sum(
                connection.execute(
                    "UPDATE deliveries SET due = ? WHERE letter = ? AND held = '' AND worker = ''", (now, letter)
                ).rowcount
                for letter in letters
            )

    def take(self, letter: int, now: float, seconds: float) -> list[Delivery]:
        """Lease the waiting deliveries of a letter, whenever they are due."""
        with self._change() as connection:
            waiting = [each for each, _, is_taken in self.listed(1000, letter) if not is_taken]
            for each in waiting:
                connection.execute(
                    "UPDATE deliveries SET worker = ?, leased_until = ? WHERE id = ?",
                    (self._presence.name, now + seconds, each.id),
                )
        return waiting

    def postpone(self, delivery: int, due: float) -> None:
        """Give a lease back, for another try."""
        with self._change() as connection:
            connection.execute(
                "UPDATE deliveries SET worker = '', leased_until = 0, due = ?, attempts = attempts + 1 WHERE id = ?",
                (due, delivery),
            )

    def finish(self, delivery: int, report: Letter | None, origin: str, now: float) -> None:
        """Remove a delivery and store the report of its failure, if any, in one transaction."""
        with self._change() as connection:
            gone = connection.execute("DELETE FROM deliveries WHERE id = ? RETURNING letter", (delivery,)).fetchall()
            _delete_letters(connection, gone)
            _insert(connection, [report] if report else [], origin, now, held="", due=now)
        self._shrink()

    # ------------------------------------------------------------ the file's size

    def _shrink(self) -> None:
        """Give free pages back; an empty outbox is an empty file. What fails, as while others read, is done later."""
        with not_waiting(self._connection) as connection:
            is_empty = not self.totals().letters
            if is_empty:
                rewrite(connection)
            # A row without columns for each page: `execute` would take one of them.
            connection.executescript(f"PRAGMA incremental_vacuum({_PAGES_AT_ONCE})")
            if is_empty:
                connection.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchall()


def exists(folder: Path) -> bool:
    """Whether an outbox file exists there, as far as we have the permission to look."""
    try:
        return (folder / _NAME).exists()
    except OSError:
        return False


def _forget_the_future(connection: sqlite3.Connection, now: float, seconds: float) -> None:
    """Correct times written by a clock that was ahead; otherwise a letter would wait, or not age, until then.

    A lease is shortened but not ended: its worker may still be delivering.
    """
    ahead = now + _AHEAD_SECONDS
    connection.execute(
        "UPDATE deliveries SET due = ? WHERE held = '' AND"
        " (due > ? OR letter IN (SELECT id FROM letters WHERE created > ?))",
        (now, now + _LONGEST_PAUSE, ahead),
    )
    connection.execute("UPDATE letters SET created = ? WHERE created > ?", (now, ahead))
    connection.execute(
        "UPDATE deliveries SET leased_until = ? WHERE leased_until > ?", (now + seconds, ahead + seconds)
    )


def _insert(
    connection: sqlite3.Connection, letters: Iterable[Letter], origin: str, now: float, *, held: str, due: float
) -> int:
    count = 0
    for letter in letters:
        row = (letter.sender.raw, letter.content, letter.purpose, origin, now)
        made = connection.execute(
            "INSERT INTO letters (sender, content, purpose, origin, created) VALUES (?, ?, ?, ?, ?)", row
        )
        connection.executemany(
            "INSERT INTO deliveries (letter, recipient, held, due) VALUES (?, ?, ?, ?)",
            [(made.lastrowid, path.raw, held, due) for path in letter.recipients],
        )
        count += len(letter.recipients)
    return count


def _leased(connection: sqlite3.Connection, delivery: int) -> Delivery:
    row = connection.execute(
        "SELECT d.id, d.letter, l.sender, d.recipient, l.purpose, l.origin, l.created, d.attempts "
        "FROM deliveries d JOIN letters l ON l.id = d.letter WHERE d.id = ?",
        (delivery,),
    ).fetchone()
    return Delivery(*row)


def _delete_letters(connection: sqlite3.Connection, letters: Iterable[tuple[int]]) -> None:
    """Delete the letters that have no delivery left."""
    connection.executemany(
        "DELETE FROM letters WHERE id = ?1 AND NOT EXISTS (SELECT 1 FROM deliveries WHERE letter = ?1)", set(letters)
    )
