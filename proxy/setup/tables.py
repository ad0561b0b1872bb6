"""The files that lists of Postfix and Exim name: plain text with a key, or an item, on each line."""

from __future__ import annotations

from pathlib import Path

from config.base.regular_files import open_regular

_MOST_OCTETS = 8 << 20
"""Of one file: enough for a hundred thousand domains."""


class Absent(Exception):
    """A file that cannot be read; the text says why."""


def read_text(path: Path) -> str:
    """Return a file's text. Octets that are not UTF-8 are replaced: they are in comments, or useless.

    Raises:
        Absent: it is missing, too large, or no plain file.
    """
    try:
        with open_regular(path) as file:
            octets = file.read(_MOST_OCTETS + 1)
    except FileNotFoundError:
        raise Absent(f"{path} is not there") from None
    except OSError as error:
        raise Absent(f"{path} cannot be read ({error.strerror})") from None
    if len(octets) > _MOST_OCTETS:
        raise Absent(f"{path} is larger than 8 MiB")
    return octets.decode("utf-8", "replace")


def found_beside(path: str, folder: Path) -> Path:
    """Return the file that a server names; if it is not there, the one of that name in the folder of the main file.

    So a copy of a server's folder can be read on another machine.
    """
    named = folder / path
    beside = folder / named.name
    return beside if not named.exists() and beside.exists() else named


def rows(text: str, *, comment: str = "#") -> list[tuple[str, str]]:
    """Return (key, value) of each line. Comments and empty lines are left out; an indented line continues a value."""
    found: list[tuple[str, str]] = []
    for line in text.splitlines():
        if not line.strip() or line.lstrip().startswith(comment):
            continue
        if line[0].isspace() and found:
            key, value = found[-1]
            found[-1] = (key, f"{value} {line.strip()}".strip())
            continue
        key, _, value = (
            line.strip().partition(" ") if "\t" not in line else line.strip().replace("\t", " ").partition(" ")
        )
        found.append((key, value.strip()))
    return found
