"""The two dialects of scripts: Sieve++, and standard Sieve with its extensions."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Literal

from config.diagnostics import Diagnostic, Source
from sieve.check.checker import Checker
from sieve.library import Library
from sieve.rfc5228 import state
from sieve.rfc5228.checking import StandardChecker
from sieve.rfc5228.library import standard_sieve
from sieve.rfc5228.parsing import parse_standard
from sieve.run.macros import macro_of
from sieve.run.matching import CASEMAP
from sieve.run.runtime import Frame
from sieve.standard import standard_library
from sieve.syntax import nodes
from sieve.syntax.parser import parse

DialectName = Literal["sieve++", "rfc5228"]
DialectChoice = Literal["sieve++", "rfc5228", "auto"]

STANDARD_SUFFIX = ".sieve"


def dialect_of(choice: DialectChoice, file: str) -> DialectName:
    """Return the dialect of a script. With `auto`, files that end in `.sieve` are standard Sieve."""
    if choice != "auto":
        return choice
    return "rfc5228" if file.lower().endswith(STANDARD_SUFFIX) else "sieve++"


@dataclass(frozen=True, slots=True)
class Dialect:
    """The differences between dialects."""

    parse: Callable[[Source], tuple[nodes.Block, list[Diagnostic]]]
    checker: type[Checker]
    library: Callable[[], Library]
    comparator: str | None = None
    """The default comparator; None if the settings decide."""
    captures: bool = False
    """Whether `:matches` and `:regex` set the variables `${0}`, `${1}` and so on (RFC 5229, 3.2)."""
    begin: Callable[[Frame], None] | None = None
    finish: Callable[[Frame], None] | None = None
    undo: Callable[[Frame], None] | None = None


DIALECTS: dict[DialectName, Dialect] = {
    "sieve++": Dialect(partial(parse, resolve=macro_of), Checker, standard_library),
    "rfc5228": Dialect(
        parse_standard,
        StandardChecker,
        standard_sieve,
        comparator=CASEMAP,
        captures=True,
        begin=state.begin,
        finish=state.finish,
        undo=state.undo,
    ),
}
