"""The log: structured events as JSON lines, with every foreign byte escaped.

The thread that logs an event renders it once, as a line of JSON: the canonical line. The writer's thread hands the
lines to a sink (`proxy.base.sinks`), which turns them into the log's format, and all of them to an observer.
`proxy.base.lines` makes the lines. This module does not know what an event means.
"""

from __future__ import annotations

import atexit
import logging
import sys
import threading
import time
from collections import deque
from collections.abc import Callable, Mapping, MutableMapping, Sequence
from dataclasses import dataclass, field
from io import TextIOBase
from queue import SimpleQueue
from typing import Any, ClassVar, Protocol, TextIO, TypeAlias, cast

import structlog

from proxy.base.lines import Renderer, printable
from proxy.base.sinks import DescriptorSink, Sink, StreamSink

__all__ = [
    "LEVELS", "DirectWriter", "Levels", "LogWriter", "Logger", "close", "configure", "get_logger", "observe",
    "printable", "reopen", "silence",
]  # fmt: skip

MOST_WAITING = 10_000
"""Lines that may wait for the writer thread; further lines are dropped and counted."""

LEVELS = {"debug": logging.DEBUG, "info": logging.INFO, "warning": logging.WARNING, "error": logging.ERROR}
"""The levels, and the number below which each says nothing."""

BATCH_SECONDS = 0.05
"""The thread writes at most once in this time: waking it for each line cost a tenth of the throughput."""

LAST_SECONDS = 2.0
"""Time to write the waiting lines at exit."""

DroppedLine: TypeAlias = Callable[[int], bytes]
"""Makes the last line of a log that has lost lines."""


class Counts(Protocol):
    """Where events are counted: integers that another thread or process may read."""

    counts: memoryview


Counting: TypeAlias = tuple[Counts, Mapping[str, Mapping[str, int]]]
"""The integers, and for each level the places of its events."""

Tap: TypeAlias = Callable[[Sequence[bytes]], None]
"""Sees lines, in the log's thread. It must not block."""

Take: TypeAlias = Callable[[bytes], None]
"""Takes canonical lines in the log's thread, one after another. It must not block."""


@dataclass(frozen=True, slots=True)
class Levels:
    """The least level that is written, and other ones for some rooms of the code, such as `callback`."""

    least: int = logging.INFO
    rooms: Mapping[str, int] = field(default_factory=dict)

    def of(self, module: str) -> int:
        """Return the least level of a module, by the innermost of its rooms that has one."""
        found = [self.rooms[room] for room in module.split(".") if room in self.rooms]
        return found[-1] if found else self.least


_logs: list[_LogOfModule] = []
"""The logs that modules have taken."""


def get_logger() -> Logger:
    """Return the caller's logger. Event names are snake_case words; everything else goes into fields."""
    log = _LogOfModule(sys._getframe(1).f_globals.get("__name__", ""))  # noqa: SLF001 — inspect reads files for it
    _logs.append(log)
    return cast(Logger, log)


def configure(
    to: Sink | TextIO | None = None,
    *,
    levels: Levels | None = None,
    worker: int | None = None,
    threaded: bool = True,
    counting: Counting | None = None,
) -> None:
    """Send the log to a sink or, as JSON, to a stream (default: standard error), written by a separate thread.

    If `worker` is given, each line carries it. Without the thread, a process can fork safely and call `configure` again
    in the child. If lines were dropped, the last line at exit is `log_dropped` with their count.
    """
    sink: Any = DescriptorSink(2, patient=threaded) if to is None else to
    if isinstance(sink, TextIOBase):
        sink = StreamSink(cast(TextIO, sink))
    render = Renderer(worker)
    writer: Writer = LogWriter(sink, render.dropped) if threaded else DirectWriter(sink, render.dropped)
    structlog.configure(
        processors=[render],
        wrapper_class=type("LoggerOfLevels", (Logger,), {"levels": levels or Levels(), "counting": counting}),
        logger_factory=structlog.WriteLoggerFactory(cast(TextIO, writer)),
        cache_logger_on_first_use=threaded,  # a cached logger would keep the old writer across a fork
    )


def silence() -> None:
    """Drop everything that is logged: this process reports its results in another way."""
    structlog.configure(processors=[_dropped])


def observe(take: Take, names: frozenset[str]) -> None:
    """From now on, hand all lines to an observer, in batches, in the log's thread.

    It also gets the named events if the levels leave them out; other events may be among what it gets, because looking
    at each line here would keep the event loop from its work. It must not block. Without the thread, nothing is
    observed.
    """
    writer = _writer()
    if isinstance(writer, LogWriter):
        writer.observe(take)
        structlog.get_config()["wrapper_class"].observed = names
        for log in _logs:
            log.forget()


def is_observed(event: str) -> bool:
    """Return whether an observer gets an event, so that what costs something is only then put together."""
    return event in getattr(structlog.get_config()["wrapper_class"], "observed", ())


def levels() -> Levels:
    """Return the levels in force."""
    found: Levels = structlog.get_config()["wrapper_class"].levels
    return found


def set_levels(new: Levels) -> None:
    """Log at other levels from now on."""
    structlog.get_config()["wrapper_class"].levels = new
    for log in _logs:
        log.forget()


def tap(take: Tap | None) -> None:
    """Hand every line that is written or observed to one more observer, in the log's thread, until called with None."""
    writer = _writer()
    if isinstance(writer, LogWriter):
        writer.tap = take


KEPT = 10
"""Lines of each level that stay in memory."""

kept: dict[str, deque[bytes]] = {level: deque(maxlen=KEPT) for level in ("error", "warning")}
"""The last errors and warnings of this process."""


