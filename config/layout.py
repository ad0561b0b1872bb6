"""The layout of one value: on one line where it fits, else an item a line; comments inside keep their places.

A bracket stays open over lines where its author opened it over lines. Nesting is walked with a stack, never by recursion.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, field
from enum import Enum, auto

from config.diagnostics import Span
from config.nodes import Attributes, Dictionary, Entry, List, Scalar, String, Value, Word

WIDEST = 100
"""Columns of a line; a single word or string may be longer."""

INDENT = "  "


class Kind(Enum):
    """What a piece of a value does to its line."""

    SCALAR = auto()
    ATTRIBUTES = auto()
    KEY = auto()
    OPEN = auto()
    CLOSE = auto()


@dataclass(slots=True)
class Piece:
    """One piece of a value; an opening bracket knows how wide all of it is on one line, and whether it must not be."""

    kind: Kind
    text: str
    span: Span
    width: int = 0
    broken: bool = False


@dataclass(frozen=True, slots=True)
class Comment:
    """A comment; `own_line` says that nothing precedes it on its line."""

    text: str
    span: Span
    own_line: bool


def scalar_text(node: Scalar) -> str:
    """Return a word or a string as it is written."""
    return f"{node.quote}{node.raw}{node.quote}" if isinstance(node, String) else node.text


def attributes_text(node: Attributes) -> str:
    """Return attributes as they are written: `<proto=ipv4 status="disabled">`."""
    pairs = (f"{scalar_text(entry.key)}={_attribute_value(entry.value)}" for entry in node.entries)
    return f"<{' '.join(pairs)}>"


def _attribute_value(value: Value) -> str:
    return scalar_text(value) if isinstance(value, Word | String) else ""


def pieces_of(value: Value, comments: deque[Comment]) -> list[Piece]:
    """Return a value as pieces in their order, with the widths and breaks of its brackets."""
    pieces: list[Piece] = []
    opened: list[tuple[int, int]] = []
    pending: list[Value | Entry | Piece] = [value]
    while pending:
        node = pending.pop()
        if isinstance(node, Piece):
            pieces.append(node)
            if node.kind is Kind.CLOSE:
                _measure(pieces, *opened.pop(), comments)
        elif isinstance(node, Entry):
            pieces.append(Piece(Kind.KEY, f"{scalar_text(node.key)} =", node.key.span))
            pending.append(node.value)
        elif isinstance(node, Attributes):
            pieces.append(Piece(Kind.ATTRIBUTES, attributes_text(node), node.span))
        elif isinstance(node, List | Dictionary):
            opening, closing = ("(", ")") if isinstance(node, List) else ("[", "]")
            inner = node.items if isinstance(node, List) else node.entries
            opened.append((len(pieces), sum(len(piece.text) + 1 for piece in pieces)) if False else (len(pieces), 0))
            pieces.append(Piece(Kind.OPEN, opening, node.span))
            pending.append(Piece(Kind.CLOSE, closing, node.span))
            pending.extend(reversed(inner))
        else:
            pieces.append(Piece(Kind.SCALAR, scalar_text(node), node.span))
    return pieces
