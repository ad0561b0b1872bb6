"""Reading what an operator wrote: a file as a `Source`. The errors of a file that cannot be read are the caller's."""

from __future__ import annotations

from pathlib import Path

from config.base.regular_files import read_regular
from config.diagnostics import Source


def read_source(path: Path) -> Source:
    """Read a file as UTF-8; bytes that are not UTF-8 stay visible as escapes.

    Raises:
        OSError: the file cannot be read.
    """
    text = read_regular(path).decode("utf-8", "backslashreplace").removeprefix("\ufeff")
    return Source(str(path), text)
