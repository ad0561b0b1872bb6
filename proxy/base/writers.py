"""The writers of the log: a separate thread, or the thread that logs."""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from itertools import groupby
from queue import SimpleQueue
from typing import Any, TypeAlias, cast

from proxy.base.lines import Several
from proxy.base.log import get_logger
from proxy.base.sinks import Sink

MOST_WAITING = 10_000
"""Lines that may wait for the writer thread; further lines are dropped and counted."""

BATCH_SECONDS = 0.05
"""The thread writes at most once in this time: waking it for each line cost a tenth of the throughput."""

LAST_SECONDS = 2.0
"""Time to write the waiting lines at exit."""

DroppedLine: TypeAlias = Callable[[int], bytes]
"""Makes the last line of a log that has lost lines."""


Tap: TypeAlias = Callable[[Sequence[bytes]], None]
"""Sees lines, in the log's thread. It must not block."""

Take: TypeAlias = Callable[[bytes], None]
"""Takes canonical lines in the log's thread, one after another. It must not block."""

_log = get_logger()
"""This module's own log, for what its sink and its observer do."""


class LogWriter:
    """Takes lines and never fails or blocks: a thread writes them.

    If the disk is full, or the log's reader is gone or stuck, lines are dropped and counted, and mail goes on. At exit,
    waiting lines are written for up to LAST_SECONDS.

    The thread sleeps without a deadline only if there was nothing to write for BATCH_SECONDS. Only then does a line
    wake it, so a busy process logs without locks or system calls.
    """

    def __init__(self, sink: Sink, last_line: DroppedLine | None = None) -> None:
        """Write to `sink`; at the end, `last_line` says how many lines were dropped."""
        self._sink = sink
        self._last_line = last_line
        self._lines: deque[bytes | tuple[bytes] | Several] = deque()
        """Lines, those that the observer does not get as tuples of one."""
        self._told: deque[bytes | Several] = deque()
        """Lines that the levels leave out, for the observer."""
        self._folded = self._unfolded = 0
        """Lines that came as several, and how many of them went: each is written by one thread only."""
        self._sleeps = False
        self._closing = self._reopens = False
        self._wake: SimpleQueue[None] = SimpleQueue()
        self._observer: Take | None = None
        self.dropped = 0
        self.tap: Tap | None = None
        self._thread = threading.Thread(target=self._run, name="log", daemon=True)
        self._thread.start()

    def put(self, line: bytes | Several, *, written: bool = True, observed: bool = True) -> None:
        """Queue an ASCII line for the sink, the observer, or both; drop it if too many wait."""
        lines: deque[Any] = self._lines if written else self._told
        if len(lines) >= MOST_WAITING:
            self.dropped += 1
            return
        lines.append(line if observed else (line,))
        if self._sleeps:  # the thread sets this before it looks for lines a last time, so none is left behind
            self._sleeps = False
            self._wake.put(None)

    def put_several(self, several: Several, *, written: bool = True) -> None:
        """Queue several lines, which the thread renders; drop them if too many of the kind wait."""
        waiting = self._lines if written else self._told
        if not several.count:
            return  # the thread looks for several lines only if it expects some
        if len(waiting) >= MOST_WAITING or self._folded - self._unfolded >= MOST_WAITING:
            self.dropped += several.count
            return
        self._folded += several.count
        self.put(several, written=written)

    def write(self, text: str) -> int:
        """Queue a line as a stream does."""
        self.put(text.encode("ascii", "backslashreplace"))
        return len(text)

    def flush(self) -> None:
        """Do nothing: the thread flushes."""

    def observe(self, take: Take) -> None:
        """Hand all lines to `take`."""
        self._observer = take

    def reopen(self) -> None:
        """Let the thread open the sink's file again."""
        self._reopens = True
        self._wake.put(None)

    def close(self) -> None:
        """Write what waits, and end the thread."""
        self._closing = True
        self._wake.put(None)
        self._thread.join(LAST_SECONDS)

    def _run(self) -> None:
        while True:
            if self._reopens:
                self._reopens = False
                self._write_waiting()  # what was logged before belongs into the old file
                _open_again(self._sink)
            closing = self._closing  # read first: a line may come between the look for lines and this one
            if self._write_waiting():
                time.sleep(BATCH_SECONDS)
                continue
            if closing:
                break
            self._sleeps = True
            if not (self._lines or self._told):
                self._wake.get()
            self._sleeps = False
        if self.dropped and self._last_line is not None:
            self._sink.write([self._last_line(self.dropped)])

    def _write_waiting(self) -> bool:
        """Write the lines that wait; return whether there were any."""
        lines, told = self._lines, self._told
        taken = [lines.popleft() for _ in range(len(lines))]
        # Taken after the others: what belongs to one of these is there.
        aside = [told.popleft() for _ in range(len(told))]
        if self._folded == self._unfolded:
            self._write_batch(cast(list[bytes], aside), cast("list[bytes | tuple[bytes]]", taken))
        else:
            for part in self._parts(aside):
                self._write_batch(cast(list[bytes], part), [])
            for part in self._parts(taken):
                self._write_batch([], part)
        return bool(taken or aside)

    def _write_batch(self, aside: list[bytes], taken: list[bytes | tuple[bytes]]) -> None:
        whole = [each if isinstance(each, bytes) else each[0] for each in taken]
        if whole or aside:
            self._show(aside + whole)
            self._observe(aside + [each for each in taken if isinstance(each, bytes)])
        if whole:
            lost = self._sink.write(whole)  # it may wait; in the meantime `put` counts
            self.dropped += lost

    def _parts(self, taken: Sequence[bytes | tuple[bytes] | Several]) -> Iterator[list[bytes | tuple[bytes]]]:
        """Yield the lines. Those that came as several are rendered alone: those of 20 transactions take 12 MB."""
        for folded, some in groupby(taken, lambda each: isinstance(each, Several)):
            if not folded:
                yield cast("list[bytes | tuple[bytes]]", list(some))
                continue
            for each in some:
                yield list(self._rendered(cast(Several, each)))

    def _rendered(self, several: Several) -> list[bytes]:
        self._unfolded += several.count
        try:
            return several.rendered()
        except Exception as error:  # noqa: BLE001 — the log goes on, whatever happens
            self.dropped += several.count
            _log.error("log_event_failed", exc_info=error)
            return []

    def _show(self, lines: Sequence[bytes]) -> None:
        tap = self.tap
        if tap is None:
            return
        try:
            tap(lines)
        except Exception as error:  # noqa: BLE001 — as below; at the end of a process, its loop is closed
            self.tap = None
            _log.error("log_observer_failed", exc_info=error)

    def _observe(self, lines: Sequence[bytes]) -> None:
        take = self._observer
        if take is None:
            return
        try:
            take(b"".join(lines))
        except Exception as error:  # noqa: BLE001 — an observer never costs a line of the log
            self._observer = None
            _log.error("log_observer_failed", exc_info=error)


