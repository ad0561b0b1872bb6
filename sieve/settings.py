"""What an operator can set about scripts: the comparator, the error mode, and the bounds of a run."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

ErrorMode = Literal["fail", "continue"]


@dataclass(frozen=True, slots=True)
class Limits:
    """The bounds of one run of a script; passing any is a run-time error."""

    steps: int = 100_000
    """Statements."""
    seconds: float = 60.0
    """Wall clock of the whole run, callbacks and look-ups included."""
    string: int = 16 << 20
    """Characters of one string."""
    list: int = 100_000
    """Elements of one list or hash."""
    include_depth: int = 10
    """`ec_include` inside each other."""
    pattern: int = 4096
    """Characters of one regular expression; compiling has no time limit of its own."""
    regex_seconds: float = 1.0
    """One match in the engine that can backtrack."""


@dataclass(frozen=True, slots=True)
class ScriptSettings:
    """The options that decide how a script is read and run."""

    default_comparator: str = "i;octet"
    """Momentum's default; RFC 5228's is `i;ascii-casemap`."""
    runtime_error: ErrorMode = "fail"
    """After a run-time error: a transient reply, or the next statement."""
    limits: Limits = field(default_factory=Limits)
