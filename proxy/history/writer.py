"""The thread that writes the files: one transaction per batch, and an occasional clean-up.

Nothing here can affect mail. If the disk is full or hangs, batches are dropped and counted, and the next row that can
be written records the gap. A broken file is renamed, and the rest of the day goes to a new one.
"""

from __future__ import annotations

import sqlite3
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import date
from queue import Empty, SimpleQueue
from typing import Any

import msgspec

from proxy.base.log import get_logger
from proxy.history import files
from proxy.history.addresses import Addresses
from proxy.history.files import DayFile, OpenFile, OtherFile
from proxy.history.gaps import ACCEPTED, REFUSALS, Gap, kind_of
from proxy.history.rows import Rows
from proxy.history.settings import HistorySettings

log = get_logger()

GATHER_SECONDS = 0.2
"""How long lines are gathered for a transaction: each one costs a write of the file's pages."""

MOST_LINES = 4000
"""Lines in one transaction."""

PAUSE_SECONDS = 5.0
"""After a failure, before the file is tried again."""

CLEAN_SECONDS = 60.0
"""How often old files are looked for."""

CLOSE_SECONDS = 5.0

MARGIN = 1.1
"""A full day's file still gets refusals up to this share of History_Size, so that they are the last to go."""

MOST_PARTS = 99

_BROKEN = frozenset({sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB})


@dataclass(frozen=True, slots=True)
class Batch:
    """Lines that a process sent together. A number is never used twice by a source, and grows."""

    source: int
    number: int
    lines: Sequence[bytes]
    written: Callable[[int], None]
    """Called in the writer's thread when the batch needs to be kept no longer."""


