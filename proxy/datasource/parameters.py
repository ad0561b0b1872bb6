"""Parameters of queries. In SQL they are bound; elsewhere they are escaped for their place in the query.

SQL text is read as far as needed to see what is a placeholder: not what is in quotes or comments. `?` takes the next
parameter of a list, `:name` and `$name` a parameter of a hash; `??` beside a list is a question mark.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from enum import Enum
from functools import lru_cache
from typing import TypeAlias

from proxy.datasource.errors import no_parameter, parameters_do_not_fit, query_too_long

Parameters: TypeAlias = "tuple[str, ...] | Mapping[str, str] | None"
"""Of a query: a list for `?`, a hash for `:name` and `$name`."""

LONGEST_QUERY = 65_536
"""Characters of a query without its parameters."""


class Dialect(Enum):
    """How a kind of database writes text, comments and placeholders; the pattern skips what is not a placeholder."""

    SQLITE = r"'(?:[^']|'')*(?:'|\Z) | \"(?:[^\"]|\"\")*(?:\"|\Z) | `[^`]*(?:`|\Z) | \[[^\]]*(?:\]|\Z)"
    PGSQL = (
        r"[eE]'(?:[^'\\]|\\.|'')*(?:'|\Z) | '(?:[^']|'')*(?:'|\Z) | \"(?:[^\"]|\"\")*(?:\"|\Z)"
        r" | \$(?P<tag>[A-Za-z_]\w*|)\$.*?(?:\$(?P=tag)\$|\Z)"
    )
    MYSQL = r"'(?:[^'\\]|\\.|'')*(?:'|\Z) | \"(?:[^\"\\]|\\.|\"\")*(?:\"|\Z) | `[^`]*(?:`|\Z) | \#[^\n]*"

    def placeholder(self, number: int) -> str:
        """Return how the driver wants the placeholder of a parameter."""
        return {"SQLITE": "?", "PGSQL": f"${number}", "MYSQL": "%s"}[self.name]

    def literal(self, text: str) -> str:
        """Return text as the driver wants it."""
        return text.replace("%", "%%") if self is Dialect.MYSQL else text


@lru_cache
def _pattern(dialect: Dialect) -> re.Pattern[str]:
    return re.compile(
        rf"""
        (?P<skipped> {dialect.value} | --[^\n]* | /\*.*?(?:\*/|\Z) | :: | := | (?<!\w)\w+[:$](?=\w) )
        | (?P<twice> \?\? ) | (?P<mark> \? ) | [:$](?P<name> [A-Za-z_]\w* )
        """,
        re.VERBOSE | re.DOTALL,
    )


def bound(query: str, parameters: Parameters, dialect: Dialect) -> tuple[str, list[str]]:
    """Return a query as the driver wants it, and the parameters in the order of their placeholders.

    Raises:
        QueryFailed: placeholders and parameters do not fit together, or the query is too long.
    """
    parts, values, at = [], _Values(parameters), 0
    if len(query) > LONGEST_QUERY:
        raise query_too_long(LONGEST_QUERY)
    for found in _pattern(dialect).finditer(query):
        replaced = values.replace(found, dialect)
        if replaced is not None:
            parts += [dialect.literal(query[at : found.start()]), replaced]
            at = found.end()
    values.check()
    return "".join([*parts, dialect.literal(query[at:])]), values.taken


class _Values:
    """Takes parameters one after another."""

    def __init__(self, parameters: Parameters) -> None:
        self._named = parameters if isinstance(parameters, Mapping) else None
        self._list = parameters if isinstance(parameters, tuple) else None
        self._marks = 0
        self.taken: list[str] = []

    def replace(self, found: re.Match[str], dialect: Dialect) -> str | None:
        """Return what a placeholder becomes; None if it stays as it is."""
        if found["name"] and self._named is not None:
            if found["name"] not in self._named:
                raise no_parameter(found["name"])
            self.taken.append(sound(self._named[found["name"]]))
        elif found["mark"] and self._list is not None:
            self._marks += 1
            if self._marks <= len(self._list):
                self.taken.append(sound(self._list[self._marks - 1]))
        elif found["twice"] and self._list is not None:
            return "?"
        else:
            return None
        return dialect.placeholder(len(self.taken))

    def check(self) -> None:
        if self._list is not None and self._marks != len(self._list):
            raise parameters_do_not_fit(self._marks, len(self._list))


def sound(text: str) -> str:
    """Return text that can be UTF-8: octets of mail that are not become replacement characters."""
    if text.isascii():
        return text
    return text.encode("utf-8", "surrogateescape").decode("utf-8", "replace")


# ---------------------------------------------------------------- elsewhere

_NAME = re.compile(r"\$(?:\{(?P<braced>[A-Za-z_]\w*)\}|(?P<name>[A-Za-z_]\w*))|(?P<mark>\?)")


class Filling:
    """Puts parameters into the parts of a query, each escaped for its part. `?` counts over all parts."""

    def __init__(self, parameters: Parameters, *, marks: bool) -> None:
        """`marks`: whether `?` is a placeholder. In an LDAP URL it is not."""
        self._parameters = parameters
        self._marks = marks and isinstance(parameters, tuple)
        self._next = 0

    def filled(self, text: str, escape: Callable[[str], str]) -> str:
        """Return a part with its parameters.

        Raises:
            QueryFailed: a parameter is missing.
        """
        return _NAME.sub(lambda found: self._value(found, escape), text)

    def _value(self, found: re.Match[str], escape: Callable[[str], str]) -> str:
        if found["mark"]:
            if not self._marks or not isinstance(self._parameters, tuple):
                return "?"
            self._next += 1
            return escape(sound(self._parameters[self._next - 1])) if self._next <= len(self._parameters) else ""
        if not isinstance(self._parameters, Mapping):
            return found[0]
        name = found["braced"] or found["name"]
        if name not in self._parameters:
            raise no_parameter(name)
        return escape(sound(self._parameters[name]))

    def check(self) -> None:
        """Compare how many `?` and parameters there were.

        Raises:
            QueryFailed: they differ.
        """
        if self._marks and isinstance(self._parameters, tuple) and self._next != len(self._parameters):
            raise parameters_do_not_fit(self._next, len(self._parameters))
