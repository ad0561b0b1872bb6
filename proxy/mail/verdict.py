"""The result of policy at one phase, which the front turns into a reply."""

from __future__ import annotations

from collections.abc import Awaitable
from dataclasses import dataclass
from typing import final

from proxy.mail.replies import Reply


@final
@dataclass(frozen=True, slots=True)
class Verdict:
    """A validator's result. `reply` None lets the command pass; `discard` accepts it and relays nothing."""

    reply: Reply | None = None
    discard: bool = False


PASS = Verdict()


async def decided(answer: Verdict | Awaitable[Verdict]) -> Verdict:
    """Return policy's verdict, waiting for it if policy has to wait."""
    return answer if isinstance(answer, Verdict) else await answer
