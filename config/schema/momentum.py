"""Momentum's option, stanza and module names, with the defaults of 2.2 and 4.x.

The names are in `momentum.tsv` (its first lines explain the format). A name here does not mean that Ringback supports
it: the schema decides that.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from importlib import resources

SCOPE_LETTERS = {
    "g": "global",
    "G": "binding_group",
    "b": "binding",
    "d": "domain",
    "h": "host",
    "W": "pathway_group",
    "w": "pathway",
    "e": "esmtp_listener",
    "L": "listener",
    "l": "listen",
    "p": "peer",
}
_ABSENT = "-"


@dataclass(frozen=True, slots=True)
class MomentumOption:
    """One option: its scopes, and its default in 2.2 and 4.x; None if that version does not have the option."""

    name: str
    scopes: frozenset[str]
    default_22: str | None
    default_4x: str | None


@dataclass(frozen=True, slots=True)
class Catalogue:
    """All names, in lower case; `stanzas` are the scopes and other stanzas that contain options."""

    options: dict[str, MomentumOption]
    scopes: dict[str, frozenset[str]]
    modules: frozenset[str]
    stanzas: frozenset[str]


@cache
def catalogue() -> Catalogue:
    """Read the table once."""
    options, scopes, modules = {}, {}, set()
    for line in resources.files("config").joinpath("momentum.tsv").read_text("utf-8").splitlines():
        kind, _, rest = line.partition("\t")
        fields = rest.split("\t")
        if kind == "module":
            modules.add(fields[0])
        elif kind == "scope":
            scopes[fields[0]] = _scopes(fields[1])
        elif kind == "option":
            name, where, old, new = fields
            options[name] = MomentumOption(name, _scopes(where), _default(old), _default(new))
    holders = frozenset[str]().union(*(option.scopes for option in options.values()))
    return Catalogue(options, scopes, frozenset(modules), frozenset(scopes) | holders - {"global", "listener"})


def _scopes(text: str) -> frozenset[str]:
    letters, *names = text.split(",")
    if all(letter in SCOPE_LETTERS for letter in letters):
        return frozenset(SCOPE_LETTERS[letter] for letter in letters) | frozenset(names)
    return frozenset([letters, *names])


def _default(text: str) -> str | None:
    return None if text == _ABSENT else "" if text == '""' else text
