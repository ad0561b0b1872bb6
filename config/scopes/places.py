"""Places in a configuration: the scopes that stanzas open, and a value with the place that sets it."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import NamedTuple

import re2

from config.base.domains import normal_domain
from config.diagnostics import Span

KINDS = ("binding_group", "binding", "pathway_group", "pathway", "domain", "host")
"""The scopes that a stanza opens, except listener scopes; `global` is the file itself."""


class ScopeStep(NamedTuple):
    """One step from the global scope: the scope's kind and name."""

    kind: str
    name: str

    def __str__(self) -> str:
        """Return the scope's name at the console."""
        return f'{self.kind} "{self.name}"' if self.name else self.kind


Place = tuple[ScopeStep, ...]
"""A scope, as the steps that lead to it; empty for the global scope."""


@dataclass(frozen=True, slots=True)
class Setting:
    """A value in force: its origin (None for a default) and the scope that sets it."""

    value: object
    origin: Span | None = field(default=None, compare=False)
    place: Place = field(default=(), compare=False)


def searcher(pattern: str) -> Callable[[str], object] | None:
    """Return the search function of a domain written as `/regular expression/`; None for a plain name.

    Try RE2 first: strangers choose the domain, and a backtracking engine can be made to take exponential time. Only
    what RE2 does not support goes to such an engine.

    Raises:
        re.error: neither engine supports it.
    """
    if len(pattern) < 2 or not (pattern.startswith("/") and pattern.endswith("/")):  # the two slashes
        return None
    quiet = re2.Options()
    quiet.log_errors = False
    quiet.case_sensitive = False
    try:
        search: Callable[[str], object] = re2.compile(pattern[1:-1], quiet).search
    except re2.error:
        search = re.compile(pattern[1:-1], re.IGNORECASE).search
    return search


def normal_name(kind: str, name: str) -> str:
    """Return a scope's name normalized for comparison: bindings are case-sensitive, domains and hosts are not."""
    if kind == "host" or (kind == "domain" and not name.startswith("/")):
        return normal_domain(name)
    return name
