r"""Text to tokens, on demand. Each token records whether it begins its line, which error recovery needs.

Lexical rules:

- blanks and line breaks separate tokens; `#` begins a comment to the line's end; `/* */` comments do not nest;
- `{ } ( ) [ ] < > =` stand for themselves;
- `"…"` is a string, which may span lines; only `\"` is special, other backslashes are left to the reader of the
  value; `'…'` is a string on one line;
- a regular expression in slashes, just before a `{`, is a bare word;
- anything else up to a blank, quote or bracket is a bare word, `/` included; so are `<>`, the null sender, and an IPv6
  address in brackets, `[::1]:25`, which the manual requires in quotes.

An unclosed quote would swallow the rest of the file. The lexer ends it at its line if the quote that seems to close it
opens another value (`… = "`) or touches a word.
"""

from __future__ import annotations

import re
from collections import deque
from typing import NamedTuple

from config.diagnostics import Source, Span
from config.findings import Findings
from config.language import errors

WORD = "word"
STRING = "string"
END = "end of file"

LONGEST_STRING = 65_536
"""Maximum characters of a quoted string; the limit keeps the search for a closing quote linear."""

MOST_TOKENS = 200_000
"""Maximum words and signs of one file. One MiB of ordinary configuration has 105,000. A file with more was not
written by hand, and checking it would take more than two seconds."""

_SKIP = re.compile(r"(?:[\s]++|\#[^\n]*+|/\*(?:[^*]++|\*(?!/))*\*/)*")
_COMMENT = re.compile(r"\#[^\n]*+|/\*(?:[^*]++|\*(?!/))*\*/")
_WORD = re.compile(r"(?:[^\s\"'#={}()\[\]<>/]++|/(?!\*))+")
_SIX = re.compile(r"\[[0-9A-Fa-f.]*:[0-9A-Fa-f:.]*(?:%\w+)?\](?:[:,~][^\s\"'#={}()\[\]<>/]*)?")
_EXPRESSION = re.compile(r"/[^\s\"'{}#]{1,1000}/(?=[ \t]*\{)")
_STRING = re.compile(r'"(?:[^"\\]++|\\.)*"', re.DOTALL)
_SINGLE = re.compile(r"'[^'\n]*+'")
_CURLY = re.compile('[“”„«»]([^“”„«»"\n]*+)[“”„«»]')
_INDENT = re.compile(r"[ \t\r\f\v]*+")
_GLUED = re.compile(r"[^\s)\]}>,#;]")
_OPENS_A_VALUE = re.compile(r"[\w.:\-]+[ \t]*=[ \t]*\Z")
_PUNCTUATION = frozenset("{}()[]<>=")
_CURLIES = frozenset("“”„«»")


def _word(text: str, start: int) -> re.Match[str] | None:
    """Match a bare word. A regular expression that names a scope, `Domain /a(b|c)/ {`, may hold brackets."""
    expression = _EXPRESSION.match(text, start) if text[start] == "/" else None
    return expression or _WORD.match(text, start)


class ConfigToken(NamedTuple):
    """`kind` is WORD, STRING, END or the punctuation itself; `first` if it is the first on its line."""

    kind: str
    start: int
    end: int
    first: bool


