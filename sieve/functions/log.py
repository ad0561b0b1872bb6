"""Writing to the log."""

from __future__ import annotations

from sieve.library import Lines, sieve_function
from sieve.runtime import Frame

LONGEST_LOG_LINE = 1972
"""Characters of one `ec_log` line; Momentum cuts there."""


@sieve_function()
def ec_log(frame: Frame, message: Lines) -> None:
    """Write one line to the log, cut at 1972 characters."""
    frame.host.log(message.replace("\n", " ")[:LONGEST_LOG_LINE])
