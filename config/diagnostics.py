"""Diagnostics: where an error is, and how to print it.

Both languages, ecelerity.conf and Sieve, report through this module. It depends on neither: each message is worded by
the package that found the error. Passwords in quoted lines are masked.
"""

from __future__ import annotations

import bisect
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from enum import StrEnum

from config.masking import MASK, hidden_in, masked, merged, without

LONGEST_LINE_SHOWN = 120
"""Maximum characters printed of a source line; a longer line is cut around the caret."""

MOST_SHOWN = 50
"""Maximum diagnostics printed in one run; a last line counts the rest."""


NOT_ENFORCED = "not_enforced"
"""The code of a warning about what Momentum enforces and Ringback does not: `check --strict` fails on it."""


class Severity(StrEnum):
    """An error keeps Ringback from starting; a warning does not."""

    ERROR = "error"
    WARNING = "warning"


@dataclass(frozen=True, slots=True, eq=False)
class Source:
    """A text that an operator wrote, and the name to print for it."""

    name: str
    text: str
    _line_starts: list[int] = field(init=False, repr=False)
    _secrets: list[tuple[int, int]] = field(init=False, repr=False, default_factory=list)

    def __post_init__(self) -> None:
        """Index the line starts, so that finding a position is one bisection."""
        starts = [0]
        find = self.text.find
        at = find("\n")
        while at >= 0:
            starts.append(at + 1)
            at = find("\n", at + 1)
        object.__setattr__(self, "_line_starts", starts)

    def position(self, offset: int) -> tuple[int, int]:
        """Return (line, column) of a character offset, both counted from 1."""
        line = bisect.bisect_right(self._line_starts, offset)
        return line, offset - self._line_starts[line - 1] + 1

    def line(self, number: int) -> str:
        """Return line `number` (from 1) without its line break."""
        start = self._line_starts[number - 1]
        end = self._line_starts[number] - 1 if number < len(self._line_starts) else len(self.text)
        return self.text[start:end].removesuffix("\r")

    def hide(self, start: int, end: int) -> None:
        """Never show these characters: they are secret."""
        if (start, end) not in self._secrets:  # a configuration is bound again for each setting of the console
            self._secrets.append((start, end))

    def hidden(self, number: int) -> list[tuple[int, int]]:
        """Return the hidden ranges of line `number`, in order, relative to the line's start."""
        first, text = self._line_starts[number - 1], self.line(number)
        declared = [(max(0, start - first), min(len(text), end - first)) for start, end in self._secrets]
        return merged([*hidden_in(text), *declared])


@dataclass(frozen=True, slots=True, eq=False)
class Span:
    """A range of a source: `start` inclusive, `end` exclusive, in characters."""

    source: Source
    start: int
    end: int

    @property
    def text(self) -> str:
        """The characters of the span."""
        return self.source.text[self.start : self.end]

    @property
    def line(self) -> int:
        """The line of the first character, from 1."""
        return self.source.position(self.start)[0]

    @property
    def column(self) -> int:
        """The column of the first character, from 1."""
        return self.source.position(self.start)[1]

    def __str__(self) -> str:
        """Return `file:line:column`."""
        line, column = self.source.position(self.start)
        return f"{self.source.name}:{line}:{column}"

    def to(self, other: Span) -> Span:
        """Return the span from the start of this one to the end of `other`, in the same source."""
        return Span(self.source, self.start, max(self.end, other.end))


@dataclass(frozen=True, slots=True)
class Note:
    """A second place that explains a diagnostic, such as where an option was set first."""

    message: str
    span: Span


@dataclass(frozen=True, slots=True)
class Diagnostic:
    """One error: what is wrong, where, and what to write instead."""

    message: str
    span: Span | None = None
    hint: str | None = None
    severity: Severity = Severity.ERROR
    notes: tuple[Note, ...] = ()
    code: str = ""
    """Names the kind of diagnostic for programs, such as `NOT_ENFORCED`; empty for most."""

    @property
    def is_error(self) -> bool:
        """Whether Ringback cannot start with it."""
        return self.severity is Severity.ERROR


