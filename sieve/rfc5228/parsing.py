"""Strings of standard Sieve: the required extensions decide what is substituted (RFC 5228, 2.4.2.4; RFC 5229, 3)."""

from __future__ import annotations

import re

from config.diagnostics import Diagnostic, Source
from sieve.syntax import nodes
from sieve.syntax.macros import Part, VariablePart
from sieve.syntax.parser import Parser

_ENCODED = re.compile(
    r"\$\{(?:hex:(\s*(?:[0-9a-f]{1,2}\s+)*[0-9a-f]{1,2}\s*)|unicode:(\s*(?:[0-9a-f]{1,6}\s+)*[0-9a-f]{1,6}\s*))\}",
    re.IGNORECASE,
)
_REFERENCE = re.compile(r"\$\{([A-Za-z_][A-Za-z0-9_]*(?:\.[A-Za-z0-9_]+)*|[0-9]{1,2})\}")
_LAST_SCALAR, _FIRST_SURROGATE, _LAST_SURROGATE = 0x10FFFF, 0xD800, 0xDFFF


class StandardParser(Parser):
    """Reads a standard script and remembers the extensions required so far."""

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

    def _parts(self, text: str) -> tuple[Part, ...]:
        if "${" not in text:
            return (text,)
        if "encoded-character" in self._required:
            text = _ENCODED.sub(_decoded, text)
        if "variables" not in self._required:
            return (text,)
        parts: list[Part] = []
        at = 0
        for place in _REFERENCE.finditer(text):
            parts += [text[at : place.start()], VariablePart(_name(place[1]), place.start(), place.end())]
            at = place.end()
        parts.append(text[at:])
        return tuple(part for part in parts if part != "") or ("",)


def _name(written: str) -> str:
    """Return the name of the variable in a reference; match variable 01 is 1."""
    return str(int(written)) if written.isdigit() else written.lower()


def _decoded(match: re.Match[str]) -> str:
    """Return the characters of `${hex:…}` or `${unicode:…}`. Invalid scalar values are not decoded."""
    if match[1] is not None:
        return bytes(int(pair, 16) for pair in match[1].split()).decode("utf-8", "surrogateescape")
    codes = [int(code, 16) for code in match[2].split()]
    if any(code > _LAST_SCALAR or _FIRST_SURROGATE <= code <= _LAST_SURROGATE for code in codes):
        return match[0]
    return "".join(map(chr, codes))


def parse_standard(source: Source) -> tuple[nodes.Block, list[Diagnostic]]:
    """Return the syntax tree of a standard script, as far as it could be parsed, and the syntax errors."""
    return StandardParser(source).run()
