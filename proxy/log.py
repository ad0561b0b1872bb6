"""The log: structured events as JSON lines on standard error, one a line, every foreign byte escaped.

JSON's own escaping keeps control characters, ESC and bytes beyond ASCII out of a terminal; `printable` cuts what a
stranger sent to a length worth reading. Nothing here knows what an event means.
"""

from __future__ import annotations

import json
import logging
import sys
from typing import Any, TextIO

import structlog

LONGEST_FIELD = 250
"""Characters of a stranger's text that reach the log."""


def get_logger() -> structlog.typing.FilteringBoundLogger:
    """Return the logger; events are snake_case words, everything else goes into fields."""
    logger: structlog.typing.FilteringBoundLogger = structlog.get_logger()
    return logger


def configure(stream: TextIO | None = None, *, level: int = logging.INFO) -> None:
    """Send the log to `stream` (standard error unless given) as JSON lines."""
    structlog.configure(
        processors=[
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            structlog.processors.add_log_level,
            structlog.processors.format_exc_info,
            structlog.processors.JSONRenderer(serializer=_ENCODER.encode_with),
        ],
        wrapper_class=structlog.make_filtering_bound_logger(level),
        logger_factory=structlog.WriteLoggerFactory(stream or sys.stderr),
        cache_logger_on_first_use=True,
    )


def printable(foreign: str | bytes, longest: int = LONGEST_FIELD) -> str:
    """Return a stranger's text as printable ASCII, cut at `longest` characters."""
    text = foreign.decode("ascii", "backslashreplace") if isinstance(foreign, bytes) else foreign
    text = text[: longest + 1]
    if not (text.isascii() and text.isprintable()):
        text = text.encode("unicode_escape", "backslashreplace").decode("ascii")
    return text if len(text) <= longest else text[: longest - 3] + "..."


class _Encoder(json.JSONEncoder):
    """One encoder for the process: building one for each event costs more than the encoding."""

    def default(self, o: object) -> str:
        return printable(repr(o))

    def encode_with(self, event: dict[str, Any], **_options: object) -> str:
        return self.encode(event)


_ENCODER = _Encoder(check_circular=False)
