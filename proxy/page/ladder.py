"""One session as a ladder: client ⇄ Ringback ⇄ next hop, with the callback's own dialogue and the line that decided.

It is made from the history (`proxy.page.drawing`). This module has the elements that the page draws.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from proxy.history.search import Item

CLIENT, RINGBACK, EXCHANGER, UPSTREAM = "client", "ringback", "exchanger", "upstream"

TONES = {
    "pass": "ok", "fail": "refused", "transient": "deferred", "error": "deferred", "relayed": "ok",
    "refused": "refused", "deferred": "deferred", "discarded": "discarded", "lost": "lost",
}  # fmt: skip
"""Verdicts and fates → the tone in which they are shown."""


def short(decided_by: str) -> str:
    """Return who decided, with a script's file and its folder in place of the whole path."""
    kind, space, place = decided_by.partition(" ")
    return f"{kind}{space}{'/'.join(place.split('/')[-2:])}" if kind == "script" else decided_by


@dataclass(frozen=True, slots=True)
class Line:
    """A line of a script."""

    number: int
    text: str
    decided: bool


@dataclass(frozen=True, slots=True)
class Excerpt:
    """The place in a script that decided, as the file has it now."""

    file: str
    lines: Sequence[Line]
    changed: bool
    """Whether the file has changed since."""


@dataclass(frozen=True, slots=True)
class Step:
    """An arrow from one party to another or, without `to`, a note at Ringback."""

    of: str
    text: str = ""
    to: str = ""
    tone: str = ""
    ms: int | None = None
    """Milliseconds since the connection, if they are known."""
    took: int | None = None
    """How long it took, in milliseconds."""
    gap: int = 0
    """How long nothing happened before it, in milliseconds, if that is worth a look."""
    told: bool = False
    """Whether it is inferred from the result, because its words were not kept."""
    title: str = ""
    excerpt: Excerpt | None = None
    callback: bool = False
    """Whether it is part of a callback."""

    @property
    def towards(self) -> str:
        """Left or right, for the arrow's head."""
        lanes = (CLIENT, RINGBACK, EXCHANGER, UPSTREAM)
        return "right" if lanes.index(self.of) < lanes.index(self.to) else "left"

    @property
    def between(self) -> str:
        """The two lanes, from left to right."""
        return f"{RINGBACK}-{self.other}" if self.other != CLIENT else f"{CLIENT}-{RINGBACK}"

    @property
    def other(self) -> str:
        """The party that is not Ringback."""
        return self.to if self.of == RINGBACK else self.of


@dataclass(frozen=True, slots=True)
class Stages:
    """Where the time of a message went: names, and milliseconds."""

    message: str
    parts: Sequence[tuple[str, int]]


@dataclass(slots=True)
class Ladder:
    """What the page draws."""

    session: Item
    began: int
    """Milliseconds since 1970."""
    exchanger: str = ""
    upstream: str = ""
    steps: list[Step] = field(default_factory=list)
    stages: list[Stages] = field(default_factory=list)
    fate: str = ""
    headline: str = ""
    reply: str = ""
    decided: str = ""
    sender: str = ""
    recipients: list[str] = field(default_factory=list)
    more: bool = False
    """Whether steps were left out."""

    @property
    def lanes(self) -> list[tuple[str, str, str]]:
        """The parties from left to right: lane, role, name."""
        found = [
            (CLIENT, "Client", str(self.session.get("client") or "unknown")),
            (RINGBACK, "Ringback", f"session {self.session.get('id', '')}"),
        ]
        if self.exchanger:
            found.append((EXCHANGER, "Sender's exchanger", self.exchanger))
        if self.upstream:
            found.append((UPSTREAM, "Next hop", self.upstream))
        return found

    @property
    def shape(self) -> str:
        """Which lanes there are, as a class of the style sheet."""
        return "-".join(["lanes", *(lane for lane, _, _ in self.lanes)])

    @property
    def tone(self) -> str:
        """The tone of its fate."""
        return TONES.get(self.fate, "")
