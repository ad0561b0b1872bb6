"""Where a process's log goes, and in which format: as the configuration says, or as fits where Ringback runs."""

from __future__ import annotations

import logging
import os
from collections.abc import Iterable
from pathlib import Path

from proxy.base.journal import SOCKET, JournalSink, is_journal
from proxy.base.log import LEVELS, Counting, get_logger, printable
from proxy.base.log_output import configure, reopen
from proxy.base.sinks import DescriptorSink, FileSink, Sink
from proxy.events.forms import FORMS, journal
from proxy.metrics.book import BOOK
from proxy.metrics.table import LOGGED
from proxy.options.core import CoreOptions
from proxy.server.generation import Child
from proxy.server.orders import REOPEN

STDERR = 2


log = get_logger()

LOG_EVENTS: Counting = (
    BOOK,
    {
        level: {each.split()[1]: at for each, at in LOGGED.table().items() if each.split()[0] == level}
        for level in LEVELS
    },
)
"""Where each event of the log is counted."""

_opened: list[FileSink | JournalSink] = []
"""What this process, or the one that it is a fork of, logs to."""


def open_log(core: CoreOptions, *, worker: int | None = None, threaded: bool = True) -> None:
    """Log as the configuration says. If Log_File cannot be opened, log on standard error, and say so there."""
    failure: OSError | None = None
    try:
        sink = _sink(core, patient=threaded)
    except OSError as error:
        sink, failure = DescriptorSink(STDERR, patient=threaded), error
    _forget_the_previous(sink)
    configure(sink, levels=core.log_level, worker=worker, threaded=threaded, counting=LOG_EVENTS)
    _hear_libraries()
    if failure is not None:
        log.error("log_file_unusable", path=str(core.log_file), reason=failure.strerror or str(failure))


def reopen_logs(children: Iterable[Child]) -> None:
    """Open the log's file again in this process and its children."""
    reopen()
    for child in children:
        child.tell(REOPEN)


def usual_format() -> str:
    """Return the format that fits standard error: for a terminal, the journal, or a program."""
    if is_journal(STDERR, os.environ.get("JOURNAL_STREAM")) and Path(SOCKET).exists():  # a container may lack it
        return "journald"
    return "console" if os.isatty(STDERR) else "json"


def _sink(core: CoreOptions, *, patient: bool) -> Sink:
    chosen: str = core.log_format
    if core.log_file is not None:
        return FileSink(core.log_file, FORMS["json" if chosen == "auto" else chosen])
    if chosen == "auto":
        chosen = usual_format()
    if chosen == "journald":
        return JournalSink(journal)
    return DescriptorSink(STDERR, FORMS[chosen], patient=patient)


def _forget_the_previous(sink: Sink) -> None:
    for each in _opened:
        each.close()
    _opened[:] = [sink] if isinstance(sink, FileSink | JournalSink) else []


class _Libraries(logging.Handler):
    """Makes events of what libraries log, so that the whole log has one format."""

    def emit(self, record: logging.LogRecord) -> None:
        """Log one."""
        text = printable(record.getMessage(), 1000)
        failed = {"exc_info": record.exc_info} if record.exc_info else {}
        if record.levelno >= logging.ERROR:
            log.error("library_message", library=record.name, text=text, **failed)
        else:
            log.warning("library_message", library=record.name, text=text, **failed)


def _hear_libraries() -> None:
    logging.captureWarnings(capture=True)
    logging.basicConfig(handlers=[_Libraries()], level=logging.WARNING, force=True)
