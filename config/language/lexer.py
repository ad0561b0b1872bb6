r"""Text to tokens, on demand, with the evidence that recovery needs: which token begins its line.

Lexical rules:

- blanks and line breaks separate; `#` begins a comment up to the line's end, `/* */` encloses one and does not nest;
- `{ } ( ) [ ] < > =` stand for themselves;
- `"…"` is a string; it may span lines; a backslash keeps its meaning for whoever reads the value, so that only `\"` is
  special; `'…'` is a string on one line;
- anything else up to a blank, quote or bracket is a bare word, `/` included; so is `<>`, the null sender, and an IPv6
  address in brackets, `[::1]:25`, which the manual would have in quotes.

A quote that is never closed would swallow the rest of the file. The lexer takes it as ending with its line when the
text says so: the quote that seems to close it opens another value (`… = "`), or is glued to a word.
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
"""Characters of a quoted string; the bound keeps the search for a closing quote linear."""

MOST_TOKENS = 200_000
"""Words and signs of one file. One MiB of ordinary configuration has 105,000; what has more was not written by people,
and would take longer to refuse than the two seconds that anyone waits."""

_SKIP = re.compile(r"(?:[\s]++|\#[^\n]*+|/\*(?:[^*]++|\*(?!/))*+\*/)*+")
_COMMENT = re.compile(r"\#[^\n]*+|/\*(?:[^*]++|\*(?!/))*+\*/")
_WORD = re.compile(r"(?:[^\s\"'#={}()\[\]<>/]++|/(?!\*))++")
_SIX = re.compile(r"\[[0-9A-Fa-f.]*:[0-9A-Fa-f:.]*(?:%\w+)?\](?:[:,~][^\s\"'#={}()\[\]<>/]*)?")
_STRING = re.compile(r'"(?:[^"\\]++|\\.)*+"', re.DOTALL)
_SINGLE = re.compile(r"'[^'\n]*+'")
_CURLY = re.compile('[“”„«»]([^“”„«»"\n]*+)[“”„«»]')
_INDENT = re.compile(r"[ \t\r\f\v]*+")
_GLUED = re.compile(r"[^\s)\]}>,#;]")
_OPENS_A_VALUE = re.compile(r"[\w.:\-]+[ \t]*=[ \t]*\Z")
_PUNCTUATION = frozenset("{}()[]<>=")
_CURLIES = frozenset("“”„«»")


class ConfigToken(NamedTuple):
    """`kind` is WORD, STRING, END or the punctuation itself; `first` says that it is the first of its line."""

    kind: str
    start: int
    end: int
    first: bool


class ConfigLexer:
    """The tokens of one source: look ahead, take, and go back to where a recovery starts again."""

    def __init__(self, source: Source, findings: Findings) -> None:
        """Start at the beginning; mistakes go to `findings`."""
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
        """Return a token that was not taken yet."""
        while len(self._ahead) <= distance:
            self._ahead.append(self._scan())
        return self._ahead[distance]

    def take(self) -> ConfigToken:
        """Return the next token and pass it."""
        self.last = self._ahead.popleft() if self._ahead else self._scan()
        return self.last

    def back_to(self, start: int) -> bool:
        """Go back to a token that is the first of its line; refuse when the text has been read twice already."""
        behind = self.last.end - start
        if behind > self._returns:
            return False
        self._returns -= behind
        self._ahead.clear()
        self._position = start
        self._first = True
        return True

    def stop(self) -> None:
        """Read no further: what follows cannot be understood, or is too much."""
        self.stopped = True
        self._findings.end()
        self._position = len(self._text)
        self._ahead.clear()

    def span(self, token: ConfigToken) -> Span:
        """Return where a token stands."""
        return Span(self._source, token.start, token.end)

    def text(self, token: ConfigToken) -> str:
        """Return a token's characters as written."""
        return self._text[token.start : token.end]

    def column(self, token: ConfigToken) -> int:
        """Return a token's column, from 1."""
        return self._source.position(token.start)[1]

    def indentation(self, offset: int) -> int:
        """Return the column at which the line of an offset begins to say something."""
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
        if char not in _CURLIES and (found := _WORD.match(text, start)):
            self._position = found.end()
            if not found[0].isprintable():
                self._report_unprintable(start, found[0])
            return ConfigToken(WORD, start, found.end(), first)
        return self._unusual(char, start, first=first)

    def next_start(self, offset: int) -> int:
        """Return the offset of what follows blanks and comments."""
        found = _SKIP.match(self._text, offset)
        return found.end() if found else offset

    def _report_unprintable(self, start: int, word: str) -> None:
        at = next(index for index, char in enumerate(word) if not char.isprintable())
        self._findings.add(errors.unprintable(word[at], Span(self._source, start + at, start + at + 1)))

    def _skip(self, before: int) -> tuple[int, bool]:
        """Pass blanks and comments; tell whether a line ended among them."""
        start = self.next_start(before)
        if start - before > 1:
            self.comments += [found.span() for found in _COMMENT.finditer(self._text, before, start)]
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
        """Tell whether a string over several lines shows that its closing quote is another value's opening one."""
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
