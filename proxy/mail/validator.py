"""The policy interface: a validator hooks into phases, and its verdict decides about the command.

A validator never writes to a client. It returns a verdict; the front turns it into the reply.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from enum import StrEnum
from typing import Protocol

from proxy.mail.session import Session
from proxy.mail.verdict import Verdict
from sieve.phases import Need, Phase

Hook = Callable[[Session], Verdict | Awaitable[Verdict]]
"""Checks the session at one phase. A plain function answers at once; a coroutine function costs a task each time."""


class OnError(StrEnum):
    """What happens to a command if a validator times out or fails."""

    DEFER = "defer"
    ACCEPT = "accept"


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
