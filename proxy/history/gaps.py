"""What is missing: lines that were dropped, counted by kind, and when."""

from __future__ import annotations

import time
from typing import Any

from proxy.base.lines import name_of

TELL_SECONDS = 1.0
"""A gap that continues is one row per second."""

DETAILS, ACCEPTED, OTHERS, REFUSALS = range(4)
"""What goes first: recipients and sessions of accepted mail, its messages, what else happened, and last refusals."""

_KINDS = {b"session": DETAILS, b"recipient": DETAILS, b"message": ACCEPTED, b"refused": REFUSALS, b"dialogue": REFUSALS}
_OF_MAIL = frozenset({b"recipient", b"message"})
RELAYED = b'"disposition":"relayed"'


def kind_of(line: bytes) -> int:
    """Return a line's kind without reading it as JSON."""
    name = name_of(line)
    if name in _OF_MAIL and RELAYED not in line:
        return REFUSALS
    return _KINDS.get(name, OTHERS)


class Gap:
    """Lines dropped for one reason, since it was last told. One thread at a time uses it."""

    def __init__(self, reason: str, worker: int | None = None) -> None:
        self.reason, self._worker = reason, worker
        self._counts = [0, 0, 0, 0]
        self._first = self._last = 0.0

    def add(self, kind: int, now: float) -> None:
        """Count a line that is dropped now."""
        self._counts[kind] += 1
        self._first, self._last = self._first or now, now

    def __bool__(self) -> bool:
        return self._first > 0

    def is_due(self, now: float) -> bool:
        """Whether it should become a row, even if it continues. The clock may have been set back."""
        return self._first > 0 and not 0 <= now - self._first < TELL_SECONDS

    def event(self) -> dict[str, Any]:
        """Return it as an event."""
        details, accepted, others, refusals = self._counts
        event: dict[str, Any] = {
            "timestamp": _stamp(self._last), "event": "history_gap", "reason": self.reason,
            "first": _stamp(self._first), "last": _stamp(self._last), "details": details, "accepted": accepted,
            "others": others, "refusals": refusals,
        }  # fmt: skip
        return event if self._worker is None else {**event, "worker": self._worker}

    def fields(self) -> dict[str, Any]:
        """Return it as the log's fields: the log adds the time and its own process."""
        return {name: value for name, value in self.event().items() if name not in {"timestamp", "event", "worker"}}

    def clear(self) -> None:
        """Start again from zero: the gap was reported."""
        self._counts = [0, 0, 0, 0]
        self._first = self._last = 0.0


def _stamp(at: float) -> str:
    return time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(at)) + f".{int(at % 1 * 1_000_000):06d}Z"
