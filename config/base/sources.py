"""Read a file as a `Source`. The caller reports files that cannot be read."""

from __future__ import annotations

from pathlib import Path

from config.base.regular_files import read_regular
from config.diagnostics import Source


def read_source(path: Path) -> Source:
    """Read a file as UTF-8; invalid bytes become visible escapes.

    Raises:
        OSError: the file cannot be read.
    """
    text = read_regular(path).decode("utf-8", "backslashreplace").removeprefix("\ufeff")
    return Source(str(path), text)
