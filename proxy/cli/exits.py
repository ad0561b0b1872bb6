"""Exit codes of sysexits(3), and how diagnostics reach the operator, wherever the standard streams lead."""

from __future__ import annotations

import os
import pwd
import sys
from collections.abc import Sequence
from typing import TextIO

from config.diagnostics import Diagnostic, render

USAGE = 64
SCRIPT = 65
NO_INPUT = 66
UNAVAILABLE = 69
CONFIGURATION = 78


def show(diagnostics: Sequence[Diagnostic]) -> None:
    """Print diagnostics on standard error; where that cannot be written, as on a full disk, they are lost."""
    try:
        sys.stderr.write(render(diagnostics))
        sys.stderr.flush()
    except OSError:
        sys.stderr = _on_descriptor(2)  # the other one keeps what it could not write, and fails for ever


def open_streams() -> None:
    """Open /dev/null for the standard streams that are closed: a socket would get their number, and the log's lines."""
    for number in (0, 1, 2):
        try:
            os.fstat(number)
        except OSError:
            os.open(os.devnull, os.O_RDWR)  # takes the lowest number that is free
    if sys.stderr is None:
        sys.stderr = _on_descriptor(2)


def user() -> str:
    """Return the user of this process, whose rights decide what it can read."""
    uid = os.geteuid()
    try:
        return f"{pwd.getpwuid(uid).pw_name} (uid {uid})"
    except KeyError:  # a container's user need not have a name
        return f"uid {uid}"


def _on_descriptor(number: int) -> TextIO:
    return open(number, "w", encoding="utf-8", errors="backslashreplace", closefd=False)
