"""The keeper's side of counting: it performs the operations of all workers, in the order in which each sends them."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from functools import partial
from typing import Any, Protocol

from proxy.counting.base import Counting, CountingUnavailable
from proxy.counting.memory import MemoryCounting
from proxy.counting.operations import Hold, Lease, Return
from proxy.keeper.link import Link
from proxy.keeper.messages import Count, Done, Performed, Welcome, decode_counts

_OF_PLACES = (Lease, Return, Hold)

PERFORMED_SECONDS = 0.2
"""After how long the keeper confirms operations that need no answer, if no answer confirms them before: a fifth of the
worker's deadline. Confirming each one would wake both processes for each message."""


class Owning(Counting, Protocol):
    """A counting that knows which processes have places, and can continue in another process."""

    @property
    def local(self) -> MemoryCounting:
        """The tables of this process, to be handed over."""
        ...

    def connect(self, owner: str) -> None:
        """An owner lives, until it is disconnected or dropped."""
        ...

    def disconnect(self, owner: str) -> None:
        """Whether an owner lives is not known: it may come back."""
        ...

    def drop(self, owner: str) -> None:
        """An owner has ended: its places are free."""
        ...

    def pause(self) -> None:
        """Another process counts on."""
        ...

    def resume(self) -> None:
        """It has failed: this one counts on."""
        ...


class Counters:
    """Performs what comes over the connections of workers. The event loop's thread owns its state."""

    def __init__(self, counting: Owning) -> None:
        self.counting = counting
        self._links: dict[str, Link[Count]] = {}
        """By the worker's name as an owner of places."""
        self._taken: dict[Link[Count], int] = {}
        """For each connection, the number of the last operation that needs no answer, if it is not confirmed yet."""
        self._loop = asyncio.get_running_loop()
        self._saying: asyncio.TimerHandle | None = None

    def link(self, generation: int, slot: int, gone: Callable[[Link[Any]], None]) -> Link[Count]:
        """Return what serves a worker's new connection. Its earlier one, if it has not ended yet, owns nothing more."""
        owner = f"{generation}:{slot}"

        def lost(link: Link[Count]) -> None:
            gone(link)
            self._gone(link, owner)

        link: Link[Count] = Link(
            decode_counts,
            lambda link, counts: self._heard(link, owner, counts),
            lost,
            worker=slot,
        )
        self._links[owner] = link
        self.counting.connect(owner)
        link.send(Welcome())
        return link

    def shut(self) -> None:
        """The workers are sent away. Their places stay theirs: they report them to another keeper."""
        self.counting.pause()
        for owner in self._links:
            self.counting.disconnect(owner)
        self._links.clear()

    def resume(self) -> None:
        """The workers come back."""
        self.counting.resume()

    async def close(self) -> None:
        """Say nothing more."""
        if self._saying is not None:
            self._saying.cancel()

    def _gone(self, link: Link[Count], owner: str) -> None:
        self._taken.pop(link, None)
        if self._links.get(owner) is link:
            del self._links[owner]
            self.counting.drop(owner)

    def _heard(self, link: Link[Count], owner: str, counts: list[Count]) -> None:
        counting = self.counting
        for each in counts:
            operation: Any = each.operation
            if operation.__class__ in _OF_PLACES:
                operation.owner = owner
            if each.told:
                counting.tell(operation)
                continue
            try:
                answer: Any = counting.ask(operation)
            except CountingUnavailable:
                link.send(Done(each.number, None, failed=True))
                continue
            if isinstance(answer, asyncio.Future):
                answer.add_done_callback(partial(_answer, link, each.number))
            else:
                link.send(Done(each.number, answer))
        if counts and counts[-1].told:
            self._say_later(link, counts[-1].number)

    def _say_later(self, link: Link[Count], number: int) -> None:
        self._taken[link] = number
        if self._saying is None:
            self._saying = self._loop.call_later(PERFORMED_SECONDS, self._say)

    def _say(self) -> None:
        self._saying = None
        taken, self._taken = self._taken, {}
        for link, number in taken.items():
            link.send(Performed(number))


def _answer(link: Link[Count], number: int, answer: asyncio.Future[Any]) -> None:
    if answer.cancelled():
        return
    if isinstance(answer.exception(), CountingUnavailable):
        link.send(Done(number, None, failed=True))
    else:
        link.send(Done(number, answer.result()))
