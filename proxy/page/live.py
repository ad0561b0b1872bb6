"""`Live`: the latest events of mail, for a table of sessions as they happen.

It gets the lines that the history gets, and keeps the newest of them as they are. They are parsed only for a viewer.
"""

from __future__ import annotations

from collections import Counter, OrderedDict, deque
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import msgspec

from proxy.base.lines import NAME_AT
from proxy.page.drawing import sender_in

MOST_LINES = 600
LONGEST_LINE = 8192
"""Octets; longer lines are not shown here, but the history has them."""
MOST_SESSIONS = 60

_SHOWN = frozenset({b"message", b"recipient", b"session", b"refused", b"probe", b"tls_failed", b"authenticated",
                    b"authentication_failed"})  # fmt: skip
_ENDINGS = {
    "relayed": "relayed",
    "refused": "refused",
    "deferred": "deferred",
    "discarded": "discarded",
    "lost": "lost",
}


class _Probe(msgspec.Struct):
    status: str = ""
    reason: str = ""


@dataclass(slots=True)
class LiveSession:
    """One row."""

    id: str
    client: str = ""
    helo: str = ""
    phase: str = "connect"
    sender: str = ""
    recipient: str = ""
    fate: str = ""
    reply: str = ""
    callback: str = ""
    at: str = ""
    seconds: float | None = None
    ended: str = ""
    messages: int = 0
    runs: bool = False
    """Whether a worker says that it runs."""
    state: str = ""
    """What it then waits for."""


@dataclass(slots=True)
class Live:
    """The event loop's thread owns it."""

    reasons: Counter[str] = field(default_factory=Counter)
    """What callbacks found since this process was started: `status (reason)`; both are from closed sets."""
    number: int = 0
    """How many lines came."""
    _lines: deque[bytes] = field(default_factory=lambda: deque(maxlen=MOST_LINES))

    def take(self, octets: bytes) -> None:
        """Keep the newest lines."""
        for line in octets.splitlines():
            name = line[NAME_AT : NAME_AT + 24].partition(b'"')[0]
            if name in _SHOWN and len(line) <= LONGEST_LINE:
                self._lines.append(line)
                self.number += 1
            if name == b"probe":
                self._count(line)

    def _count(self, line: bytes) -> None:
        try:
            probe = msgspec.json.decode(line, type=_Probe)
        except msgspec.DecodeError:
            return
        self.reasons[f"{probe.status} ({probe.reason.replace('_', ' ')})" if probe.reason else probe.status] += 1

    def sessions(self) -> list[LiveSession]:
        """Return the latest sessions, newest first."""
        rows: OrderedDict[str, LiveSession] = OrderedDict()
        for event in self._events():
            name = event.get("session")
            if not name:
                continue
            row = rows.setdefault(name, LiveSession(name))
            rows.move_to_end(name)
            _note(row, event)
        return list(rows.values())[: -MOST_SESSIONS - 1 : -1]

    def _events(self) -> Iterator[dict[str, Any]]:
        for line in self._lines:
            try:
                event = msgspec.json.decode(line)
            except msgspec.DecodeError:
                continue
            if isinstance(event, dict):
                yield event


def _note(row: LiveSession, event: dict[str, Any]) -> None:
    row.at = str(event.get("timestamp", ""))[11:23]
    row.client = event.get("client") or row.client
    row.helo = event.get("helo") or row.helo
    if event["event"] == "probe":
        row.callback = (
            f"{event['status']} ({event['reason'].replace('_', ' ')})" if event["reason"] else event["status"]
        )
        row.sender = row.sender or event["address"]
    elif event["event"] == "session":
        row.ended, row.seconds, row.messages = event["ended"], event["seconds"], event["messages"]
    elif event["event"] in {"message", "recipient", "refused"}:
        _note_fate(row, event)


def _note_fate(row: LiveSession, event: dict[str, Any]) -> None:
    row.sender = event.get("sender") or sender_in(event) or row.sender
    row.recipient = event.get("recipient") or ", ".join(event.get("recipients", ())) or row.recipient
    row.phase = event.get("phase") or row.phase
    row.fate = _ENDINGS.get(event.get("disposition", ""), row.fate)
    row.reply = event.get("reply") or row.reply
