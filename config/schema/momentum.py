"""What Momentum has: the names by which a file that ran there is recognised, with both lines' defaults.

The names stand in `momentum.tsv` beside this module (its first lines say how to read it). Having a name here does not
mean that Ringback acts on it: that is what the schema says.
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
    """One option: the scopes it may stand in, and its default in either line; None where a line has no such option."""

    name: str
    scopes: frozenset[str]
    default_22: str | None
    default_4x: str | None


@dataclass(frozen=True, slots=True)
class Catalogue:
    """All names, in lower case; `stanzas` are the scopes and whatever else options are said to stand in."""

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