def has_errors(diagnostics: Iterable[Diagnostic]) -> bool:
    """Return whether any of them is an error."""
    return any(found.is_error for found in diagnostics)


def in_order(diagnostics: Iterable[Diagnostic]) -> list[Diagnostic]:
    """Sort by place, with sources in the order of their first diagnostic. Diagnostics without a place come first."""
    listed = list(diagnostics)
    order: dict[int, int] = {}
    for diagnostic in listed:
        if diagnostic.span is not None:
            order.setdefault(id(diagnostic.span.source), len(order))

    def place(diagnostic: Diagnostic) -> tuple[int, int]:
        return (-1, 0) if diagnostic.span is None else (order[id(diagnostic.span.source)], diagnostic.span.start)

    return sorted(listed, key=place)


def render(diagnostics: Sequence[Diagnostic], limit: int = MOST_SHOWN) -> str:
    """Return the diagnostics as text, sorted by place, at most `limit`. It ends with a line break unless empty."""
    ordered = in_order(diagnostics)
    blocks = [render_one(each) for each in ordered[:limit]]
    if len(ordered) > limit:
        blocks.append(f"... and {len(ordered) - limit} more\n")
    return "".join(blocks)


def render_one(diagnostic: Diagnostic) -> str:
    """Return `file:line:column: severity: message`, the line, a caret under the place, notes and the hint."""
    if diagnostic.span is None:
        lines = [_printable(f"{diagnostic.severity}: {masked(diagnostic.message)}")]
    else:
        head = f"{diagnostic.span}: {diagnostic.severity}: {masked(diagnostic.message)}"
        lines = [_printable(head), *_excerpt(diagnostic.span)]
    for note in diagnostic.notes:
        lines += [_printable(f"{note.span}: note: {masked(note.message)}"), *_excerpt(note.span)]
    if diagnostic.hint is not None:
        lines.append(_printable(f"  hint: {masked(diagnostic.hint)}"))
    return "\n".join(lines) + "\n"


def quoted_line(span: Span) -> str:
    """Return the line where a span begins, with secrets masked."""
    number = span.source.position(span.start)[0]
    return without(span.source.line(number), span.source.hidden(number))


def _excerpt(span: Span) -> list[str]:
    """Return the source line and the caret line below it."""
    number, column = span.source.position(span.start)
    text, hidden = span.source.line(number), span.source.hidden(number)
    first, last = column - 1, min(column - 1 + max(span.end - span.start, 1), max(len(text), column))
    first, last = _moved(first, hidden), _moved(last, hidden)
    text = without(text, hidden)
    skipped = 0
    if len(text) > LONGEST_LINE_SHOWN:
        skipped = max(0, min(first - LONGEST_LINE_SHOWN // 2, len(text) - LONGEST_LINE_SHOWN))
        text = text[skipped : skipped + LONGEST_LINE_SHOWN]
        first, last = first - skipped, min(last - skipped, LONGEST_LINE_SHOWN)
    shown, before = _printable(text), _printable(text[:first])
    marks = max(1, len(_printable(text[first:last])))
    gutter = f"{number:>5} | "
    lead = "..." if skipped else ""
    return [f"{gutter}{lead}{shown}".rstrip(), f"      | {' ' * (len(lead) + len(before))}^{'~' * (marks - 1)}"]


def _moved(column: int, hidden: Sequence[tuple[int, int]]) -> int:
    """Return the new position of a column after masking; a column inside a hidden range moves to the mask's edge."""
    by = 0
    for start, end in hidden:
        if column <= start:
            break
        by += len(MASK) - (end - start) if column >= end else start - column
    return column + by


def _printable(text: str) -> str:
    """Make text safe for a terminal and keep the caret's column: tabs become one blank, other unprintables escapes."""
    return "".join(
        char if char.isprintable() else " " if char == "\t" else char.encode("unicode_escape").decode() for char in text
    )