def reopen() -> None:
    """Open the log's file again: its name may belong to another file now."""
    writer = _writer()
    if isinstance(writer, LogWriter | DirectWriter):
        writer.reopen()


def dropped() -> int:
    """Return how many lines were lost so far."""
    writer = _writer()
    return writer.dropped if isinstance(writer, LogWriter | DirectWriter) else 0


def close() -> None:
    """Write the waiting lines, for a process that ends without running its exit handlers."""
    writer = _writer()
    if isinstance(writer, LogWriter | DirectWriter):
        writer.close()


atexit.register(close)


def _writer() -> object:
    return structlog.get_config()["logger_factory"]._file  # noqa: SLF001 — it has no public name


class _LogOfModule:
    """The log that a module takes at import, before `configure`.

    It keeps each method once the configuration allows it; structlog's own proxy looks it up again with three calls.
    """

    def __init__(self, module: str) -> None:
        self._module = module

    def __getattr__(self, name: str) -> Callable[..., None]:
        """Return the method of the logger that is configured now."""
        logger: Any = structlog.get_logger().bind()
        method: Callable[..., None] = (
            logger.method(name, self._module) if isinstance(logger, Logger) else getattr(logger, name)
        )
        if structlog.get_config()["cache_logger_on_first_use"]:
            setattr(self, name, method)
        return method

    def forget(self) -> None:
        """Look the methods up again."""
        for name in vars(self).keys() - {"_module"}:
            delattr(self, name)


class Logger(structlog.BoundLoggerBase):
    """Turns an event into a line with a third of the calls that structlog's own logger and processors make.

    The chain has one processor: a `Renderer`, or what `structlog.testing.capture_logs` puts in its place.
    """

    levels: ClassVar[Levels] = Levels()
    observed: ClassVar[frozenset[str]] = frozenset()
    counting: ClassVar[Counting | None] = None

    def __init__(self, logger: Any, processors: list[Any], context: Any) -> None:
        """Take what structlog's proxy passes when the logger is first used."""
        super().__init__(logger, processors, context)
        self._chain = processors
        self._put: Callable[..., None] = logger._file.put  # noqa: SLF001 — it has no public name

    def method(self, name: str, module: str) -> Callable[..., None]:
        """Return what logs an event at a level for a module: it writes, only tells the observer, or does nothing."""
        level = "error" if name == "exception" else name
        chain, put, proxy, observed = self._chain, self._putting(level), self._proxy_to_logger, self.observed
        counting: Any = self.counting or (None, {})
        book, places = counting[0], counting[1].get(level, {})

        def write(event: str, **fields: Any) -> None:
            if name == "exception":
                fields.setdefault("exc_info", True)
            render = chain[0]
            if event in places:
                book.counts[places[event]] += 1
            if render.__class__ is Renderer:
                put(render(level, event, fields))
            else:
                proxy(name, event, **fields)

        def tell(event: str, **fields: Any) -> None:
            render = chain[0]
            if event in observed and render.__class__ is Renderer:
                put(render(level, event, fields), written=False)

        if LEVELS[level] >= self.levels.of(module):
            return write
        return tell if observed else _nothing

    def _putting(self, level: str) -> Callable[..., None]:
        """Return what takes a level's lines; the last errors and warnings stay in memory as well."""
        put, remember = self._put, kept.get(level)
        if remember is None:
            return put

        def put_and_remember(line: bytes, *, written: bool = True) -> None:
            put(line, written=written)
            if written:
                remember.append(line)

        return put_and_remember

    def debug(self, event: str, **fields: object) -> None:
        """Declare the signature: `_LogOfModule` has the methods."""

    info = warning = error = exception = debug


def _nothing(event: str, **fields: object) -> None:
    """Log an event below the level."""


class LogWriter:
    """Takes lines and never fails or blocks: a thread writes them.

    If the disk is full, or the log's reader is gone or stuck, lines are dropped and counted, and mail goes on. At exit,
    waiting lines are written for up to LAST_SECONDS.

    The thread sleeps without a deadline only if there was nothing to write for BATCH_SECONDS. Only then does a line
    wake it, so a busy process logs without locks or system calls.
    """

    def __init__(self, sink: Sink, last_line: DroppedLine | None = None) -> None:
        """Write to `sink`; at the end, `last_line` tells how many lines were dropped."""
        self._sink = sink
        self._last_line = last_line
        self._lines: deque[bytes] = deque()
        self._told: deque[bytes] = deque()
        """Lines that the levels leave out, for the observer."""
        self._sleeps = False
        self._closing = self._reopens = False
        self._wake: SimpleQueue[None] = SimpleQueue()
        self._observer: Take | None = None
        self.dropped = 0
        self.tap: Tap | None = None
        self._thread = threading.Thread(target=self._run, name="log", daemon=True)
        self._thread.start()

    def put(self, line: bytes, *, written: bool = True) -> None:
        """Queue an ASCII line, for the observer only or for the sink, too; drop it if too many wait."""
        lines = self._lines if written else self._told
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
        aside = [told.popleft() for _ in range(len(told))]  # after the others: what belongs to one of these is here
        if taken or aside:
            if (tap := self.tap) is not None:
                tap([*aside, *taken])
            self._observe([*aside, *taken])
        if taken:
            lost = self._sink.write(taken)  # it may wait, and `put` counts meanwhile
            self.dropped += lost
        return bool(taken or aside)

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

    def put(self, line: bytes, *, written: bool = True) -> None:
        """Write a line. There is no observer."""
        if written:
            self.dropped += self._sink.write([line])

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


def _dropped(_logger: object, _level: str, _event: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
    raise structlog.DropEvent


_log = get_logger()
"""This module's own log, for what its sink and its observer do."""
