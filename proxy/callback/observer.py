"""Hooks for watching how a question is answered: `ringback probe` shows people how a verdict came about.

Each step is reported when it happens, as an event with fields, like in the log:

| event | fields |
|---|---|
| `mapped` | `domain`, and the `host` that the operator named for it |
| `exchangers` | `domain`, and its `exchangers` as (preference, host); empty if the domain is its own exchanger |
| `addresses` | `host`, and the `addresses` that it has |
| `passed_over` | `host`, `address` (empty for all), and `why`; also for a host that was asked but did not decide |
| `connecting` | `host`, and the `addresses` tried |
| `connected` | `host`, `address`, `port` |
| `tls` | the negotiated `version` |
"""

from __future__ import annotations

import time
from typing import Any

from proxy.base.lines import printable

MOST_HEARD = 8192
"""Octets of a conversation that are kept."""


class Observer:
    """Does nothing; subclasses override both methods. Neither may raise or wait."""

    __slots__ = ()

    sees_connecting = False
    """Whether it gets an event for a connection before the greeting; that costs a step more."""

    def note(self, event: str, **fields: Any) -> None:
        """Report a step or a finding."""

    def said(self, ours: bool, octets: bytes) -> None:  # noqa: FBT001 — as `wire.Listener` is called
        """Report bytes as they were on the wire, and whether we sent them."""


class Recorder(Observer):
    """Keeps what was said, with the milliseconds since the probe began, for the history."""

    __slots__ = ("_began", "_heard", "_octets")

    def __init__(self) -> None:
        self._began = time.monotonic()
        self._heard: list[tuple[float, bool, bytes]] = []
        self._octets = 0

    def said(self, ours: bool, octets: bytes) -> None:  # noqa: FBT001 - as above
        """Keep it, unless too much is kept already."""
        self._octets += len(octets)
        if self._octets <= MOST_HEARD:
            self._heard.append((time.monotonic(), ours, octets))

    @property
    def conversation(self) -> str:
        """The lines: milliseconds, C for us or S for the exchanger, and what was said."""
        return "\n".join(
            f"{(at - self._began) * 1000:.0f} {'C' if ours else 'S'}: {printable(line)}"
            for at, ours, octets in self._heard
            for line in octets.splitlines()
        )


NOBODY = Observer()
