"""The running sessions of a worker."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from typing import Any, Protocol

from proxy.base.tasks import TaskOwner


class Live(Protocol):
    """A running session, as the code that stops the server sees it, and the console."""

    @property
    def dialogue(self) -> Any:
        """The client as the commands see it: a `Dialogue`."""
        ...

    @property
    def pending(self) -> Any:
        """The command that waits, a `Pending`; None if none does."""
        ...

    def kill(self) -> None:
        """As `cut`, because an operator wants it."""
        ...

    def drain(self) -> None:
        """Answer 421 at the next command, which may be now."""
        ...

    def keep(self, earlier: Any, entrances: Mapping[Any, Any]) -> None:
        """Continue with the settings from before the configuration changed: `earlier` in place of the front."""
        ...

    def cut(self) -> None:
        """End the session at once, or after the next hop's reply if it may already have accepted the message."""
        ...


class Sessions(TaskOwner):
    """The running sessions of a worker, and the tasks of their commands that wait. The loop's thread owns it."""

    __slots__ = ("_waiters", "live")

    def __init__(self) -> None:
        """Start without a session."""
        super().__init__("sessions")
        self.live: set[Live] = set()
        self._waiters: list[asyncio.Future[None]] = []

    def __len__(self) -> int:
        return len(self.live)

    def forget(self, session: Live) -> None:
        """Forget a session that has ended."""
        self.live.discard(session)
        if self._waiters and not self.live:
            for waiter in self._waiters:
                if not waiter.done():
                    waiter.set_result(None)
            self._waiters.clear()

    async def wait(self, seconds: float) -> bool:
        """Wait up to `seconds` for all sessions to end; return whether they did."""
        if self.live:
            waiter = asyncio.get_running_loop().create_future()
            self._waiters.append(waiter)
            await asyncio.wait((waiter,), timeout=seconds)
        return not self.live

    async def cancel(self) -> None:
        """End every session, also one that waits for the next hop's reply to our dot."""
        await super().cancel()
        for session in tuple(self.live):
            session.cut()
