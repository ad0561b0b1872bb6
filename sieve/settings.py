"""The operator's settings for scripts: the comparator, the error mode, and the limits of a run."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal

ErrorMode = Literal["fail", "continue"]


@dataclass(frozen=True, slots=True)
class Limits:
    """The limits of one run of a script. Exceeding one is a run-time error."""

    steps: int = 100_000
    """Statements."""
    seconds: float = 60.0
    """Wall-clock time of the whole run, including callbacks and DNS look-ups."""
    string: int = 16 << 20
    """Maximum characters per string."""
    list: int = 100_000
    """Maximum elements per list or hash."""
    redirects: int = 32
    """Maximum addresses that one standard script redirects a message to (RFC 5228, 4.2)."""
    include_depth: int = 10
    """Maximum depth of nested includes."""
    pattern: int = 4096
    """Maximum characters per regular expression; compiling has no separate time limit."""
    regex_seconds: float = 1.0
    """Time limit of one match in the backtracking engine."""


@dataclass(frozen=True, slots=True)
class ScriptSettings:
    """The options for compiling and running a script."""

    default_comparator: str = "i;octet"
    """Momentum's default. The default of RFC 5228 is `i;ascii-casemap`."""
    runtime_error: ErrorMode = "fail"
    """After a run-time error: send a transient reply, or run the next statement."""
    fileinto_header: str = ""
    """The field that `fileinto` of standard Sieve adds; empty if `fileinto` is an error."""
    limits: Limits = field(default_factory=Limits)


@dataclass(frozen=True, slots=True)
class Rule:
    """A text of the site, and its code. A `|` in the text matches any characters."""

    code: int
    text: str
    domain: str = ""
    """The recipient's domain; empty for all."""

    def matches(self, words: str, domain: str) -> bool:
        """Tell whether the text is in `words`."""
        if self.domain and self.domain.lower() != domain.lower():
            return False
        at = 0
        for piece in self.text.lower().split("|"):
            found = words.find(piece, at)
            if found < 0:
                return False
            at = found + len(piece)
        return True


@dataclass(frozen=True, slots=True)
class BounceRules:
    """The rules of a site."""

    answers: Sequence[Rule] = ()
    """About the answers of hosts, and about reports."""
    notes: Sequence[Rule] = ()
    """About the text of other messages."""
    classes: Mapping[int, str] = field(default_factory=dict)
    """Codes of the site's own, with their texts."""
