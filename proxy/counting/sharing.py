"""Counting for several machines together, and for this machine alone while their store does not answer."""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import Awaitable
from contextlib import suppress
from functools import partial
from typing import Any, Protocol, TypeVar, cast

from proxy.base.log import get_logger
from proxy.base.tasks import TaskOwner, spawn
from proxy.base.waiting import fail
from proxy.counting.base import CountingUnavailable
from proxy.counting.clock import Clock
from proxy.counting.leases import ALONE
from proxy.counting.local import Meanwhile
from proxy.counting.memory import MemoryCounting
from proxy.counting.operations import Add, Forget, Hold, Lease, Operation, Present, Return, Show, Sum
from proxy.counting.presence import is_here_only
from proxy.store.base import StoreUnavailable
from proxy.store.fallback import Retry

log = get_logger()

RENEW_SECONDS = 1.0
"""How often a machine says that its processes live; `leases.ALIVE_SECONDS` is five times that."""

A = TypeVar("A")

_OF_PLACES, _OF_SERIES, _OF_OPERATORS = (Lease, Return, Hold), (Add, Sum), (Show, Forget)
"""Kinds of operations. To look a class up costs a fifth of `isinstance` with a union."""


class SharedStore(Protocol):
    """Performs operations for all machines: `proxy.counting.redis.RedisCounting`."""

    def submit(self, operation: Operation[Any]) -> asyncio.Future[Any]:
        """Send an operation, after all earlier ones; `read` makes the answer of the reply.

        Raises:
            StoreUnavailable: too many wait. The future raises it, too.
        """
        ...

    def read(self, operation: Operation[A], reply: Any) -> A:
        """Return the answer.

        Raises:
            StoreUnavailable: another program has written there.
        """
        ...

    async def inspect(self) -> str:
        """Return what is wrong with how the store is set up; empty if nothing is.

        Raises:
            StoreUnavailable: it does not answer.
        """
        ...

    async def search(self, operation: Operation[A]) -> A:
        """Perform an operation that looks at many keys.

        Raises:
            StoreUnavailable: it does not answer.
        """
        ...

    async def close(self) -> None:
        """Close the connections."""
        ...


