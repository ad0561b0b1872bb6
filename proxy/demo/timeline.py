"""What happened, in order, across all conversations of the demonstration: Event, PeerRole, Timeline.

All parties live in one process, so one list with one clock tells the whole story. Nothing here prints.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, field
from enum import StrEnum


class PeerRole(StrEnum):
    """A peer's role. RINGBACK is for its own conclusions."""

    CLIENT = "client"
    NAMESERVER = "nameserver"
    EXCHANGER = "exchanger"
    UPSTREAM = "upstream"
    RINGBACK = "ringback"


@dataclass(frozen=True, slots=True)
class Event:
    """One line between Ringback and a peer, or a remark about the connection when `spoken` is false.

    `at` is seconds on the monotonic clock; `to_peer` tells whether Ringback spoke.
    """

    at: float
    role: PeerRole
    peer: str
    to_peer: bool
    text: str
    spoken: bool = True
    routine: bool = False
    """Part of a greeting, EHLO or QUIT, which look alike in every conversation."""


@dataclass(slots=True)
class Timeline:
    """The events so far; `listener`, when set, hears each at once."""

    events: list[Event] = field(default_factory=list)
    listener: Callable[[Event], None] | None = None

    def line(self, role: PeerRole, peer: str, text: str, *, to_peer: bool, routine: bool = False) -> None:
        """Record a line that was spoken."""
        self._add(Event(time.monotonic(), role, peer, to_peer, text, routine=routine))

    def remark(self, role: PeerRole, peer: str, text: str, *, to_peer: bool = True) -> None:
        """Record something that no line says, such as a closed connection."""
        self._add(Event(time.monotonic(), role, peer, to_peer, text, spoken=False))

    def take(self) -> list[Event]:
        """Return the events since the last call."""
        taken, self.events = self.events, []
        return taken

    def _add(self, event: Event) -> None:
        if self.listener is None:
            self.events.append(event)
        else:
            self.listener(event)
