r"""Characters to tokens.

    token    = word | tag | variable | number | string | block | mark
    word     = letter { letter | digit | "_" }
    tag      = ":" word
    variable = "$" word
    number   = ["-"] digits ["." digits] ["K" | "M" | "G"]
    string   = '"' { any | "\" any } '"'            (a backslash and a character give that character)
    block    = "text:" rest of line, lines, "." alone  (a line's first of two dots is removed)
    mark     = "{" | "}" | "(" | ")" | "[" | "]" | "," | ";" | "="

Spaces, `# …` and `/* … */` separate tokens and are dropped; a space is only needed if the text is ambiguous without it.
One regular expression finds each token, so hostile input costs time linear in its length, and no stack.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from enum import Enum, auto
from typing import NamedTuple

from config.diagnostics import Diagnostic, Source, Span
from sieve import errors

_FACTOR = {"": 1, "K": 1 << 10, "M": 1 << 20, "G": 1 << 30}
LARGEST_NUMBER = (1 << 63) - 1
"""Numbers have 64 bits, as in Momentum."""

LARGEST_UNSIGNED = (1 << 64) - 1
"""Standard Sieve has no negative numbers."""

_LONGEST_NUMBER = 40
"""Maximum digits; a longer number is always out of range."""


class TokenKind(Enum):
    """The kind of a token."""

    WORD = auto()
    TAG = auto()
    VARIABLE = auto()
    NUMBER = auto()
    TEXT = auto()
    MARK = auto()
    END = auto()


class ScriptToken(NamedTuple):
    """A token. `value` is the name, the number, the string's text, or the mark."""

    kind: TokenKind
    start: int
    end: int
    value: str | int | float
    leads: bool
    """Whether it is the first token on its line."""


@dataclass(slots=True)
class Tokens:
    """The lexer's result: tokens with a final END, comments for the formatter, and diagnostics."""

    tokens: list[ScriptToken] = field(default_factory=list)
    comments: list[tuple[int, int]] = field(default_factory=list)
    diagnostics: list[Diagnostic] = field(default_factory=list)
    cut: bool = False
    """Whether an unclosed token swallowed the end, so that errors there are only consequences."""


_TOKEN = re.compile(
    r"""
      (?P<blank>[ \t\r\n\f\v]+)
    | (?P<comment>\#[^\n]*|/\*.*?\*/)
    | (?P<open_comment>/\*)
    | (?P<block>(?i:text):[ \t]*(?:\#[^\n]*)?\r?\n)
    | (?P<word>[A-Za-z_][A-Za-z0-9_]*)
    | (?P<tag>:[A-Za-z_][A-Za-z0-9_]*)
    | (?P<variable>\$[A-Za-z_][A-Za-z0-9_]*)
    | (?P<number>-?[0-9]+(?:\.[0-9]+)?[KMGkmg]?(?![A-Za-z0-9_.]))
    | (?P<bad_number>-?[0-9][A-Za-z0-9_.]*)
    | (?P<string>"[^"\\]*+(?:\\.[^"\\]*+)*")
    | (?P<open_string>")
    | (?P<mark>[{}()\[\],;=])
    | (?P<curly>[\u201c\u201d\u201e\u2018\u2019`'][^"\u201c\u201d\u2018\u2019`'\n]*[\u201c\u201d\u2018\u2019`'])
    | (?P<stranger>[^ \t\r\n\f\vA-Za-z0-9_":$/{}()\[\],;=\#-]+)
    | (?P<rest>.)
    """,
    re.VERBOSE | re.DOTALL,
)
_BLOCK_END = re.compile(r"^\.[ \t]*\r?(?:\n|\Z)", re.MULTILINE)
_ESCAPE = re.compile(r"\\(.)", re.DOTALL)
_JOINING = frozenset({"&&", "||"})
_WORDLIKE = {"word": TokenKind.WORD, "tag": TokenKind.TAG, "variable": TokenKind.VARIABLE}
_SKIP = {TokenKind.WORD: 0, TokenKind.TAG: 1, TokenKind.VARIABLE: 1}


