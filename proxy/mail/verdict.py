"""What policy finds at one phase, for the front to turn into a reply."""

from __future__ import annotations

from dataclasses import dataclass

from proxy.mail.replies import Reply


@dataclass(frozen=True, slots=True)
class Verdict:
    """What a validator found. `reply` None lets the command pass; `discard` accepts it and relays nothing."""

    reply: Reply | None = None
    discard: bool = False


PASS = Verdict()
