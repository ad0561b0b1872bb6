"""The policy interface: a validator hooks into phases, and its verdict decides about the command.

A validator never writes to a client. It returns a verdict; the front turns it into the reply.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Protocol, runtime_checkable

from proxy.mail.session import Session
from proxy.mail.verdict import Verdict
from sieve.phases import Need, Phase

Hook = Callable[[Session], Verdict | Awaitable[Verdict]]
"""Checks the session at one phase. A plain function answers at once; a coroutine function costs a task each time."""


class OnError(StrEnum):
    """What happens to a command if a validator times out or fails."""

    DEFER = "defer"
    ACCEPT = "accept"


ANY_ORDER = frozenset({"authentication-results"})
"""What several validators may set at the same time: each writes the whole field again, from all evidence."""


@dataclass(frozen=True, slots=True)
class Uses:
    """What a validator's hooks read and set: names of context variables, of evidence, and of parts of the session.

    Validators of a phase that do not depend on each other run at the same time.
    """

    reads: frozenset[str] = frozenset()
    sets: frozenset[str] = frozenset()
    asks_others: bool = False
    """Whether it asks or tells third parties: then it starts only when all validators before it have passed."""

    def depends_on(self, earlier: Uses) -> bool:
        """Whether it must wait for a validator that comes before it."""
        both_set = (earlier.sets & self.sets) - ANY_ORDER
        return self.asks_others or bool(both_set or earlier.sets & self.reads or earlier.reads & self.sets)


@runtime_checkable
class DeclaresUses(Protocol):
    """A validator that declares what it uses. Without it, a validator may read and set everything."""

    uses: Uses


@runtime_checkable
class UsesByPhase(Protocol):
    """A validator that uses less in some phases than in others."""

    uses_at: Mapping[Phase, Uses]


@runtime_checkable
class Authenticates(Protocol):
    """A validator that writes `Authentication-Results`: then no field in a message may claim to be ours."""

    authenticates: bool


class Validator(Protocol):
    """One loaded module, ready to check sessions."""

    name: str
    on_error: OnError
    deadline: float
    """Seconds that one hook may wait."""

    def hooks(self) -> Mapping[Phase, Hook]:
        """Return the phases that it hooks into. A passive module returns none."""
        ...

    def needs(self, phase: Phase) -> Need:
        """Return which part of the content its hook in `phase` reads."""
        ...
