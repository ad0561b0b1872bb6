"""Step through tokens: take the next one, test it, and recover after an error."""

from __future__ import annotations

import bisect
from typing import NoReturn

from config.diagnostics import Diagnostic, Source, Span
from sieve import errors
from sieve.syntax.lexer import ScriptToken, TokenKind, Tokens

_NOTHING = ScriptToken(TokenKind.END, 0, 0, "", leads=True)


class MistakeError(Exception):
    """The parser cannot continue here. Carries the diagnostic to report."""

    def __init__(self, diagnostic: Diagnostic) -> None:
        super().__init__(diagnostic.message)
        self.diagnostic = diagnostic


class Cursor:
    """A position in the tokens of one source, and the diagnostics so far."""

    def __init__(self, source: Source) -> None:
        self._source = source
        self._tokens: list[ScriptToken] = []
        self._at = 0
        self._last = self._token = _NOTHING
        self._cut = False
        self._diagnostics: list[Diagnostic] = []
        self._lexical: list[int] = []

    def _load(self, found: Tokens) -> None:
        """Start at the first token."""
        self._tokens, self._diagnostics, self._cut = found.tokens, found.diagnostics, found.cut
        self._lexical = sorted(each.span.start for each in found.diagnostics if each.span)
        self._token = self._tokens[0]

    def _report(self, diagnostic: Diagnostic) -> None:
        """Keep a diagnostic, unless the lexer already reported its token: then it is only a consequence."""
        if diagnostic.span is None or diagnostic.span.start not in self._lexical:
            self._diagnostics.append(diagnostic)

    def _is_damaged(self, start: int, end: int) -> bool:
        """Tell whether the lexer reported an error between two offsets, so that the tokens there are unreliable."""
        at = bisect.bisect_left(self._lexical, start)
        return at < len(self._lexical) and self._lexical[at] < end

    def _recover(self) -> None:
        """Skip to a safe end or start of a statement: after `;`, before `}`, or at a line that begins like one."""
        while self._token.kind is not TokenKind.END:
            if self._accept(";"):
                return
            if self._is("}") or (self._is("{") and self._skip_block()):
                return
            token = self._advance()
            if (
                self._token.leads
                and self._token.kind in {TokenKind.WORD, TokenKind.VARIABLE}
                and token.value not in {",", "["}
            ):
                return

    def _skip_block(self) -> bool:
        """Skip a block that belongs to no `if`; errors in it would only be consequences."""
        depth = 0
        while self._token.kind is not TokenKind.END:
            depth += 1 if self._is("{") else -1 if self._is("}") else 0
            self._advance()
            if depth == 0:
                break
        return True

    def _skip_arguments(self) -> None:
        """Skip a word among arguments, and all that may be its own arguments."""
        depth = 0
        while True:
            depth += self._is("(") - self._is(")")
            self._advance()
            if self._token.kind is TokenKind.END or self._token.leads or any(map(self._is, ";{}")):
                return
            if depth == 0 and (self._is(")") or self._is(",")):
                return

    def _finds_block(self) -> bool:
        """Skip to a `{` in this line; tell whether there is one."""
        at = self._at
        while not self._is("{"):
            self._advance()
            if self._token.leads or self._token.kind is TokenKind.END:
                self._at, self._token = at, self._tokens[at]
                return False
        return True

    def _advance(self) -> ScriptToken:
        self._last = self._token
        if self._token.kind is not TokenKind.END:
            self._at += 1
            self._token = self._tokens[self._at]
        return self._last

    def _is(self, mark: str) -> bool:
        return self._token.kind is TokenKind.MARK and self._token.value == mark

    def _follows(self, mark: str) -> bool:
        """Tell whether the token after the next one is this mark."""
        token = self._tokens[min(self._at + 1, len(self._tokens) - 1)]
        return token.kind is TokenKind.MARK and token.value == mark

    def _accept(self, mark: str) -> bool:
        if self._is(mark):
            self._advance()
            return True
        return False

    def _expect(self, mark: str, what: str) -> None:
        if not self._accept(mark):
            self._fail(errors.expected(what, self._span(self._token)))

    def _span(self, token: ScriptToken) -> Span:
        return Span(self._source, token.start, token.end)

    def _between(self, first: ScriptToken, last: ScriptToken) -> Span:
        return Span(self._source, first.start, max(first.end, last.end))

    def _fail(self, diagnostic: Diagnostic) -> NoReturn:
        raise MistakeError(diagnostic)
