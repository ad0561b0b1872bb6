"""`Inbound_Throttle_Messages`: clients wait for their turn if messages arrive faster than configured."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass

from proxy.counting.base import Counting, CountingUnavailable, answered
from proxy.counting.operations import Reserve
from proxy.mail import replies
from proxy.mail.replies import Reply
from proxy.options.throttle import Throttle
from proxy.smtp.pending import Answer, Pending

PATIENCE_SECONDS = 60.0
"""The longest wait for a turn. Clients wait five minutes for the reply to MAIL (RFC 5321 section 4.5.3.2.2)."""

_ROOM = "inbound"
_TOO_MUCH = replies.TOO_MUCH_MAIL.decided_by("inbound_throttle_messages")
_NOT_COUNTED = replies.INTERNAL.decided_by("on_store_error")


@dataclass(frozen=True, slots=True)
class Turn:
    """A command's place among the commands of all clients."""

    counting: Counting
    listener: str
    """The listener whose clients take turns; empty: all listeners together."""
    throttle: Throttle

    async def before(self, go_on: Callable[[], Answer]) -> Reply | None:
        """Wait for the turn, and continue with the command. Return a reply if the turn would come too late."""
        most, seconds = self.throttle.count, self.throttle.seconds
        asked = Reserve(_ROOM, self.listener.encode(), PATIENCE_SECONDS, most, seconds)
        try:
            turn = await answered(self.counting, asked)
        except CountingUnavailable:
            return _NOT_COUNTED
        if turn is None or not turn.allowed:
            return _TOO_MUCH
        if turn.wait:
            await asyncio.sleep(turn.wait)
        answer = go_on()
        return await answer.work if type(answer) is Pending else answer
