"""How a worker stays connected to the keeper, whichever process that is now. Its owner decides what is sent."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Callable
from typing import Generic, TypeVar

from proxy.base.tasks import TaskOwner, spawn
from proxy.keeper.door import knock
from proxy.keeper.frames import encode
from proxy.keeper.link import Link, Message
from proxy.keeper.messages import Hello, Welcome

HEAL_SECONDS = 3.0
"""After this time without a keeper, questions no longer wait for it. A replacement usually takes less."""

_FIRST_PAUSE, _LONGEST_PAUSE = 0.02, 1.0
"""Between two attempts to reach the keeper."""

M = TypeVar("M")


class Reach(Generic[M]):
    """A connection through a door, opened again whenever it is lost. The event loop's thread owns its state."""

    def __init__(
        self,
        outside: socket.socket,
        hello: Hello,
        decode: Callable[[bytes], list[M | Welcome]],
        *,
        heard: Callable[[M], None],
        welcomed: Callable[[], None],
        gave_up: Callable[[], None],
    ) -> None:
        """Connect; the loop must run. `welcomed`: a keeper answers from now on. `gave_up`: none has come for long."""
        self._outside, self._hello, self._decode = outside, encode(hello), decode
        self._on_message, self._on_welcome, self._on_giving_up = heard, welcomed, gave_up
        self._owner = TaskOwner("keeper")
        self._link: Link[M | Welcome] | None = None
        self._finished: Link[M | Welcome] | None = None
        self._welcome = False
        self.given_up = False
        """Whether callers should no longer wait for a keeper."""
        self._pause = _FIRST_PAUSE
        self._loop = asyncio.get_running_loop()
        self._healing = self._knocking = self._loop.call_later(HEAL_SECONDS, self._give_up)
        self._connect()

    def send(self, message: Message) -> None:
        """Send, if a keeper answers. If none does, `welcomed` is called when one comes."""
        if self._welcome and self._link is not None:
            self._link.send(message)

    def begin_again(self) -> None:
        """Open another connection, because this one's keeper does not answer. Nothing happens if it never did."""
        if self._welcome and self._link is not None:
            self._link.abort()

    async def close(self) -> None:
        """Disconnect."""
        self._healing.cancel()
        self._knocking.cancel()
        link, self._link = self._link, None
        await self._owner.cancel()
        if link is not None:
            link.abort()
        if self._finished is not None:
            self._finished.forgo()

    def finish(self) -> None:
        """Disconnect when everything was sent; for good."""
        self._healing.cancel()
        self._knocking.cancel()
        link, self._link = self._link, None
        if link is not None:
            self._finished = link
            link.close()

    def _connect(self) -> None:
        """Send a connection through the door. The keeper, or its replacement, welcomes it sooner or later."""
        try:
            ours = knock(self._outside, self._hello)
        except OSError:
            self._connect_later()
            return
        link = self._link = Link(self._decode, self._heard, self._lost)
        spawn(link.begin(ours), name="connection to the keeper", owner=self._owner)

    def _heard(self, link: Link[M | Welcome], messages: list[M | Welcome]) -> None:
        for each in messages:
            if not isinstance(each, Welcome):
                self._on_message(each)
            elif link is self._link:
                self._welcome, self.given_up, self._pause = True, False, _FIRST_PAUSE
                self._healing.cancel()
                self._on_welcome()

    def _lost(self, link: Link[M | Welcome]) -> None:
        if link is not self._link:
            return
        self._link = None
        if self._welcome:
            self._welcome = False
            self._healing = self._loop.call_later(HEAL_SECONDS, self._give_up)
        self._connect_later()

    def _connect_later(self) -> None:
        self._knocking = self._loop.call_later(self._pause, self._connect)
        self._pause = min(2 * self._pause, _LONGEST_PAUSE)

    def _give_up(self) -> None:
        """Stop waiting for a keeper that does not come."""
        self.given_up = True
        self._on_giving_up()
