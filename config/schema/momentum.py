"""Momentum's names of options, stanzas and modules, with the defaults of 2.2 and 4.x.

The names are in `momentum.tsv` (its first lines explain the format). A name here does not mean that Ringback supports
it: the schema decides that.
"""

from __future__ import annotations

from collections.abc import Mapping
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
PLACEHOLDERS = frozenset({"module_name", "symbolname"})
"""Placeholders for module names in the manuals' examples."""

_ABSENT = "-"


@dataclass(frozen=True, slots=True)
class MomentumOption:
    """One option: its scopes, and its default in 2.2 and 4.x; None if that version does not have the option.

    `effect` is what is missing if Ringback does not act on it, such as `limits`; empty if nothing is.
    """

    name: str
    scopes: frozenset[str]
    default_22: str | None
    default_4x: str | None
    effect: str = ""


@dataclass(frozen=True, slots=True)
class MomentumLine:
    """How 2.2 loads a module: `kind path name { … }`."""

    path: str
    kind: str
    module: str


@dataclass(frozen=True, slots=True)
class Catalogue:
    """All names, in lower case; `stanzas` are the scopes and other stanzas that contain options.

    `modules` and `scope_effects` map a name to its effect (see `MomentumOption`). `values` are pairs of an option and
    a value that Ringback does not have.
    """

    options: Mapping[str, MomentumOption]
    scopes: Mapping[str, frozenset[str]]
    scope_effects: Mapping[str, str]
    modules: Mapping[str, str]
    lines: Mapping[str, MomentumLine]
    stanzas: frozenset[str]
    values: frozenset[tuple[str, str]]

    def module_at(self, path: str) -> str | None:
        """Return the module that a 2.2 path names; None if Momentum has none. `generic/x` may name any module `x`."""
        if path.lower() in self.lines:
            return self.lines[path.lower()].module
        last = path.rpartition("/")[2].lower()
        return last if last in self.modules else None


@cache
def catalogue() -> Catalogue:
    """Read the table once."""
    rows: dict[str, list[list[str]]] = {kind: [] for kind in ("module", "line", "scope", "option", "value")}
    for line in resources.files("config").joinpath("momentum.tsv").read_text("utf-8").splitlines():
        kind, *fields = line.split("\t")
        if kind in rows:
            rows[kind].append(fields)
    options = {
        name: MomentumOption(name, _scopes(where), _default(old), _default(new), _effect(effect))
        for name, where, old, new, effect in rows["option"]
    }
    scopes = {name: _scopes(where) for name, where, _ in rows["scope"]}
    holders = frozenset[str]().union(*(option.scopes for option in options.values()))
    return Catalogue(
        options=options,
        scopes=scopes,
        scope_effects={name: _effect(effect) for name, _, effect in rows["scope"]},
        modules={name: _effect(effect) for name, effect in rows["module"]},
        lines={path: MomentumLine(path, kind, module) for path, kind, module in rows["line"]},
        stanzas=frozenset(scopes) | holders - {"global", "listener"},
        values=frozenset((name, value) for name, value in rows["value"]),
    )


def _scopes(text: str) -> frozenset[str]:
    letters, *names = text.split(",")
    if all(letter in SCOPE_LETTERS for letter in letters):
        return frozenset(SCOPE_LETTERS[letter] for letter in letters) | frozenset(names)
    return frozenset([letters, *names])


def _default(text: str) -> str | None:
    return None if text == _ABSENT else "" if text == '""' else text


def _effect(text: str) -> str:
    return "" if text == _ABSENT else text
