"""Calls and the values in them: strings, numbers, lists, variables. Statements and tests are the parser's."""

from __future__ import annotations

from config.diagnostics import Source
from sieve import errors
from sieve.syntax import macros, nodes
from sieve.syntax.cursor import Cursor
from sieve.syntax.lexer import TokenKind

DEEPEST = 64
"""Maximum nesting of blocks, tests or indices. Later stages recurse once per level, so this also limits their stack."""


class Values(Cursor):
    """Reads calls and values."""

    _has_values = True
    """Whether calls can be values of variables."""

    def __init__(self, source: Source, resolve: macros.Resolve) -> None:
        """Prepare to read `source`; `resolve` finds the macros in its strings."""
        super().__init__(source)
        self._resolve = resolve

    def _call(self) -> nodes.Call:
        name = self._advance()
        arguments: list[nodes.Argument] = []
        is_cut = False
        while True:
            token = self._token
            if token.kind is TokenKind.TAG:
                self._advance()
                arguments.append(nodes.Tag(self._span(token), str(token.value)))
            elif token.kind is TokenKind.VARIABLE and token.leads and self._follows("="):
                break  # an assignment on the next line: only a semicolon is missing
            elif token.kind in {TokenKind.TEXT, TokenKind.NUMBER, TokenKind.VARIABLE} or self._is("["):
                arguments.append(self._argument("an argument"))
            elif token.kind is TokenKind.WORD and not token.leads:
                self._report(errors.call_as_argument(self._span(token), has_values=self._has_values))
                self._skip_arguments()
                is_cut = True
                if arguments and isinstance(arguments[-1], nodes.Tag):
                    del arguments[-1]  # the word may be its value
            else:
                break
        span = self._between(name, self._last)
        return nodes.Call(span, str(name.value), self._span(name), tuple(arguments), is_cut)

    def _argument(self, what: str) -> nodes.Expression:
        if self._is("["):
            return self._list()
        return self._item_of_list(what)

    def _list(self) -> nodes.ListOf:
        start = self._advance()
        items: list[nodes.Text | nodes.Number | nodes.Variable | nodes.Index] = []
        while not self._is("]"):
            items.append(self._item_of_list("a string"))
            if not self._accept(","):
                break
        self._expect("]", "] or ,")
        return nodes.ListOf(self._between(start, self._last), tuple(items))

    def _item_of_list(self, what: str) -> nodes.Text | nodes.Number | nodes.Variable | nodes.Index:
        token = self._token
        if token.kind is TokenKind.TEXT:
            self._advance()
            return nodes.Text(self._span(token), str(token.value), self._parts(str(token.value)))
        if token.kind is TokenKind.NUMBER:
            self._advance()
            return nodes.Number(self._span(token), token.value)  # type: ignore[arg-type] # a NUMBER has a number
        if token.kind is TokenKind.VARIABLE:
            return self._variable()
        return self._fail(errors.expected(what, self._span(token)))

    def _parts(self, text: str) -> tuple[macros.Part, ...]:
        """Cut a string into what is literal and what is filled in."""
        return macros.parts(text, self._resolve)

    def _variable(self) -> nodes.Variable | nodes.Index:
        node: nodes.Variable | nodes.Index = self._variable_name()
        name = str(self._last.value)
        depth = 0
        while self._accept("["):
            depth += 1
            if depth > DEEPEST:
                self._fail(errors.too_deep(self._span(self._last), DEEPEST))
            key = self._item_of_list("an index")
            if self._is(","):
                self._fail(errors.index_holds_one_value(self._span(self._token), name))
            self._expect("]", "]")
            if isinstance(key, nodes.Index):
                self._fail(errors.expected("a number, a string or a $variable as index", key.span))
            node = nodes.Index(node.span.to(self._span(self._last)), node, key)
        return node

    def _variable_name(self) -> nodes.Variable:
        token = self._advance()
        return nodes.Variable(self._span(token), str(token.value))
