"""The log: structured events as JSON on standard error, one per line, with every foreign byte escaped.

JSON escaping keeps control characters, ESC and non-ASCII bytes away from the terminal. `printable` cuts foreign text to
a readable length. This module does not know what an event means.
"""

from __future__ import annotations

import atexit
import json
import logging
import os
import select
import sys
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator, MutableMapping, Sequence
from queue import SimpleQueue
from typing import Any, TextIO, TypeAlias, cast

import msgspec
import structlog

MOST_WAITING = 10_000
"""Lines that may wait for the writer thread; further lines are dropped and counted."""

_METHODS = {
    "debug": logging.DEBUG,
    "info": logging.INFO,
    "warning": logging.WARNING,
    "error": logging.ERROR,
    "exception": logging.ERROR,
}
"""The logger's methods, and the level below which each says nothing."""

BATCH_SECONDS = 0.02
"""The thread writes at most once in this time: waking it for each line cost a tenth of the throughput."""

LAST_SECONDS = 2.0
"""Time to write the waiting lines at exit."""

STUCK_SECONDS = 1.0
"""How long the supervisor, which writes without a thread, waits for the log's reader to take a line."""

LONGEST_FIELD = 250
"""Characters of foreign text that reach the log."""

DroppedLine: TypeAlias = Callable[[int], bytes]
"""Makes the last line of a log that has lost lines."""


def get_logger() -> Logger:
    """Return the logger. Event names are snake_case words; everything else goes into fields."""
    return cast(Logger, _LogOfModule())


def configure(
    stream: TextIO | None = None, *, level: int = logging.INFO, worker: int | None = None, threaded: bool = True
) -> None:
    """Send the log to `stream` (default: standard error) as JSON lines, written by a separate thread.

    If `worker` is given, each line carries it. Without the thread, a process can fork safely and call `configure` again
    in the child. If lines were dropped, the last line at exit is `log_dropped` with their count.
    """
    to = stream or sys.stderr
    render = _Renderer(worker)
    writer: Writer = LogWriter(to, render.dropped) if threaded else DirectWriter(to.fileno(), render.dropped)
    atexit.register(writer.close)
    structlog.configure(
        processors=[render],
        wrapper_class=_logger_class(level),
        logger_factory=structlog.WriteLoggerFactory(cast(TextIO, writer)),
        cache_logger_on_first_use=threaded,  # a cached logger would keep the old writer across a fork
    )


def silence() -> None:
    """Drop everything that is logged: this process reports its results in another way."""
    structlog.configure(processors=[_dropped])


def close() -> None:
    """Write the waiting lines, for a process that ends without running its exit handlers."""
    writer = structlog.get_config()["logger_factory"]._file  # noqa: SLF001 — it has no public name
    if isinstance(writer, LogWriter | DirectWriter):
        writer.close()


def printable(foreign: str | bytes, longest: int = LONGEST_FIELD) -> str:
    """Return foreign text as printable ASCII, cut at `longest` characters."""
    text = foreign.decode("ascii", "backslashreplace") if isinstance(foreign, bytes) else foreign
    text = text[: longest + 1]
    if not (text.isascii() and text.isprintable()):
        text = text.encode("unicode_escape", "backslashreplace").decode("ascii")
    return text if len(text) <= longest else text[: longest - 3] + "..."


class _LogOfModule:
    """The log that a module takes at import, before `configure`.

    It keeps each method once the configuration allows it; structlog's own proxy looks it up again with three calls.
    """

    def __getattr__(self, name: str) -> Callable[..., None]:
        """Return the method of the logger that is configured now."""
        method: Callable[..., None] = getattr(structlog.get_logger().bind(), name)
        if structlog.get_config()["cache_logger_on_first_use"]:
            setattr(self, name, method)
        return method


class Logger(structlog.BoundLoggerBase):
    """Turns an event into a line with a third of the calls that structlog's own logger and processors make.

    The chain has one processor: a `_Renderer`, or what `structlog.testing.capture_logs` puts in its place.
    """

    def __init__(self, logger: Any, processors: list[Any], context: Any) -> None:
        """Take what structlog's proxy passes when the logger is first used."""
        super().__init__(logger, processors, context)
        self._chain = processors
        self._put: Callable[[bytes], None] = logger._file.put  # noqa: SLF001 — it has no public name

    def debug(self, event: str, **fields: object) -> None:
        """Do nothing: a logger of some level redefines the methods that write."""

    info = warning = error = exception = debug


def _logger_class(least: int) -> type[Logger]:
    """Return a logger whose methods below the level do nothing."""
    return type("LoggerOfLevel", (Logger,), {name: _method(name) for name, at in _METHODS.items() if at >= least})


def _method(name: str) -> Callable[..., None]:
    level = "error" if name == "exception" else name

    def write(self: Logger, event: str, **fields: Any) -> None:
        if name == "exception":
            fields.setdefault("exc_info", True)
        render = self._chain[0]
        if render.__class__ is _Renderer:
            fields["event"] = event
            self._put(render(self, level, fields))
        else:
            self._proxy_to_logger(name, event, **fields)

    return write


