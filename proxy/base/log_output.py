"""Where the log goes: to a sink, written by a separate thread or by the thread that logs, and to an observer.

The writer's thread hands the lines to the sink (`proxy.base.sinks`), which turns them into the log's format, and all of
them to the observer. `proxy.base.writers` has the writers, `proxy.base.log` what modules log with.
"""

from __future__ import annotations

import atexit
from io import TextIOBase
from typing import Any, TextIO, cast

import structlog

from proxy.base.lines import Renderer
from proxy.base.log import Counting, Levels, Logger, look_up_again
from proxy.base.sinks import DescriptorSink, Sink, StreamSink
from proxy.base.writers import DirectWriter, LogWriter, Take, Tap, Writer


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
        look_up_again()


def tap(take: Tap | None) -> None:
    """Hand every line that is written or observed to one more observer, in the thread that writes, until None."""
    writer = _writer()
    if isinstance(writer, LogWriter | DirectWriter):
        writer.tap = take


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