class DirectWriter:
    """Writes each line in the logging thread."""

    def __init__(self, sink: Sink, last_line: DroppedLine | None = None) -> None:
        """Write to `sink`, which must not block for long."""
        self._sink = sink
        self._last_line = last_line
        self.dropped = 0
        self.tap: Tap | None = None

    def put(self, line: bytes, *, written: bool = True, observed: bool = True) -> None:  # noqa: ARG002 — there is none
        """Write a line, and show it to the tap, which must not fail. There is no observer."""
        if self.tap is not None:
            self.tap([line])
        if written:
            self.dropped += self._sink.write([line])

    def put_several(self, several: Several, *, written: bool = True) -> None:
        """Write several lines."""
        for line in several.rendered():
            self.put(line, written=written)

    def write(self, text: str) -> int:
        """Write a line as a stream does."""
        self.put(text.encode("ascii", "backslashreplace"))
        return len(text)

    def flush(self) -> None:
        """Do nothing: `put` has written everything."""

    def reopen(self) -> None:
        """Open the sink's file again."""
        _open_again(self._sink)

    def close(self) -> None:
        """Tell how many lines were dropped, once."""
        last_line, self._last_line = self._last_line, None
        if self.dropped and last_line is not None:
            self.put(last_line(self.dropped))


Writer: TypeAlias = LogWriter | DirectWriter


def _open_again(sink: Sink) -> None:
    try:
        sink.reopen()
    except OSError as error:
        _log.error("log_file_unusable", path=str(error.filename), reason=error.strerror or str(error))
