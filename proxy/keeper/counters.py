"""The keeper's side of counting: it performs the operations of all workers, in the order in which each sends them."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from inspect import isawaitable
from typing import Any, Protocol

import msgspec

from proxy.base.tasks import TaskOwner, spawn
from proxy.counting.base import Counting, CountingUnavailable
from proxy.counting.memory import MemoryCounting
from proxy.counting.operations import Hold, Lease, Return
from proxy.keeper.frames import encode
from proxy.keeper.link import Link
from proxy.keeper.messages import Count, Done, Welcome, decode_counts

_NOTHING = msgspec.Raw(encode(None))


class Owning(Counting, Protocol):
    """A counting that knows which processes have places, and can go on in another process."""

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
        self._owner = TaskOwner("counters")
        self._links: dict[str, Link[Count]] = {}
        """By the worker's name as an owner of places."""

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
        """The workers are sent away. Their places stay theirs: another keeper is told of them."""
        self.counting.pause()
        for owner in self._links:
            self.counting.disconnect(owner)
        self._links.clear()

    def resume(self) -> None:
        """The workers come back."""
        self.counting.resume()

    async def close(self) -> None:
        """Cancel what is under way."""
        await self._owner.cancel()

    def _gone(self, link: Link[Count], owner: str) -> None:
        if self._links.get(owner) is link:
            del self._links[owner]
            self.counting.drop(owner)

    def _heard(self, link: Link[Count], owner: str, counts: list[Count]) -> None:
        waits: list[tuple[int, Awaitable[Any]]] = []
        for each in counts:
            operation = each.operation
            if isinstance(operation, Lease | Return | Hold):
                operation.owner = owner
            try:
                answer: Any = self.counting.ask(operation)
            except CountingUnavailable:
                link.send(Done(each.number, _NOTHING, failed=True))
                continue
            if isawaitable(answer):
                waits.append((each.number, answer))
            else:
                link.send(Done(each.number, msgspec.Raw(encode(answer))))
        if waits:
            spawn(_answer(link, waits), name="operations of a worker", owner=self._owner)


async def _answer(link: Link[Count], waits: list[tuple[int, Awaitable[Any]]]) -> None:
    for number, answer in waits:
        try:
            link.send(Done(number, msgspec.Raw(encode(await answer))))
        except CountingUnavailable:
            link.send(Done(number, _NOTHING, failed=True))
