"""The result of policy at one phase, which the front turns into a reply."""

from __future__ import annotations

from collections.abc import Awaitable
from dataclasses import dataclass, field
from typing import final

from proxy.mail.replies import Reply


@final
@dataclass(frozen=True, slots=True)
class Verdict:
    """A validator's result. `reply` None lets the command pass; `discard` accepts it and relays nothing."""

    reply: Reply | None = None
    discard: bool = False
    by: str = field(default="", compare=False)
    """Who discards: a module, or a script's line."""

    def signed(self, name: str) -> Verdict:
        """Return the verdict with the name of the module that gave it, if it does not say who decided."""
        if self.reply is not None:
            return self if self.reply.by else Verdict(self.reply.decided_by(name), self.discard, self.by)
        return self if self.by else Verdict(None, self.discard, name)


PASS = Verdict()


async def decided(answer: Verdict | Awaitable[Verdict]) -> Verdict:
    """Return policy's verdict, waiting for it if policy has to wait."""
    return answer if isinstance(answer, Verdict) else await answer