class Writer:
    """Writes batches in a separate thread."""

    def __init__(self, settings: HistorySettings, clock: Callable[[], float] = time.time) -> None:
        """`clock` gives the time of day. Nothing is opened before the first batch or the first clean-up."""
        self._settings, self._clock = settings, clock
        self._queue: SimpleQueue[Batch | None] = SimpleQueue()
        self._addresses: Addresses | None = None
        self._file: DayFile | None = None
        self._open: OpenFile | None = None
        self._rows: Rows | None = None
        self._numbers: dict[int, int] = {}
        """Source → its last batch that is in a file."""
        self._knows_numbers = False
        self._gap = Gap("the history could not be written")
        self._shed = Gap("History_Size is reached")
        self._failing = False
        self._resumes = 0.0
        self._next_cleaning = 0.0
        self._other_octets = 0
        self._thread = threading.Thread(target=self._run, name="history", daemon=True)
        self._thread.start()

    def put(self, batch: Batch) -> None:
        """Queue a batch, from any thread."""
        self._queue.put(batch)

    @property
    def waiting(self) -> int:
        """Batches that wait."""
        return self._queue.qsize()

    def close(self, seconds: float = CLOSE_SECONDS) -> None:
        """Write what waits, and close; a disk that hangs is left alone after a while."""
        self._queue.put(None)
        self._thread.join(seconds)

    # ------------------------------------------------------------ the thread

    def _run(self) -> None:
        goes_on = True
        while goes_on:
            batches, goes_on = self._gathered()
            try:
                if batches:
                    self._take(batches)
                self._clean()
            except Exception as error:  # noqa: BLE001 — a fault here must not end the history
                self._failed(str(error), error)
        if self._open is not None:
            self._open.finish()
            self._open.close()

    def _gathered(self) -> tuple[list[Batch], bool]:
        """Wait for batches, and then a little for more; return them, and whether the writer continues."""
        batches: list[Batch] = []
        lines, until = 0, None
        while lines < MOST_LINES:
            wait = CLEAN_SECONDS if until is None else until - time.monotonic()
            try:
                batch = self._queue.get(timeout=max(wait, 0.0))
            except Empty:
                break
            if batch is None:
                return batches, False
            until = until or time.monotonic() + GATHER_SECONDS
            batches.append(batch)
            lines += len(batch.lines)
        return batches, True

    def _take(self, batches: Sequence[Batch]) -> None:
        try:
            self._write(batches)
        except (sqlite3.Error, OSError, OtherFile, OverflowError, UnicodeError) as error:
            self._let_go()
            if not (_is_broken(error) and self._begun_anew(batches, str(error))):
                self._failed(str(error))
                self._lose(batches)
        for batch in batches:
            batch.written(batch.number)

    def _begun_anew(self, batches: Sequence[Batch], reason: str) -> bool:
        """Set a broken file aside, and write into a new one; return whether that worked."""
        try:
            if self._file is not None:
                files.put_aside(self._file, reason)
            self._write(batches)
        except (sqlite3.Error, OSError, OtherFile):
            self._let_go()
            return False
        return True

    def _write(self, batches: Sequence[Batch]) -> None:
        """Write batches that are not in a file yet."""
        rows = self._opened()
        numbers: dict[int, int] = {}
        most_kind = self._fullness()
        for batch in batches:
            last = numbers.get(batch.source, self._numbers.get(batch.source, -1))
            if batch.number <= last:  # it was sent again, because the control process died before it confirmed it
                continue
            numbers[batch.source] = batch.number
            for line in batch.lines:
                if most_kind >= 0 and kind_of(line) <= most_kind:
                    self._shed.add(kind_of(line), self._clock())
                else:
                    _add(rows, line)
        told = [gap for gap in (self._gap, self._shed) if gap.is_due(self._clock())]
        for gap in told:
            rows.add(gap.event())
        rows.write(numbers)
        self._numbers.update(numbers)
        for gap in told:
            _log_gap(gap.event())
            gap.clear()
        self._worked()

    def _opened(self) -> Rows:
        """Return the rows of today's file; open it if it is another day, or not open yet.

        Raises:
            sqlite3.Error, OSError, OtherFile: it cannot be used.
        """
        today = files.day_of(self._clock())
        if self._rows is not None and self._file is not None and self._file.day == today:
            return self._rows
        if time.monotonic() < self._resumes:
            raise OSError("it is tried again in a moment")
        if self._open is not None:
            self._open.finish()
        self._let_go()
        if self._addresses is None:
            self._addresses = self._settings.addresses(create=True)
        self._learn_numbers()
        self._open = self._open_part(today, self._addresses)
        self._rows = Rows(self._open.connection, self._addresses)
        return self._rows

    def _open_part(self, today: date, addresses: Addresses) -> OpenFile:
        for part in range(1, MOST_PARTS):
            self._file = files.file_of(self._settings.folder, today, part)
            with suppress(OtherFile):
                return OpenFile(self._file, mark=addresses.mark)
        raise OtherFile

    def _learn_numbers(self) -> None:
        """Read which batches the latest files have: a process may send them again, also after midnight."""
        if self._knows_numbers:
            return
        for each in files.files_in(self._settings.folder)[-3:]:
            with suppress(sqlite3.Error, OtherFile):
                connection = files.open_for_reading(each.path)
                for source, number in connection.execute("SELECT source, number FROM sources"):
                    self._numbers[source] = max(number, self._numbers.get(source, -1))
                connection.close()
        self._knows_numbers = True

    def _fullness(self) -> int:
        """Return the last kind of lines that no longer fits; -1 if all do."""
        most = self._settings.most_octets
        if not most or self._file is None:
            return -1
        octets = self._file.octets + self._other_octets
        if octets > most * MARGIN:
            return REFUSALS
        return ACCEPTED if octets > most else -1

    # ------------------------------------------------------------ failures

    def _let_go(self) -> None:
        opened, self._open, self._rows = self._open, None, None
        if opened is not None:
            opened.close()

    def _failed(self, reason: str, error: Exception | None = None) -> None:
        if time.monotonic() >= self._resumes:
            self._resumes = time.monotonic() + PAUSE_SECONDS
        if not self._failing:
            self._failing = True
            log.warning("history_unavailable", folder=str(self._settings.folder), reason=reason, exc_info=error)

    def _worked(self) -> None:
        if self._failing:
            self._failing = False
            log.warning("history_recovered", folder=str(self._settings.folder))

    def _lose(self, batches: Sequence[Batch]) -> None:
        for batch in batches:
            for line in batch.lines:
                self._gap.add(kind_of(line), self._clock())

    # ------------------------------------------------------------ old files

    def _clean(self) -> None:
        """Remove files by age, and the oldest ones beyond the size."""
        if time.monotonic() < self._next_cleaning:
            return
        self._next_cleaning = time.monotonic() + CLEAN_SECONDS
        settings, now = self._settings, self._clock()
        try:
            files.clean(settings.folder, settings.retention, now)
            others = [each for each in files.files_in(settings.folder) if each != self._file]
            own = self._file.octets if self._file is not None else 0
            total = own + sum(each.octets for each in others)
            while settings.most_octets and total > settings.most_octets and others:
                total -= others[0].octets
                others.pop(0).remove()
            self._other_octets = total - own
        except OSError as error:
            self._failed(str(error))


def _add(rows: Rows, line: bytes) -> None:
    """Add a line's rows. A malformed line is a fault in Ringback, which must not cost the others."""
    try:
        gap = rows.take(line)
    except (msgspec.DecodeError, KeyError, TypeError, ValueError, AttributeError) as error:
        log.error("history_line_malformed", reason=repr(error)[:200])
        return
    if gap is not None:
        _log_gap(gap)


def _log_gap(event: Mapping[str, Any]) -> None:
    """Log what is missing. The field `worker` would be this process's own."""
    left_out = {"timestamp", "event", "worker"}
    log.warning("history_gap", **{name: value for name, value in event.items() if name not in left_out})


def _is_broken(error: Exception) -> bool:
    return getattr(error, "sqlite_errorcode", 0) & 0xFF in _BROKEN
