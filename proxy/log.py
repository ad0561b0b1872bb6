"""The log: structured events as JSON lines on standard error, one a line, every foreign byte escaped.

JSON's own escaping keeps control characters, ESC and bytes beyond ASCII out of a terminal; `printable` cuts what a
stranger sent to a length worth reading. Nothing here knows what an event means.
"""

from __future__ import annotations

import atexit
import json
import logging
import queue
import sys
import threading
import time
from contextlib import suppress
from typing import Any, TextIO, cast

import structlog

MOST_WAITING = 10_000
"""Lines that wait for the thread that writes them; what comes then is dropped and counted."""

BATCH_SECONDS = 0.005
"""Lines that come within so long of others are written together."""

LAST_SECONDS = 2.0
"""For the lines that wait at exit."""

LONGEST_FIELD = 250
"""Characters of a stranger's text that reach the log."""


def get_logger() -> structlog.typing.FilteringBoundLogger:
    """Return the logger; events are snake_case words, everything else goes into fields."""
    logger: structlog.typing.FilteringBoundLogger = structlog.get_logger()
    return logger


def configure(stream: TextIO | None = None, *, level: int = logging.INFO) -> None:
    """Send the log to `stream` (standard error unless given) as JSON lines, written by a thread of its own."""
    structlog.configure(
        processors=[
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            structlog.processors.add_log_level,
            structlog.processors.format_exc_info,
            structlog.processors.JSONRenderer(serializer=_ENCODER.encode_with),
        ],
        wrapper_class=structlog.make_filtering_bound_logger(level),
        logger_factory=structlog.WriteLoggerFactory(cast(TextIO, LogWriter(stream or sys.stderr))),
        cache_logger_on_first_use=True,
    )


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
            self._write("".join(lines))
            quiet_from = time.monotonic() + BATCH_SECONDS

    def _write(self, text: str) -> None:
        try:
            self._stream.write(text)
            self._stream.flush()
        except (OSError, ValueError):  # ValueError: the stream was closed
            self.dropped += text.count("\n")


class _Encoder(json.JSONEncoder):
    """One encoder for the process: building one for each event costs more than the encoding."""

    def default(self, o: object) -> str:
        return printable(repr(o))

    def encode_with(self, event: dict[str, Any], **_options: object) -> str:
        return self.encode(event)


_ENCODER = _Encoder(check_circular=False)
