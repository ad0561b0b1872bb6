"""Exit codes of sysexits(3), and printing of diagnostics, even with broken standard streams."""

from __future__ import annotations

import os
import pwd
import signal
import sys
from collections.abc import Sequence
from contextlib import suppress
from io import BufferedWriter, FileIO, TextIOWrapper
from typing import Any, TextIO, cast

import typer

from config.diagnostics import Diagnostic, render

COMMAND_LINE = 2
"""The shells' status for a command line that cannot be understood."""
USAGE = 64
SCRIPT = 65
NO_INPUT = 66
UNAVAILABLE = 69
SOFTWARE = 70
CANNOT_CREATE = 73
CANNOT_WRITE = 74
CONFIGURATION = 78
INTERRUPTED = 128 + signal.SIGINT
"""The shell's exit status for a program killed by SIGINT."""
READER_GONE = 128 + signal.SIGPIPE
"""The shell's exit status for a program killed by SIGPIPE."""


def harmless(text: str) -> str:
    """Return text that a terminal shows and does not obey: control characters, bidi marks and the like are escaped."""
    if text.isascii() and text.replace("\n", "").replace("\t", "").isprintable():
        return text
    return "".join(
        char if char.isprintable() or char in "\n\t" else char.encode("unicode_escape").decode() for char in text
    )


def say(text: object, *, err: bool = False) -> None:
    """Print a line that may contain foreign text: names, values, words of servers."""
    typer.echo(harmless(str(text)), err=err)  # noqa: TID251 — the place that it means


def pour(text: str) -> None:
    """Print a file's text: unchanged into another file or a pipe, harmless on a terminal."""
    sys.stdout.write(harmless(text) if sys.stdout.isatty() else text)


def show(diagnostics: Sequence[Diagnostic]) -> None:
    """Print diagnostics on standard error. They are lost if that fails, for example on a full disk."""
    try:
        sys.stderr.write(render(diagnostics))
        sys.stderr.flush()
    except OSError:
        sys.stderr = _on_descriptor(2)  # the old one keeps its unwritten text and fails on every write


def open_streams() -> None:
    """Replace closed standard streams by /dev/null; otherwise a socket gets the number, and the log goes there."""
    for number in (0, 1, 2):
        try:
            os.fstat(number)
        except OSError:
            os.open(os.devnull, os.O_RDWR)  # takes the lowest free number
    if sys.stderr is None:
        sys.stderr = _on_descriptor(2)


class _Output(FileIO):
    """Standard output that ends the process without a traceback if a write fails.

    Every library that prints uses this layer. The interpreter uses it at exit.
    """

    def write(self, octets: Any, /) -> int:
        """Write, or exit at once: no further output can be shown."""
        try:
            return super().write(octets)
        except BrokenPipeError:
            os._exit(READER_GONE)
        except OSError as error:
            with suppress(OSError):
                os.write(2, f"standard output cannot be written: {error.strerror}\n".encode())
            os._exit(CANNOT_WRITE)


def end_with_output() -> None:
    """End this process quietly if the reader of its output exits, as `head` does."""
    if sys.stdout is None:
        return
    text = cast(TextIOWrapper, sys.stdout)
    text.flush()
    raw = BufferedWriter(_Output(1, "w", closefd=False))
    sys.stdout = TextIOWrapper(raw, text.encoding, "backslashreplace", None, text.line_buffering, text.write_through)


def user() -> str:
    """Return the user whose permissions decide which files this process can read."""
    uid = os.geteuid()
    try:
        return f"{pwd.getpwuid(uid).pw_name} (uid {uid})"
    except KeyError:  # a container's user may have no name
        return f"uid {uid}"


def _on_descriptor(number: int) -> TextIO:
    return open(number, "w", encoding="utf-8", errors="backslashreplace", closefd=False)
