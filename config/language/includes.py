"""Read files, and replace each `include` with the included statements.

A relative path is searched in the including file's folder first, then in the search folders. Including a folder
includes its files in lexical order, without dot files and subfolders. Nothing is fetched over a network.
"""

from __future__ import annotations

import errno
import os
import re
import stat
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from config.base.sources import read_source
from config.diagnostics import Note, Source, Span
from config.findings import Findings
from config.language import errors
from config.language.nodes import Include, Stanza, Statement
from config.language.parser import parse

LARGEST_FILE = 4 << 20
"""Maximum bytes of one file; the largest configuration we have seen has about 10,000 lines, 400 KiB."""

LARGEST_IN_ALL = 16 << 20
"""Maximum bytes of all files together."""

MOST_FILES = 1000
"""Maximum files of one configuration, counting each inclusion: includes can double at every level."""

_URI = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*://")


@dataclass(frozen=True, slots=True)
class _File:
    """A file of an included folder."""

    path: Path
    span: Span


@dataclass(slots=True)
class _Level:
    """One list being copied: a file's statements, a folder's files, or the body of a stanza that includes something."""

    statements: Iterator[Statement | _File]
    copied: list[Statement] = field(default_factory=list)
    file: str | None = None
    included_at: Span | None = None
    stanza: Stanza | None = None


class Files:
    """Reads a configuration and its includes."""

    def __init__(self, findings: Findings, search: Sequence[Path] = ()) -> None:
        """Report to `findings`; search relative includes in `search` after the including file's folder."""
        self.sources: list[Source] = []
        self._findings = findings
        self._search = tuple(search)
        self._levels: list[_Level] = []
        self._bytes = 0

    def read(self, path: Path) -> tuple[Statement, ...]:
        """Return the statements of a file with all includes expanded."""
        self._enter(path, None, (str(path),))
        done: list[Statement] = []
        while self._levels:
            level = self._levels[-1]
            statement = next(level.statements, None)
            if statement is None:
                done = self._leave()
            elif isinstance(statement, Include):
                self._include(statement)
            elif isinstance(statement, _File):
                self._enter(statement.path, statement.span, (str(statement.path),))
            elif isinstance(statement, Stanza) and _includes(statement):
                self._levels.append(_Level(iter(statement.body), stanza=statement))
            else:
                level.copied.append(statement)
        return tuple(done)

    def _leave(self) -> list[Statement]:
        level = self._levels.pop()
        if not self._levels:
            return level.copied
        outer = self._levels[-1].copied
        if level.stanza is None:
            outer.extend(level.copied)
        else:
            stanza = level.stanza
            outer.append(Stanza(stanza.head, stanza.attributes, tuple(level.copied), stanza.span, stanza.head_span))
        return outer

    def _include(self, include: Include) -> None:
        target, span = include.target.text, include.target.span
        if "\0" in target:
            self._findings.add(errors.cannot_read(target, "no path holds a zero byte", span))
            return
        if _URI.match(target):
            self._findings.add(errors.include_from_elsewhere(target, span))
            return
        tried = [folder / target for folder in (Path(span.source.name).parent, *self._search)]
        chosen = next((path for path in tried if os.path.exists(path)), tried[0])  # noqa: PTH110  # never raises
        if not os.path.isdir(chosen):  # noqa: PTH112  # never raises
            self._enter(chosen, span, [str(path) for path in tried])
            return
        try:
            paths = sorted(path for path in chosen.iterdir() if path.is_file() and not path.name.startswith("."))
        except OSError as failure:
            self._findings.add(errors.cannot_read(str(chosen), failure.strerror or str(failure), span))
            return
        self._levels.append(_Level(iter([_File(path, span) for path in paths])))

    def _enter(self, path: Path, span: Span | None, tried: Sequence[str]) -> None:
        """Parse a file and start copying it, unless it is unreadable or already being read."""
        real = os.path.realpath(path)
        if span is not None and self._is_open(path, real, span):
            return
        if span is not None and len(self.sources) >= MOST_FILES:
            self._findings.add(errors.too_many_files(MOST_FILES, span))
            return
        try:
            source = self._open(path, span)
        except (OSError, ValueError) as failure:
            reason = (failure.strerror if isinstance(failure, OSError) else None) or str(failure)
            self._findings.add(errors.cannot_read(str(path), reason, span, tried))
            return
        if source is not None:
            self.sources.append(source)
            self._levels.append(_Level(iter(parse(source, self._findings).statements), file=real, included_at=span))

    def _open(self, path: Path, span: Span | None) -> Source | None:
        """Read a file; None if it is too large, which is reported."""
        status = path.stat()
        if stat.S_ISDIR(status.st_mode):
            raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR), str(path))
        if not stat.S_ISREG(status.st_mode):
            raise ValueError("it is neither a file nor a folder")
        largest = min(LARGEST_FILE, LARGEST_IN_ALL - self._bytes)
        if status.st_size > largest:
            self._findings.add(errors.too_large(str(path), status.st_size, largest, span))
            return None
        self._bytes += status.st_size
        return read_source(path)

    def _is_open(self, path: Path, real: str, span: Span) -> bool:
        """Report a file that includes itself, with the chain of files from it back to it."""
        chain = [level for level in self._levels if level.file is not None]
        first = next((index for index, level in enumerate(chain) if level.file == real), None)
        if first is None:
            return False
        places = [level.included_at for level in chain[first + 1 :] if level.included_at is not None]
        names = [*(place.source.name for place in (*places, span)), str(path)]
        notes = tuple(Note("included here", place) for place in places)
        self._findings.add(errors.include_cycle(names, span, notes))
        return True


def _includes(stanza: Stanza) -> bool:
    """Return whether a stanza contains an include, at any depth."""
    pending = [stanza]
    while pending:
        for statement in pending.pop().body:
            if isinstance(statement, Include):
                return True
            if isinstance(statement, Stanza):
                pending.append(statement)
    return False
