"""Writing to logs, and counting."""

from __future__ import annotations

from sieve.library import FilePath, Lines, sieve_function
from sieve.run import reasons
from sieve.run.runtime import NO_REPLY, Frame
from sieve.run.values import ScriptError, flat

LONGEST_LOG_LINE = 1972
"""Characters of one `ec_log` line; Momentum cuts there."""


@sieve_function()
def ec_log(frame: Frame, message: Lines) -> None:
    """Write one line to the log, cut at 1972 characters."""
    frame.host.log(flat(message)[:LONGEST_LOG_LINE])


@sieve_function()
async def ec_log_file(frame: Frame, file_uri: FilePath, arbitrary_text: Lines) -> None:
    """Append a line to a file. A failure to write is a run-time error.

    What comes into the path from the session or the message may name a file, and no folder: `/` and `..` in it are a
    run-time error. Constants and `ec_config` may hold them, also by way of a variable.
    """
    if "://" in file_uri or not file_uri.startswith("/"):
        raise ScriptError(reasons.not_a_log_file(file_uri))
    await frame.host.control.write_line(file_uri, flat(arbitrary_text))


@sieve_function()
def ec_inc_counter(frame: Frame, counter: str) -> None:
    """Increase a counter. By convention its name is a category, a colon and a description."""
    frame.count(NO_REPLY, counter)


@sieve_function(choices={"mode": ("fail", "continue")})
def ec_error_mode(frame: Frame, mode: str) -> None:
    """Say what follows a run-time error from here on: `"fail"`, a transient reply, or `"continue"`."""
    if mode == "fail":
        frame.mode = "fail"
    elif mode == "continue":
        frame.mode = "continue"
    else:
        raise ScriptError(reasons.unknown_error_mode(mode))
