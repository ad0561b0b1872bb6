"""The log: structured events as JSON lines on standard error, one a line, every foreign byte escaped.

JSON's own escaping keeps control characters, ESC and bytes beyond ASCII out of a terminal; `printable` cuts what a
stranger sent to a length worth reading. Nothing here knows what an event means.
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
"""Lines that wait for the thread that writes them; what comes then is dropped and counted."""

_LEVELS = {"exception": "error", "warn": "warning"}
"""Names of methods that are not those of their levels."""

BATCH_SECONDS = 0.005
"""Lines that come within so long of others are written together."""

LAST_SECONDS = 2.0
"""For the lines that wait at exit."""

STUCK_SECONDS = 1.0
"""For a reader of the log to take a line of the supervisor's, which writes without a thread."""

LONGEST_FIELD = 250
"""Characters of a stranger's text that reach the log."""


def get_logger() -> structlog.typing.FilteringBoundLogger:
    """Return the logger; events are snake_case words, everything else goes into fields."""
    logger: structlog.typing.FilteringBoundLogger = structlog.get_logger()
    return logger


def configure(
    stream: TextIO | None = None, *, level: int = logging.INFO, worker: int | None = None, threaded: bool = True
) -> None:
    """Send the log to `stream` (standard error unless given) as JSON lines, written by a thread of its own.

    `worker` stands in each line, where it is given. Without a thread a process can fork safely; `configure` is called
    again in the new one.
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
        cache_logger_on_first_use=threaded,  # a logger that was cached would keep the writer across a fork
    )


def silence() -> None:
    """Drop whatever is logged: this process tells its findings in another way."""
    structlog.configure(processors=[_dropped])


def close() -> None:
    """Write the lines that wait, where a process ends without running what it registered for its exit."""
    writer = structlog.get_config()["logger_factory"]._file  # noqa: SLF001 — it has no name for it
    if isinstance(writer, LogWriter):
        writer.close()


def printable(foreign: str | bytes, longest: int = LONGEST_FIELD) -> str:
    """Return a stranger's text as printable ASCII, cut at `longest` characters."""
    text = foreign.decode("ascii", "backslashreplace") if isinstance(foreign, bytes) else foreign
    text = text[: longest + 1]
    if not (text.isascii() and text.isprintable()):
        text = text.encode("unicode_escape", "backslashreplace").decode("ascii")
    return text if len(text) <= longest else text[: longest - 3] + "..."


class LogWriter:
    """A stream that never fails and never waits: lines go to a thread, which writes them.

    With a full disk, a reader that has gone or one that is stuck, lines are dropped and counted; the mail goes on.
    Lines that wait are written at exit, for as long as LAST_SECONDS.
    """

    def __init__(self, stream: TextIO) -> None:
        """Start the thread."""
        self._stream = stream
        self._lines: queue.SimpleQueue[str | None] = queue.SimpleQueue()
        self.dropped = 0
        self._thread = threading.Thread(target=self._run, name="log", daemon=True)
        self._thread.start()
        atexit.register(self.close)

    def write(self, text: str) -> int:
        """Take a line; drop it where too many wait."""
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
        """Write at once after a quiet moment, in batches otherwise: waking for every line cost a tenth of the speed."""
        quiet_from = 0.0
        while (first := self._lines.get()) is not None:
            if time.monotonic() < quiet_from:
                time.sleep(BATCH_SECONDS)
            lines = [first]
            with suppress(queue.Empty):
                while (line := self._lines.get_nowait()) is not None:
                    lines.append(line)
                self._lines.put(None)  # the end came within the batch
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
    """Yield the lines joined, as many as a pipe takes in one piece: other workers write to it as well (pipe(7)).

    What is logged is ASCII, so that a character is a byte.
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
    """A stream that writes at once, by the thread that logs; it drops a line that nobody takes within a second."""

    def __init__(self, descriptor: int) -> None:
        """Take the descriptor; it stays the caller's."""
        self._descriptor = descriptor
        self._poll = select.poll()
        self._poll.register(descriptor, select.POLLOUT)
        self.dropped = 0

    def write(self, text: str) -> int:
        """Write a line, in pieces that a pipe which polls as writable takes without waiting."""
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
        """Do nothing: it is written."""


def _dropped(_logger: object, _level: str, _event: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
    raise structlog.DropEvent


class _Stamp:
    """Puts time, worker and level into each event: one step, which forms the date once a second only.

    structlog's own steps for these cost as much as everything else of a line.
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
    """One encoder for the process: building one for each event costs more than the encoding."""

    def default(self, o: object) -> str:
        return printable(repr(o))

    def encode_with(self, event: dict[str, Any], **_options: object) -> str:
        return self.encode(event)


_ENCODER = _Encoder(check_circular=False)