class ScriptLexer:
    """Splits one source into tokens, which `run` returns."""

    def __init__(self, source: Source, largest: int = LARGEST_NUMBER) -> None:
        self._source = source
        self._largest = largest
        self._found = Tokens()
        self._leads = True
        self._stray: Span | None = None
        """The last characters that begin no token."""

    def run(self) -> Tokens:
        """Return all tokens, up to a string or comment that never ends."""
        text = self._source.text
        at, match = 0, _TOKEN.match
        while at < len(text):
            token = match(text, at)
            if token is None:  # pragma: no cover - `rest` takes any character
                raise AssertionError(at)
            at = self._take(token.lastgroup or "", token.start(), token.end())
        self._found.tokens.append(ScriptToken(TokenKind.END, len(text), len(text), "", leads=True))
        return self._found

    def _take(self, group: str, start: int, end: int) -> int:
        """Turn one match into a token or a diagnostic, and return the offset to continue at."""
        if group == "blank":
            self._leads = self._leads or self._source.text.find("\n", start, end) >= 0
            return end
        if group in _WORDLIKE:
            kind = _WORDLIKE[group]
            name = self._source.text[start + _SKIP[kind] : end].lower()
            return self._add(kind, start, end, name)
        if group == "mark":
            return self._add(TokenKind.MARK, start, end, self._source.text[start:end])
        reader = {"string": self._string, "number": self._number, "block": self._block, "comment": self._comment}
        return reader[group](start, end) if group in reader else self._mistake(group, start, end)

    def _comment(self, start: int, end: int) -> int:
        self._found.comments.append((start, end))
        return end

    def _add(self, kind: TokenKind, start: int, end: int, value: str | float) -> int:
        self._found.tokens.append(ScriptToken(kind, start, end, value, self._leads))
        self._leads = False
        return end

    def _string(self, start: int, end: int) -> int:
        text = self._source.text[start + 1 : end - 1].replace("\r\n", "\n")
        if "\\" in text:
            text = _ESCAPE.sub(r"\1", text)
        return self._add(TokenKind.TEXT, start, end, text)

    def _number(self, start: int, end: int) -> int:
        text = self._source.text[start:end]
        digits, unit = (text[:-1], text[-1].upper()) if text[-1].isalpha() else (text, "")
        if len(digits) > _LONGEST_NUMBER:
            self._report(errors.number_too_large(self._span(start, end)))
            return self._add(TokenKind.NUMBER, start, end, 0)
        value: int | float = float(digits) if "." in digits else int(digits)
        value *= _FACTOR[unit]
        if abs(value) > self._largest:
            self._report(errors.number_too_large(self._span(start, end)))
            value = 0
        return self._add(TokenKind.NUMBER, start, end, value)

    def _block(self, start: int, end: int) -> int:
        last = _BLOCK_END.search(self._source.text, end)
        if last is None:
            return self._cut(errors.unclosed_text_block(self._span(start, start + len("text:"))))
        lines = self._source.text[end : last.start()].replace("\r\n", "\n").split("\n")
        unstuffed = [line[1:] if line.startswith("..") else line for line in lines]
        self._add(TokenKind.TEXT, start, last.end(), "\n".join(unstuffed))
        self._leads = True
        return last.end()

    def _mistake(self, group: str, start: int, end: int) -> int:
        """Report characters that begin no token. An unclosed string or comment takes the rest of the text."""
        if group == "open_comment":
            return self._cut(errors.unclosed_comment(self._span(start, end)))
        if group == "open_string":
            return self._cut(errors.unclosed_string(self._unclosed_string(start)))
        if group == "bad_number":
            self._report(errors.not_a_number(self._span(start, end), signed=self._largest == LARGEST_NUMBER))
            return self._add(TokenKind.NUMBER, start, end, 0)
        if group == "curly":
            self._report(errors.wrong_quotes(self._span(start, end)))
            return self._add(TokenKind.TEXT, start, end, "")
        if self._source.text[start:end] in _JOINING:
            return self._add(TokenKind.WORD, start, end, self._source.text[start:end])
        if self._source.text.startswith("//", start):
            return self._slashes(start)
        return self._stray_characters(start, end)

    def _stray_characters(self, start: int, end: int) -> int:
        """Report characters that begin no token. Those that only blanks separate are one mistake."""
        if self._stray is not None and not self._source.text[self._stray.end : start].strip(" \t"):
            self._found.diagnostics.pop()
            start = self._stray.start
        self._stray = self._span(start, end)
        self._report(errors.stray_characters(self._stray))
        return end

    def _slashes(self, start: int) -> int:
        """Report what is meant to be a comment, and continue at the next line."""
        line_end = self._source.text.find("\n", start)
        self._report(errors.slashes_are_no_comment(self._span(start, start + 2)))
        return line_end if line_end > start else len(self._source.text)

    def _unclosed_string(self, start: int) -> Span:
        """Return the likely place of the missing quote: the first string that swallowed the end of a statement.

        After a missing quote, strings and code are swapped, so errors after it are not worth reporting.
        """
        for number, token in enumerate(self._found.tokens):
            if token.kind is TokenKind.TEXT and self._swallowed_a_statement(token):
                start = token.start
                del self._found.tokens[number:]
                self._found.diagnostics = [
                    diagnostic
                    for diagnostic in self._found.diagnostics
                    if diagnostic.span is None or diagnostic.span.start < start
                ]
                break
        line_end = self._source.text.find("\n", start)
        return self._span(start, line_end if line_end > start else len(self._source.text))

    def _swallowed_a_statement(self, token: ScriptToken) -> bool:
        first_line = self._source.text[token.start : token.end].partition("\n")
        return bool(first_line[1]) and first_line[0].rstrip().endswith((";", "{"))

    def _span(self, start: int, end: int) -> Span:
        return Span(self._source, start, end)

    def _cut(self, diagnostic: Diagnostic) -> int:
        self._report(diagnostic)
        self._found.cut = True
        return len(self._source.text)

    def _report(self, diagnostic: Diagnostic) -> None:
        self._found.diagnostics.append(diagnostic)