class ConfigLexer:
    """The tokens of one source: look ahead, take, and go back for recovery."""

    def __init__(self, source: Source, findings: Findings) -> None:
        """Start at the beginning; errors go to `findings`."""
        self._source = source
        self._text = source.text
        self._findings = findings
        self._position = 0
        self._first = True
        self._ahead: deque[ConfigToken] = deque()
        self._returns = len(source.text)
        self.last = ConfigToken(END, 0, 0, first=True)
        self.comments: list[tuple[int, int]] = []
        self.stopped = False
        self._scanned = 0

    def peek(self, distance: int = 0) -> ConfigToken:
        """Look ahead at a token without taking it."""
        while len(self._ahead) <= distance:
            self._ahead.append(self._scan())
        return self._ahead[distance]

    def take(self) -> ConfigToken:
        """Take and return the next token."""
        self.last = self._ahead.popleft() if self._ahead else self._scan()
        return self.last

    def back_to(self, start: int) -> bool:
        """Go back to a token that begins its line; fail if the text has already been read twice."""
        behind = self.last.end - start
        if behind > self._returns:
            return False
        self._returns -= behind
        self._ahead.clear()
        self._position = start
        self._first = True
        return True

    def stop(self) -> None:
        """Stop reading: the rest is not understood or too long."""
        self.stopped = True
        self._findings.end()
        self._position = len(self._text)
        self._ahead.clear()

    def span(self, token: ConfigToken) -> Span:
        """Return a token's span."""
        return Span(self._source, token.start, token.end)

    def text(self, token: ConfigToken) -> str:
        """Return a token's characters as written."""
        return self._text[token.start : token.end]

    def column(self, token: ConfigToken) -> int:
        """Return a token's column, from 1."""
        return self._source.position(token.start)[1]

    def indentation(self, offset: int) -> int:
        """Return the column of the first token on the line of an offset."""
        line_start = offset + 1 - self._source.position(offset)[1]
        found = _INDENT.match(self._text, line_start)
        return (found.end() if found else line_start) - line_start + 1

    def _scan(self) -> ConfigToken:
        text = self._text
        start, first = self._skip(self._position)
        self._scanned += 1
        if self._scanned > MOST_TOKENS and not self.stopped:
            self._findings.add(errors.too_many_words(MOST_TOKENS, Span(self._source, start, start + 1)))
            self.stop()
            start = len(text)
        if start >= len(text):
            self._position = start
            return ConfigToken(END, start, start, first=True)
        char = text[start]
        if char in _PUNCTUATION and not text.startswith("<>", start):
            six = _SIX.match(text, start) if char == "[" else None
            self._position = six.end() if six else start + 1
            return ConfigToken(WORD if six else char, start, self._position, first)
        if char not in _CURLIES and (word := _word(text, start)):
            self._position = word.end()
            if not word[0].isprintable():
                self._report_unprintable(start, word[0])
            return ConfigToken(WORD, start, word.end(), first)
        return self._unusual(char, start, first=first)

    def next_start(self, offset: int) -> int:
        """Return the offset after blanks and comments."""
        found = _SKIP.match(self._text, offset)
        return found.end() if found else offset

    def _report_unprintable(self, start: int, word: str) -> None:
        at = next(index for index, char in enumerate(word) if not char.isprintable())
        self._findings.add(errors.unprintable(word[at], Span(self._source, start + at, start + at + 1)))

    def _skip(self, before: int) -> tuple[int, bool]:
        """Skip blanks and comments; return whether a line ended among them."""
        start = self.next_start(before)
        if start - before > 1:
            self.comments += [comment.span() for comment in _COMMENT.finditer(self._text, before, start)]
        first = self._first or self._text.find("\n", before, start) >= 0
        self._first = False
        return start, first

    def _unusual(self, char: str, start: int, *, first: bool) -> ConfigToken:
        if char == '"':
            return self._string(start, first=first)
        if char == "'":
            return self._quoted(_SINGLE, start, first=first)
        if char == "<":
            self._position = start + 2
            return ConfigToken(WORD, start, start + 2, first)
        if char in _CURLIES:
            self._findings.add(errors.typographic_quote(Span(self._source, start, start + 1)))
            return self._quoted(_CURLY, start, first=first)
        self._findings.add(errors.comment_not_closed(Span(self._source, start, start + 2)))
        self.stop()
        return ConfigToken(END, start, start, first=True)

    def _string(self, start: int, *, first: bool) -> ConfigToken:
        found = _STRING.match(self._text, start, start + LONGEST_STRING)
        if found is None or self._swallows(start, found.end()):
            return self._not_closed(start, first=first)
        self._position = found.end()
        return ConfigToken(STRING, start, found.end(), first)

    def _swallows(self, start: int, end: int) -> bool:
        """Return whether the closing quote of a multi-line string seems to open another value."""
        text = self._text
        line = text.rfind("\n", start, end) + 1
        if line == 0:
            return False
        return (end < len(text) and _GLUED.match(text, end) is not None) or bool(
            _OPENS_A_VALUE.search(text, max(line, end - 200), end - 1)
        )

    def _quoted(self, pattern: re.Pattern[str], start: int, *, first: bool) -> ConfigToken:
        found = pattern.match(self._text, start)
        if found is None:
            return self._not_closed(start, first=first)
        self._position = found.end()
        return ConfigToken(STRING, start, found.end(), first)

    def _not_closed(self, start: int, *, first: bool) -> ConfigToken:
        line_end = self._text.find("\n", start)
        end = line_end if line_end >= 0 else len(self._text)
        self._findings.add(errors.string_not_closed(Span(self._source, start, end)))
        self._position = end
        return ConfigToken(STRING, start, end, first)
