"""Write to logs and count."""

from __future__ import annotations

from sieve.library import FilePath, Lines, sieve_function
from sieve.run import reasons
from sieve.run.runtime import NO_REPLY, Frame
from sieve.run.values import ScriptError, flat

LONGEST_LOG_LINE = 1972
"""Maximum characters of one `ec_log` line, as in Momentum."""


@sieve_function()
def ec_log(frame: Frame, message: Lines) -> None:
    """Write one line to the log, truncated to 1972 characters."""
    frame.host.log(flat(message)[:LONGEST_LOG_LINE])


@sieve_function()
async def ec_log_file(frame: Frame, file_uri: FilePath, arbitrary_text: Lines) -> None:
    """Append a line to a file. A failed write is a run-time error.

    Text from the session or the message can be part of the file name, but `/` or `..` in such text is a run-time error.
    Constants and values from `ec_config` can contain them, even in a variable.
    """
    if "://" in file_uri or not file_uri.startswith("/"):
        raise ScriptError(reasons.not_a_log_file(file_uri))
    await frame.host.control.write_line(file_uri, flat(arbitrary_text))


@sieve_function()
def ec_inc_counter(frame: Frame, counter: str) -> None:
    """Increase a counter. By convention, its name is a category, a colon and a description."""
    frame.count(NO_REPLY, counter)


@sieve_function(choices={"mode": ("fail", "continue")})
def ec_error_mode(frame: Frame, mode: str) -> None:
    """Set what later run-time errors do: `"fail"` gives a transient reply, `"continue"` runs the next statement."""
    if mode == "fail":
        frame.mode = "fail"
    elif mode == "continue":
        frame.mode = "continue"
    else:
        raise ScriptError(reasons.unknown_error_mode(mode))
