"""The lines of a script around the one that decided."""

from __future__ import annotations

from pathlib import Path

from proxy.page.ladder import Excerpt, Line

LONGEST_SCRIPT = 1 << 20
"""Octets of a script that is read."""

LONGEST_LINE = 300
"""Characters of a line that are shown."""

AROUND = 2
"""Lines that are shown before and after it."""


def excerpt(place: str, at: int) -> Excerpt | None:
    """Return what is at `FILE:LINE` now; None if it cannot be read. `at` is when it decided, in milliseconds."""
    file, _, written = place.rpartition(":")
    path = Path(file)
    try:
        if not path.is_file() or path.stat().st_size > LONGEST_SCRIPT:
            return None
        lines = path.read_text("utf-8", "backslashreplace").splitlines()
        number, changed = int(written), path.stat().st_mtime * 1000 > at
    except (OSError, ValueError):
        return None
    if not 0 < number <= len(lines):
        return None
    first = max(1, number - AROUND)
    shown = enumerate(lines[first - 1 : number + AROUND], first)
    return Excerpt(path.name, [Line(at, text[:LONGEST_LINE], at == number) for at, text in shown], changed)
