"""Lay out one value: on one line if it fits, else one item per line. Comments inside keep their places.

A bracket that spans several lines keeps doing so. Nesting uses a stack, never recursion.
"""

from __future__ import annotations

from bisect import bisect_right
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, field
from enum import Enum, auto

from config.language.nodes import Attributes, Entry, List, Scalar, String, Value, Word

WIDEST = 100
"""Maximum columns of a line; a single word or string may be longer."""

INDENT = "  "


class BreakKind(Enum):
    """What a piece of a value does to the line."""

    SCALAR = auto()
    ATTRIBUTES = auto()
    KEY = auto()
    OPEN = auto()
    CLOSE = auto()


@dataclass(slots=True)
class LayoutPiece:
    """A piece of a value and its offset. A bracket has its one-line width, and whether it must be broken."""

    kind: BreakKind
    text: str
    start: int
    width: int = 0
    broken: bool = False


@dataclass(frozen=True, slots=True)
class Comment:
    """A comment; `own_line` if nothing precedes it on its line."""

    text: str
    start: int
    end: int
    own_line: bool


def scalar_text(node: Scalar) -> str:
    """Return a word or string as written."""
    return f"{node.quote}{node.raw}{node.quote}" if isinstance(node, String) else node.text


def attributes_text(node: Attributes) -> str:
    """Return attributes as written: `<proto=ipv4 status="disabled">`."""
    pairs = (f"{scalar_text(entry.key)}={_attribute_value(entry.value)}" for entry in node.entries)
    return f"<{' '.join(pairs)}>"


def _attribute_value(value: Value) -> str:
    return scalar_text(value) if isinstance(value, Word | String) else '""'


def flat_text(value: Value) -> str:
    """Return a value on one line."""
    return " ".join(piece.text for piece in _pieces(value, ()))


def lay_out(value: Value, head: str, indent: int, comments: deque[Comment]) -> list[str]:
    """Return the lines of `head value`, consuming the comments before the value's end."""
    inside = [comment.start for comment in comments if comment.start < value.span.end] if comments else []
    writer = _Writer(head, indent, comments)
    for piece in _pieces(value, inside):
        writer.put(piece)
    return writer.lines


def _pieces(value: Value, comments: Sequence[int]) -> list[LayoutPiece]:
    """Return a value as ordered pieces, with the widths and breaks of its brackets; `comments` are offsets."""
    pieces: list[LayoutPiece] = []
    opened: list[LayoutPiece] = []
    total = 0
    pending: list[Value | Entry | LayoutPiece] = [value]
    while pending:
        node = pending.pop()
        inner: Sequence[Value | Entry] = ()
        if isinstance(node, LayoutPiece):
            piece = node
        else:
            piece, inner = _piece(node, comments)
            if piece.kind is BreakKind.OPEN:
                piece.width = -total
                opened.append(piece)
                pending.append(LayoutPiece(BreakKind.CLOSE, ")" if piece.text == "(" else "]", node.span.end - 1))
        pieces.append(piece)
        total += len(piece.text) + 1
        if piece.kind is BreakKind.CLOSE:
            bracket = opened.pop()
            bracket.width += total - 1
            if bracket.broken and opened:
                opened[-1].broken = True
        elif "\n" in piece.text and opened:
            opened[-1].broken = True
        pending.extend(reversed(inner))
    return pieces


def _piece(node: Value | Entry, comments: Sequence[int]) -> tuple[LayoutPiece, Sequence[Value | Entry]]:
    start = node.span.start
    if isinstance(node, Entry):
        return LayoutPiece(BreakKind.KEY, f"{scalar_text(node.key)} =", start), (node.value,)
    if isinstance(node, Attributes):
        return LayoutPiece(BreakKind.ATTRIBUTES, attributes_text(node), start), ()
    if isinstance(node, Word | String):
        return LayoutPiece(BreakKind.SCALAR, scalar_text(node), start), ()
    inner: Sequence[Value | Entry] = node.items if isinstance(node, List) else node.entries
    first = inner[0].span.start if inner else start
    commented = bisect_right(comments, node.span.end) > bisect_right(comments, start)
    broken = commented or "\n" in node.span.source.text[start:first]
    return LayoutPiece(BreakKind.OPEN, "(" if isinstance(node, List) else "[", start, broken=broken), inner


@dataclass(slots=True)
class _Writer:
    """Builds the lines of one value; `brackets` records whether each open bracket is broken over lines."""

    head: str
    indent: int
    comments: deque[Comment]
    lines: list[str] = field(init=False)
    brackets: list[bool] = field(default_factory=list)
    previous: BreakKind = BreakKind.KEY

    def __post_init__(self) -> None:
        self.lines = [INDENT * self.indent + self.head]

    def put(self, piece: LayoutPiece) -> None:
        """Add a piece, on its own line if its bracket is broken."""
        commented = self._comments_before(piece.start)
        if piece.kind is BreakKind.CLOSE:
            if self.brackets.pop():
                self._new_line(piece.text)
            else:
                self.lines[-1] += f" {piece.text}"
        elif self._begins_line(piece.kind):
            self._new_line(piece.text)
        elif commented:
            self._new_line(INDENT + piece.text)
        else:
            self.lines[-1] += f" {piece.text}"
        if piece.kind is BreakKind.OPEN:
            fits = len(self.lines[-1]) - len(piece.text) + piece.width <= WIDEST
            inside_one_line = bool(self.brackets) and not self.brackets[-1]
            self.brackets.append(not inside_one_line and (piece.broken or not fits))
        self.previous = piece.kind

    def _begins_line(self, kind: BreakKind) -> bool:
        if not self.brackets or not self.brackets[-1]:
            return False
        if kind in (BreakKind.KEY, BreakKind.SCALAR):
            return self.previous is not BreakKind.KEY
        return self.previous not in (BreakKind.KEY, BreakKind.SCALAR, BreakKind.ATTRIBUTES)

    def _new_line(self, text: str) -> None:
        depth = self.indent + sum(self.brackets)
        self.lines.append(INDENT * depth + text)

    def _comments_before(self, start: int) -> bool:
        seen = False
        while self.comments and self.comments[0].start < start:
            comment = self.comments.popleft()
            if comment.own_line or seen:
                self._new_line(comment.text)
            else:
                self.lines[-1] += f"  {comment.text}"
            seen = True
        return seen