class SharedCounting:
    """A store that machines share, or this process while it is down. The event loop's thread owns its state."""

    def __init__(
        self, shared: SharedStore, meanwhile: Meanwhile, clock: Clock = time.monotonic, *, alone: str = ""
    ) -> None:
        """`clock` times the retries. Nothing connects before the first operation.

        `alone` is this process as an owner of places, by a name that its machine has only once.
        """
        self._shared, self._meanwhile, self._clock = shared, meanwhile, clock
        self._retry = Retry()
        self._owner = TaskOwner("shared counting")
        self.alone = alone or f"pid {os.getpid()}"

    @property
    def is_alone(self) -> bool:
        """Whether the store did not answer when it was asked last."""
        return self._retry.retry_at is not None

    @property
    def local(self) -> MemoryCounting:
        """The tables of this process: what it counted alone, and which places its owners have."""
        return self._meanwhile.counting

    async def start(self) -> None:
        """See how the store is set up, and say from now on that this machine's processes live."""
        spawn(self._inspect(), name="inspect the store", owner=self._owner)
        spawn(self._renew_along(), name="renew leases", owner=self._owner)

    def ask(self, operation: Operation[A]) -> A | Awaitable[A]:
        """Send an operation to the store, or perform it here if the store is down.

        Raises:
            CountingUnavailable: it is down, and `on_store_error = defer`.
        """
        kind = operation.__class__
        if kind in _OF_PLACES:
            self._own(cast(Lease | Return | Hold, operation))
        if _is_here_only(operation):
            return self.local.ask(operation)
        if not self._retry.may_try(self._clock()):
            return self._meanwhile.ask(operation, "the store is down")
        if kind in _OF_OPERATORS:
            search = self._search(operation)
            return spawn(search, name="search of counts", owner=self._owner)
        try:
            reply = self._shared.submit(_without_own(operation))
        except StoreUnavailable as error:
            return self._failed(operation, error)
        answer: asyncio.Future[A] = asyncio.get_running_loop().create_future()
        reply.add_done_callback(partial(self._replied, operation, answer))
        return answer

    def _own(self, operation: Lease | Return | Hold) -> None:
        """Give this process as the owner, if no other one asks."""
        if operation.owner == ALONE:
            operation.owner = self.alone
            self.local.leases.connect(self.alone)

    def tell(self, operation: Operation[A]) -> None:
        """Send an operation to the store, and do not wait."""
        with suppress(CountingUnavailable):
            self.ask(operation)

    async def close(self) -> None:
        """Free this process's own places, and disconnect."""
        await self._owner.cancel()
        if self.local.leases.held_by(self.alone):
            await self._quietly(Hold(self.alone, []))
        await self._shared.close()

    # ------------------------------------------------------------ owners of places

    def connect(self, owner: str) -> None:
        """An owner lives."""
        self.local.connect(owner)

    def disconnect(self, owner: str) -> None:
        """Whether an owner lives is not known; the store finds out by itself."""
        self.local.disconnect(owner)

    def drop(self, owner: str) -> None:
        """An owner has ended."""
        self.local.drop(owner)
        self.tell(Hold(owner, []))

    def pause(self) -> None:
        """Another process says that the owners live."""

    def resume(self) -> None:
        """It has failed."""

    # ------------------------------------------------------------ the store

    def _replied(self, operation: Operation[A], asked: asyncio.Future[A], reply: asyncio.Future[Any]) -> None:
        """Answer; if the store has failed, from this process's own count."""
        if reply.cancelled():
            asked.cancel()
            return
        try:
            answer = self._read(operation, reply)
        except CountingUnavailable as error:
            if not asked.done():
                fail(asked, error)
            return
        if not asked.done():
            asked.set_result(answer)

    def _read(self, operation: Operation[A], reply: asyncio.Future[Any]) -> A:
        try:
            answer = self._shared.read(operation, reply.result())
        except StoreUnavailable as error:
            return self._failed(operation, error)
        kind = operation.__class__
        if kind in _OF_PLACES:
            self._meanwhile.note(operation, answer, getattr(operation, "owner", ALONE))
        if self._retry.retry_at is not None:
            self._retry.retry_at = None
            self._meanwhile.over()
            self._hold_all()
        return answer

    async def _search(self, operation: Operation[A]) -> A:
        try:
            return await self._shared.search(operation)
        except StoreUnavailable as error:
            return self._failed(operation, error)

    def _failed(self, operation: Operation[A], error: StoreUnavailable) -> A:
        self._retry.failed(self._clock())
        return self._meanwhile.ask(operation, error.reason)

    def _hold_all(self) -> None:
        """Tell the store the places of all owners that live: some were leased, or returned, without it."""
        for owner, held in list(self.local.leases.states()):
            self.tell(Hold(owner, held))

    async def _renew_along(self) -> None:
        await self._quietly(Hold(self.alone, self.local.leases.held_by(self.alone)))  # not what a dead one had
        while True:
            await asyncio.sleep(RENEW_SECONDS)
            for owner, held in list(self.local.leases.states()):
                if self._retry.retry_at is None and not await self._quietly(Hold(owner)):
                    await self._quietly(Hold(owner, held))  # the store has forgotten it

    async def _inspect(self) -> None:
        try:
            problem = await self._shared.inspect()
        except StoreUnavailable:
            return  # the first operation tells
        if problem:
            log.warning("counting_store_evicts", policy=problem)

    async def _quietly(self, operation: Operation[Any]) -> Any:
        try:
            return self._shared.read(operation, await self._shared.submit(_without_own(operation)))
        except StoreUnavailable:
            return True


def _is_here_only(operation: Operation[Any]) -> bool:
    """Whether an operation is about this machine alone."""
    if operation.__class__ in _OF_SERIES:  # as most are
        return operation.here
    match operation:
        case Lease():
            return bool(operation.places) and is_here_only(operation.places[0][0])
        case Return():
            return bool(operation.keys) and is_here_only(operation.keys[0])
        case _:
            return isinstance(operation, Present)


def _without_own(operation: Operation[Any]) -> Operation[Any]:
    """Return what others may know of an operation."""
    if isinstance(operation, Hold) and operation.held is not None:
        return Hold(operation.owner, [each for each in operation.held if not is_here_only(each[0])])
    return operation
