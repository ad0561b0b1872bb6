"""The files that lists of Postfix and Exim name: plain text with a key, or an item, on each line."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

from config.base.regular_files import open_regular

_MOST_OCTETS = 8 << 20
"""Of one file: enough for a hundred thousand domains."""

_MOST_FILES = 1000
"""Files that one configuration may name: files that name each other twice could be read endlessly."""

_MOST_NAMES = 100_000
"""Files of one folder."""


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
    except ValueError:
        raise Absent(f"{str(path)!r} is not a path") from None
    if len(octets) > _MOST_OCTETS:
        raise Absent(f"{path} is larger than 8 MiB")
    return octets.decode("utf-8-sig", "replace")


def lines_of(text: str) -> Iterator[str]:
    """Yield lines as the servers see them: only a line feed ends one, while Python knows ten more ends."""
    return (line.removesuffix("\r") for line in text.split("\n"))


def _is_there(path: Path) -> bool:
    try:
        return path.exists()
    except OSError:  # a name that is too long
        return False


@dataclass(slots=True)
class Files:
    """The files that a configuration names.

    A file that is not at its place is looked for in the folder of the main file. So a copy of a server's folder can
    be read on another machine.
    """

    folder: Path
    _left: int = _MOST_FILES

    def _place(self, path: str) -> Path:
        named = self.folder / path
        beside = self.folder / named.name
        return beside if not _is_there(named) and _is_there(beside) else named

    def text(self, path: str) -> str:
        """Return a file's text.

        Raises:
            Absent: it cannot be read, or too many were read.
        """
        self._left -= 1
        if self._left < 0:
            raise Absent(f"more than {_MOST_FILES} files are named")
        return read_text(self._place(path))

    def names(self, path: str) -> list[str]:
        """Return the names of the files in a folder.

        Raises:
            Absent: it cannot be read.
        """
        place = self._place(path)
        try:
            return sorted(each.name for each in islice(place.iterdir(), _MOST_NAMES))
        except OSError as error:
            raise Absent(f"{place} cannot be read ({error.strerror})") from None
        except ValueError:
            raise Absent(f"{str(place)!r} is not a path") from None


def rows(text: str, *, comment: str = "#") -> list[tuple[str, str]]:
    """Return (key, value) of each line. Comments and empty lines are left out; an indented line continues a value."""
    found: list[tuple[str, str]] = []
    for line in lines_of(text):
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
