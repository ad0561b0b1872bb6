"""The standard layout of a script, for `sieve format`.

Tokens and comments keep their order: one statement per line, two spaces of indent per block, one space between words.
A line break inside a statement stays, indented twice. Several empty lines become one. Strings, text blocks and comments
do not change. Formatting a formatted script changes nothing.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from config.diagnostics import Diagnostic, Source, has_errors
from sieve.syntax.lexer import ScriptLexer, TokenKind
from sieve.syntax.parser import parse

_INDENT = "  "


@dataclass(frozen=True, slots=True)
class _Piece:
    """A token or comment as written in the source."""

    text: str
    kind: TokenKind | None
    breaks: int
    """The number of line breaks before it in the source."""

    @property
    def is_comment(self) -> bool:
        return self.kind is None

    @property
    def is_block(self) -> bool:
        """Whether it is a `text:` block, whose end takes a whole line."""
        return self.kind is TokenKind.TEXT and not self.text.startswith('"')


def format_text(
    source: Source, parse: Callable[[Source], tuple[object, list[Diagnostic]]] = parse
) -> tuple[str | None, tuple[Diagnostic, ...]]:
    """Return the formatted script and its diagnostics; None instead of the script if it has syntax errors.

    `parse` is the dialect's.
    """
    _, diagnostics = parse(source)
    if has_errors(diagnostics):
        return None, tuple(diagnostics)
    return _Layout().run(_pieces(source)), tuple(diagnostics)


def _pieces(source: Source) -> list[_Piece]:
    lexed = ScriptLexer(source).run()
    places = [(token.start, token.end, token.kind) for token in lexed.tokens if token.kind is not TokenKind.END]
    every: list[tuple[int, int, TokenKind | None]] = [*places, *((start, end, None) for start, end in lexed.comments)]
    pieces: list[_Piece] = []
    at = 0
    for start, end, kind in sorted(every, key=lambda span: span[0]):
        ended = 1 if pieces and pieces[-1].is_block else 0
        text = source.text[start:end].replace("\r\n", "\n")
        breaks = source.text.count("\n", at, start) + ended
        pieces.append(_Piece(text.rstrip("\n") if kind is TokenKind.TEXT else text.rstrip(), kind, breaks))
        at = end
    return pieces


class _Layout:
    """Writes pieces into lines, which `run` returns."""

    def __init__(self) -> None:
        self._lines: list[str] = []
        self._line = ""
        self._depth = 0
        self._inside = False
        """Whether a statement has begun but not ended."""

    def run(self, pieces: list[_Piece]) -> str:
        last: _Piece | None = None
        for piece in pieces:
            self._before(piece, last)
            self._write(piece, last)
            last = piece
        self._flush()
        return "\n".join(self._lines) + "\n" if self._lines else ""

    def _flush(self) -> None:
        if self._line:
            self._lines.append(self._line.rstrip())
        self._line = ""

    def _before(self, piece: _Piece, last: _Piece | None) -> None:
        """Start a new line if the piece needs one; reduce several empty lines to one."""
        if last is None:
            return
        if piece.is_comment and not piece.breaks:
            return
        follows_block = last.is_block and piece.text not in {";", ","}
        new_line = not self._inside or piece.breaks or (last.is_comment and last.text.startswith("#")) or last.is_block
        if piece.text in {"elsif", "else"} and last.text == "}":
            return
        if piece.text in {"{", ";", ",", ")", "]"} and not last.is_comment and not last.is_block:
            return
        if new_line or follows_block:
            self._flush()
            if piece.breaks > 1 and not self._inside and last.text != "{" and piece.text != "}":
                self._lines.append("")

    def _write(self, piece: _Piece, last: _Piece | None) -> None:
        if piece.text == "}" and piece.kind is TokenKind.MARK:
            self._depth = max(0, self._depth - 1)
        if not self._line:
            alone = piece.text in {";", ","} and last is not None and last.is_block
            extra = 2 if self._inside and not piece.is_comment and not alone else 0
            self._line = _INDENT * (0 if alone else self._depth + extra)
        elif _spaced(last, piece):
            self._line += "  " if piece.is_comment else " "
        self._line += piece.text
        if piece.is_block:
            self._flush()
        if not piece.is_comment:
            self._after(piece)

    def _after(self, piece: _Piece) -> None:
        """Record whether the piece ends its statement or opens a block."""
        self._inside = not (piece.kind is TokenKind.MARK and piece.text in {"{", "}", ";"})
        if piece.kind is TokenKind.MARK and piece.text == "{":
            self._depth += 1


def _spaced(last: _Piece | None, piece: _Piece) -> bool:
    """Tell whether two pieces on the same line need a space between them."""
    if last is None or piece.is_comment or last.is_comment:
        return last is not None
    if piece.kind is TokenKind.MARK and piece.text in {";", ",", ")", "]"}:
        return False
    if last.kind is TokenKind.MARK and last.text in {"(", "["}:
        return False
    return not (piece.text == "[" and (last.kind is TokenKind.VARIABLE or last.text == "]"))
