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
"""The scopes that a stanza opens, beside those of listeners; `global` is the file itself."""


class ScopeStep(NamedTuple):
    """One scope on the way from the global one: its kind and its name."""

    kind: str
    name: str

    def __str__(self) -> str:
        """Return the scope as the console names it."""
        return f'{self.kind} "{self.name}"' if self.name else self.kind


Place = tuple[ScopeStep, ...]
"""A scope, as the steps that lead to it; the global scope is the empty one."""


@dataclass(frozen=True, slots=True)
class Setting:
    """A value in force: where its text stands (None: it is the default) and the scope that sets it."""

    value: object
    origin: Span | None = field(default=None, compare=False)
    place: Place = field(default=(), compare=False)


def searcher(pattern: str) -> Callable[[str], object] | None:
    """Return the search of a domain that is written as `/regular expression/`; None for a plain name.

    RE2 first: a stranger chooses the domain, and a backtracking engine can be made to take exponential time. What only
    such an engine understands is left to it.

    Raises:
        re.error: neither engine understands it.
    """
    if len(pattern) < 2 or not (pattern.startswith("/") and pattern.endswith("/")):  # the two slashes
        return None
    quiet = re2.Options()
    quiet.log_errors = False
    quiet.case_sensitive = False
    try:
        found: Callable[[str], object] = re2.compile(pattern[1:-1], quiet).search
    except re2.error:
        found = re.compile(pattern[1:-1], re.IGNORECASE).search
    return found


def normal_name(kind: str, name: str) -> str:
    """Return a scope's name as it is compared: bindings keep their case, domains and hosts have none."""
    if kind == "host" or (kind == "domain" and not name.startswith("/")):
        return normal_domain(name)
    return name
