"""The actions of a standard script, which take effect when it ends (RFC 5228, 2.10)."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import cast

from sieve.run.runtime import Frame

GLOBAL = "global."
"""Namespace of the variables that scripts share (RFC 6609, 3.4)."""


@dataclass(slots=True)
class StandardState:
    """The decisions of one run so far."""

    cancelled: bool = False
    """Whether an action cancelled the implicit keep."""
    kept: bool = False
    redirects: list[str] = field(default_factory=list)
    returned: bool = False
    globals: set[str] = field(default_factory=set)
    once: set[str] = field(default_factory=set)


def begin(frame: Frame) -> None:
    """Create the state of a run."""
    frame.dialect_state = StandardState()


def state_of(frame: Frame) -> StandardState:
    """Return the state of a run."""
    return cast(StandardState, frame.dialect_state)


def finish(frame: Frame) -> None:
    """Apply the decisions: change the envelope, and discard the message if nothing keeps it."""
    state = state_of(frame)
    stays = state.kept or not state.cancelled
    for number, address in enumerate(dict.fromkeys(state.redirects)):
        if number == 0 and not stays:
            frame.host.envelope.redirect(address)
        else:
            frame.host.envelope.copy(address)
    frame.discard = not stays and not state.redirects and not frame.replied
