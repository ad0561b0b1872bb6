"""Strings, lists and numbers of standard Sieve.

The required extensions decide what is substituted in a string (RFC 5228, 2.4.2.4; RFC 5229, 3). Its line breaks are
CRLF, as in mail (RFC 5228, 8.1).
"""

from __future__ import annotations

import re

from config.diagnostics import Diagnostic, Source
from sieve.rfc5228 import errors
from sieve.syntax import nodes
from sieve.syntax.lexer import LARGEST_UNSIGNED, ScriptToken, TokenKind
from sieve.syntax.macros import Part, VariablePart
from sieve.syntax.parser import Parser

_ENCODED = re.compile(
    r"\$\{(?:hex:(\s*(?:[0-9a-f]{1,2}\s+)*[0-9a-f]{1,2}\s*)|unicode:(\s*(?:[0-9a-f]+\s+)*[0-9a-f]+\s*))\}",
    re.IGNORECASE,
)
_NAME = r"[A-Za-z_][A-Za-z0-9_]*"
_REFERENCE = re.compile(rf"\$\{{((?:{_NAME}\.(?:(?:{_NAME}|[0-9]+)\.)*)?(?:{_NAME}|[0-9]+))\}}")
_OF_NAMESPACE = re.compile(rf"global\.{_NAME}\Z", re.IGNORECASE)
_LONGEST_CODE = 6
_LAST_SCALAR, _FIRST_SURROGATE, _LAST_SURROGATE = 0x10FFFF, 0xD800, 0xDFFF


class StandardParser(Parser):
    """Reads a standard script and remembers the extensions required so far."""

    _largest = LARGEST_UNSIGNED
    _has_values = False

    def __init__(self, source: Source) -> None:
        """Prepare to read `source`."""
        super().__init__(source)
        self._required: set[str] = set()

    def _simple(self) -> nodes.Statement:
        statement = super()._simple()
        if isinstance(statement, nodes.Call) and statement.name == "require":
            for argument in statement.arguments:
                items = argument.items if isinstance(argument, nodes.ListOf) else (argument,)
                self._required |= {item.value for item in items if isinstance(item, nodes.Text)}
        return statement

    def _semicolon(self, after: str, statement: nodes.Statement) -> None:
        """Read `;`, or the block of a loop (RFC 5703, 3), which is not checked: the loop itself is an error."""
        if isinstance(statement, nodes.Call) and statement.name == "foreverypart" and self._is("{"):
            self._skip_block()
        else:
            super()._semicolon(after, statement)

    def _list(self) -> nodes.ListOf:
        """Read a list, which has strings between its commas (RFC 5228, 8.2)."""
        strings = super()._list()
        if not strings.items:
            self._report(errors.empty_list(strings.span))
        elif strings.span.text.removesuffix("]").rstrip().endswith(","):
            self._report(errors.not_a_list_item(strings.items[-1].span))
        return strings

    def _item_of_list(self, what: str) -> nodes.Text | nodes.Number | nodes.Variable | nodes.Index:
        token = self._token
        if token.kind is TokenKind.TEXT:
            self._advance()
            return self._string(token)
        item = super()._item_of_list(what)
        if isinstance(item, nodes.Number) and not item.span.text.isalnum():
            self._report(errors.not_a_whole_number(item.span))
        return item

    def _string(self, token: ScriptToken) -> nodes.Text:
        span = self._span(token)
        text = str(token.value).replace("\n", "\r\n")
        if "${" in text and "encoded-character" in self._required:
            for written in _ENCODED.finditer(text):
                if written[2] is not None and _characters(written[2]) is None:
                    self._report(errors.not_a_character(written[0], span))
            text = _ENCODED.sub(_decoded, text)
        if "${" not in text or "variables" not in self._required:
            return nodes.Text(span, text, (text,))
        parts: list[Part] = []
        at = 0
        for place in _REFERENCE.finditer(text):
            if not self._is_known(place[1]):
                self._report(errors.unknown_namespace(place[1], span))
            parts += [text[at : place.start()], VariablePart(_name(place[1]), place.start(), place.end())]
            at = place.end()
        parts.append(text[at:])
        return nodes.Text(span, text, tuple(part for part in parts if part != "") or ("",))

    def _is_known(self, name: str) -> bool:
        """Tell whether a variable has no namespace, or one that a required extension defines (RFC 6609, 3.4.2)."""
        return "." not in name or ("include" in self._required and _OF_NAMESPACE.match(name) is not None)


def _name(written: str) -> str:
    """Return the name of the variable in a reference; match variable 001 is 1 (RFC 5229, 3)."""
    return written.lstrip("0") or "0" if written.isdigit() else written.lower()


def _characters(codes: str) -> str | None:
    """Return the characters with these hexadecimal codes; None if a code is invalid (RFC 5228, 2.4.2.4)."""
    characters: list[str] = []
    for written in codes.split():
        digits = written.lstrip("0") or "0"
        code = int(digits, 16) if len(digits) <= _LONGEST_CODE else _LAST_SCALAR + 1
        if code > _LAST_SCALAR or _FIRST_SURROGATE <= code <= _LAST_SURROGATE:
            return None
        characters.append(chr(code))
    return "".join(characters)


def _decoded(escape: re.Match[str]) -> str:
    """Return the characters of `${hex:…}` or `${unicode:…}`."""
    if escape[1] is not None:
        return bytes(int(pair, 16) for pair in escape[1].split()).decode("utf-8", "surrogateescape")
    characters = _characters(escape[2])
    return escape[0] if characters is None else characters


def parse_standard(source: Source) -> tuple[nodes.Block, list[Diagnostic]]:
    """Return the syntax tree of a standard script, as far as it could be parsed, and the syntax errors."""
    return StandardParser(source).run()
