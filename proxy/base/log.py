"""The log: structured events as JSON on standard error, one per line, with every foreign byte escaped.

JSON escaping keeps control characters, ESC and non-ASCII bytes away from the terminal. `printable` cuts foreign text to
a readable length. This module does not know what an event means.
"""

from __future__ import annotations

import atexit
import json
import logging
import os
import queue
import select
import sys
import threading
import time
from collections.abc import Iterator, MutableMapping, Sequence
from contextlib import suppress
from typing import Any, TextIO, cast

import structlog

MOST_WAITING = 10_000
"""Lines that may wait for the writer thread; further lines are dropped and counted."""

_LEVELS = {"exception": "error", "warn": "warning"}
"""Method names that differ from their level names."""

BATCH_SECONDS = 0.005
"""Lines logged within this time of each other are written together."""

LAST_SECONDS = 2.0
"""Time to write the waiting lines at exit."""

STUCK_SECONDS = 1.0
"""How long the supervisor, which writes without a thread, waits for the log's reader to take a line."""

LONGEST_FIELD = 250
"""Characters of foreign text that reach the log."""


def get_logger() -> structlog.typing.FilteringBoundLogger:
    """Return the logger. Event names are snake_case words; everything else goes into fields."""
    logger: structlog.typing.FilteringBoundLogger = structlog.get_logger()
    return logger


def configure(
    stream: TextIO | None = None, *, level: int = logging.INFO, worker: int | None = None, threaded: bool = True
) -> None:
    """Send the log to `stream` (default: standard error) as JSON lines, written by a separate thread.

    If `worker` is given, each line carries it. Without the thread, a process can fork safely and call `configure` again
    in the child.
    """
    to = stream or sys.stderr
    writer = LogWriter(to) if threaded else DirectWriter(to.fileno())
    structlog.configure(
        processors=[
            _Stamp(worker),
            structlog.processors.format_exc_info,
            structlog.processors.JSONRenderer(serializer=_ENCODER.encode_with),
        ],
        wrapper_class=structlog.make_filtering_bound_logger(level),
        logger_factory=structlog.WriteLoggerFactory(cast(TextIO, writer)),
        cache_logger_on_first_use=threaded,  # a cached logger would keep the old writer across a fork
    )


def silence() -> None:
    """Drop everything that is logged: this process reports its results in another way."""
    structlog.configure(processors=[_dropped])


def close() -> None:
    """Write the waiting lines, for a process that ends without running its exit handlers."""
    writer = structlog.get_config()["logger_factory"]._file  # noqa: SLF001 — it has no public name
    if isinstance(writer, LogWriter):
        writer.close()


def printable(foreign: str | bytes, longest: int = LONGEST_FIELD) -> str:
    """Return foreign text as printable ASCII, cut at `longest` characters."""
    text = foreign.decode("ascii", "backslashreplace") if isinstance(foreign, bytes) else foreign
    text = text[: longest + 1]
    if not (text.isascii() and text.isprintable()):
        text = text.encode("unicode_escape", "backslashreplace").decode("ascii")
    return text if len(text) <= longest else text[: longest - 3] + "..."


class LogWriter:
    """A stream that never fails and never blocks: a thread writes the lines.

    If the disk is full, or the log's reader is gone or stuck, lines are dropped and counted, and mail goes on. At exit,
    waiting lines are written for up to LAST_SECONDS.
    """

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream
        self._lines: queue.SimpleQueue[str | None] = queue.SimpleQueue()
        self.dropped = 0
        self._thread = threading.Thread(target=self._run, name="log", daemon=True)
        self._thread.start()
        atexit.register(self.close)

    def write(self, text: str) -> int:
        """Queue a line; drop it if the queue is full."""
        if self._lines.qsize() < MOST_WAITING:
            self._lines.put(text)
        else:
            self.dropped += 1
        return len(text)

    def flush(self) -> None:
        """Do nothing: the thread flushes."""

    def close(self) -> None:
        """Write what waits, and end the thread."""
        self._lines.put(None)
        self._thread.join(LAST_SECONDS)

    def _run(self) -> None:
        """Write at once after a pause, in batches otherwise: one wake-up per line cost a tenth of the throughput."""
        quiet_from = 0.0
        while (first := self._lines.get()) is not None:
            if time.monotonic() < quiet_from:
                time.sleep(BATCH_SECONDS)
            lines = [first]
            with suppress(queue.Empty):
                while (line := self._lines.get_nowait()) is not None:
                    lines.append(line)
                self._lines.put(None)  # the end marker came within the batch
            for part in _whole_lines(lines):
                self._write(part)
            quiet_from = time.monotonic() + BATCH_SECONDS

    def _write(self, text: str) -> None:
        try:
            self._stream.write(text)
            self._stream.flush()
        except (OSError, ValueError):  # ValueError: the stream was closed
            self.dropped += text.count("\n")


def _whole_lines(lines: Sequence[str]) -> Iterator[str]:
    """Yield the lines joined, in pieces of at most PIPE_BUF: other workers write to the same pipe (pipe(7)).

    The log is ASCII, so characters and bytes count the same.
    """
    part: list[str] = []
    size = 0
    for line in lines:
        if part and size + len(line) > select.PIPE_BUF:
            yield "".join(part)
            part, size = [], 0
        part.append(line)
        size += len(line)
    yield "".join(part)


class DirectWriter:
    """A stream that the logging thread writes directly; it drops a line that is not taken within a second."""

    def __init__(self, descriptor: int) -> None:
        """Take the descriptor; the caller still owns it."""
        self._descriptor = descriptor
        self._poll = select.poll()
        self._poll.register(descriptor, select.POLLOUT)
        self.dropped = 0

    def write(self, text: str) -> int:
        """Write a line in pieces that a pipe takes without blocking once it polls as writable."""
        octets = text.encode("ascii", "backslashreplace")
        try:
            while octets:
                if not self._poll.poll(STUCK_SECONDS * 1000):
                    self.dropped += 1
                    break
                octets = octets[os.write(self._descriptor, octets[: select.PIPE_BUF]) :]
        except OSError:
            self.dropped += 1
        return len(text)

    def flush(self) -> None:
        """Do nothing: `write` has written everything."""


def _dropped(_logger: object, _level: str, _event: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
    raise structlog.DropEvent


class _Stamp:
    """Adds time, worker and level to each event, and formats the date only once per second.

    structlog's own processors for this cost as much as the rest of the line.
    """

    def __init__(self, worker: int | None) -> None:
        self._worker = worker
        self._date = (-1, "")

    def __call__(self, _logger: object, level: str, event: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
        second, rest = divmod(time.time_ns(), 1_000_000_000)
        known, date = self._date  # read and set as one, since any thread may log
        if second != known:
            date = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(second))
            self._date = (second, date)
        event["timestamp"] = f"{date}.{rest // 1000:06d}Z"
        if self._worker is not None:
            event["worker"] = self._worker
        event["level"] = _LEVELS.get(level, level)
        return event


class _Encoder(json.JSONEncoder):
    """One encoder for the process: building one per event costs more than encoding."""

    def default(self, o: object) -> str:
        return printable(repr(o))

    def encode_with(self, event: dict[str, Any], **_options: object) -> str:
        return self.encode(event)


_ENCODER = _Encoder(check_circular=False)