class LogWriter:
    """Takes lines and never fails or blocks: a thread writes them.

    If the disk is full, or the log's reader is gone or stuck, lines are dropped and counted, and mail goes on. At exit,
    waiting lines are written for up to LAST_SECONDS.

    The thread sleeps without a deadline only if there was nothing to write for BATCH_SECONDS. Only then does a line
    wake it, so a busy process logs without locks or system calls.
    """

    def __init__(self, stream: TextIO, last_line: DroppedLine | None = None) -> None:
        """Write to `stream`; at the end, `last_line` tells how many lines were dropped."""
        self._stream = stream
        self._last_line = last_line
        self._lines: deque[bytes] = deque()
        self._sleeps = False
        self._closing = False
        self._wake: SimpleQueue[None] = SimpleQueue()
        self.dropped = 0
        self._thread = threading.Thread(target=self._run, name="log", daemon=True)
        self._thread.start()

    def put(self, line: bytes) -> None:
        """Queue an ASCII line; drop it if too many wait."""
        lines = self._lines
        if len(lines) >= MOST_WAITING:
            self.dropped += 1
            return
        lines.append(line)
        if self._sleeps:  # the thread sets this before it looks for lines a last time, so none is left behind
            self._sleeps = False
            self._wake.put(None)

    def write(self, text: str) -> int:
        """Queue a line as a stream does."""
        self.put(text.encode("ascii", "backslashreplace"))
        return len(text)

    def flush(self) -> None:
        """Do nothing: the thread flushes."""

    def close(self) -> None:
        """Write what waits, and end the thread."""
        self._closing = True
        self._wake.put(None)
        self._thread.join(LAST_SECONDS)

    def _run(self) -> None:
        while True:
            if self._write_waiting():
                time.sleep(BATCH_SECONDS)
                continue
            if self._closing:
                break
            self._sleeps = True
            if not self._lines:
                self._wake.get()
            self._sleeps = False
        if self.dropped and self._last_line is not None:
            self._write(self._last_line(self.dropped))

    def _write_waiting(self) -> bool:
        """Write the lines that wait; return whether there were any."""
        lines = self._lines
        taken = [lines.popleft() for _ in range(len(lines))]
        for part in _whole_lines(taken):
            self._write(part)
        return bool(taken)

    def _write(self, octets: bytes) -> None:
        try:
            self._stream.write(octets.decode("ascii"))
            self._stream.flush()
        except (OSError, ValueError):  # ValueError: the stream was closed
            self.dropped += octets.count(b"\n")


def _whole_lines(lines: Sequence[bytes]) -> Iterator[bytes]:
    """Yield the lines joined, in pieces of at most PIPE_BUF: other workers write to the same pipe (pipe(7))."""
    part: list[bytes] = []
    size = 0
    for line in lines:
        if part and size + len(line) > select.PIPE_BUF:
            yield b"".join(part)
            part, size = [], 0
        part.append(line)
        size += len(line)
    if part:
        yield b"".join(part)


class DirectWriter:
    """Writes each line in the logging thread; drops a line that is not taken within a second."""

    def __init__(self, descriptor: int, last_line: DroppedLine | None = None) -> None:
        """Take the descriptor; the caller still owns it."""
        self._descriptor = descriptor
        self._last_line = last_line
        self._poll = select.poll()
        self._poll.register(descriptor, select.POLLOUT)
        self.dropped = 0

    def put(self, line: bytes) -> None:
        """Write a line in pieces that a pipe takes without blocking once it polls as writable."""
        try:
            while line:
                if not self._poll.poll(STUCK_SECONDS * 1000):
                    self.dropped += 1
                    break
                line = line[os.write(self._descriptor, line[: select.PIPE_BUF]) :]
        except OSError:
            self.dropped += 1

    def write(self, text: str) -> int:
        """Write a line as a stream does."""
        self.put(text.encode("ascii", "backslashreplace"))
        return len(text)

    def flush(self) -> None:
        """Do nothing: `put` has written everything."""

    def close(self) -> None:
        """Tell how many lines were dropped, once."""
        last_line, self._last_line = self._last_line, None
        if self.dropped and last_line is not None:
            self.put(last_line(self.dropped))


Writer: TypeAlias = LogWriter | DirectWriter


def _dropped(_logger: object, _level: str, _event: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
    raise structlog.DropEvent


class _Renderer:
    """Makes the line of an event: its fields, then time, worker and level. The date is formatted once a second."""

    def __init__(self, worker: int | None) -> None:
        self._worker = worker
        self._date = (-1, "")

    def __call__(self, _logger: object, level: str, event: MutableMapping[str, Any]) -> bytes:
        """Return the line; the event is the logger's own dictionary and gets the further fields."""
        now = time.time_ns()
        second = now // 1_000_000_000
        known, date = self._date  # read and set as one, since any thread may log
        if second != known:
            date = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(second))
            self._date = (second, date)
        event["timestamp"] = f"{date}.{now % 1_000_000_000 // 1000:06d}Z"
        if self._worker is not None:
            event["worker"] = self._worker
        event["level"] = level
        if "exc_info" in event:
            structlog.processors.format_exc_info(self, level, event)
        return _as_json(event)

    def dropped(self, count: int) -> bytes:
        """Return the last line of a log that has lost lines."""
        return self(self, "warning", {"count": count, "event": "log_dropped"})


def _odd(value: object) -> str:
    return printable(repr(value))


_FAST = msgspec.json.Encoder(enc_hook=_odd)
_ESCAPING = json.JSONEncoder(default=_odd, check_circular=False)


def _as_json(event: MutableMapping[str, Any]) -> bytes:
    """Return the event as a line of ASCII, as `json.dumps` would write it.

    msgspec takes a third of the time, but it leaves DEL and non-ASCII characters as they are and rejects lone
    surrogates. `printable` has escaped most foreign text before, so this is rare.
    """
    try:
        line = msgspec.json.format(_FAST.encode(event), indent=0)
    except (ValueError, TypeError, OverflowError, RecursionError):
        return _escaped(event)
    return line + b"\n" if line.isascii() and b"\x7f" not in line else _escaped(event)


def _escaped(event: MutableMapping[str, Any]) -> bytes:
    return f"{_ESCAPING.encode(event)}\n".encode("ascii")
