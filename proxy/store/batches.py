"""Batches of small requests to a store: requests that arrive while a batch is in flight go with the next one.

A round trip to SQLite's thread or to Redis costs some hundred microseconds, whatever it carries; batching keeps a busy
worker fast. In a quiet worker, a single request leaves at once.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable, Iterable, Sequence
from typing import Generic, TypeVar

from proxy.base.tasks import TaskOwner, spawn
from proxy.store.base import StoreUnavailable

MOST_TOGETHER = 256
"""Most requests in one batch."""

MOST_WAITING = 10_000
"""Most requests waiting for their batch; further ones fail with StoreUnavailable."""

Q = TypeVar("Q")
A = TypeVar("A")

_Waiting = tuple[Q, asyncio.Future[A]]


class Batches(Generic[Q, A]):
    """Requests to one store, one batch in flight at a time. The event loop's thread owns the queue."""

    def __init__(
        self, run: Callable[[list[Q]], Awaitable[Sequence[A | StoreUnavailable]]], *, name: str, seconds: float
    ) -> None:
        """`run` answers a batch, in order, within `seconds`; it raises StoreUnavailable for the whole batch."""
        self._run, self._seconds = run, seconds
        self._owner = TaskOwner(name)
        self._waiting: deque[_Waiting[Q, A]] = deque()
        self._busy = False

    async def ask(self, question: Q) -> A:
        """Return the answer. A caller that leaves early does not delay the others.

        Raises:
            StoreUnavailable: the batch failed, or too many requests are waiting.
        """
        return await self.submit(question)

    def submit(self, question: Q) -> asyncio.Future[A]:
        """Queue a request now, and return its answer to come.

        Raises:
            StoreUnavailable: too many requests are waiting. The answer raises it, too.
        """
        if len(self._waiting) >= MOST_WAITING:
            raise StoreUnavailable("too many operations wait for the store")
        future: asyncio.Future[A] = asyncio.get_running_loop().create_future()
        self._waiting.append((question, future))
        if not self._busy:
            self._busy = True
            spawn(self._drain(), name=f"{self._owner.name} batches", owner=self._owner)
        return future

    async def close(self) -> None:
        """Cancel the batch in flight and fail all waiting requests."""
        await self._owner.cancel()
        self._fail((), "closed")  # a task that never ran has failed none of them
        self._busy = False

    async def _drain(self) -> None:
        batch: list[_Waiting[Q, A]] = []
        try:
            while self._waiting:
                batch = [self._waiting.popleft() for _ in range(min(MOST_TOGETHER, len(self._waiting)))]
                try:
                    async with asyncio.timeout(self._seconds):
                        answers = await self._run([question for question, _ in batch])
                except TimeoutError:
                    self._fail(batch, f"no answer within {self._seconds:g} s")
                except StoreUnavailable as error:
                    self._fail(batch, error.reason)
                else:
                    _answer(batch, answers)
        except BaseException as error:
            # Cancelled at the end, or a bug of ours: no caller may wait forever.
            self._fail(batch, f"closed: {type(error).__name__}")
            raise
        finally:
            self._busy = False

    def _fail(self, batch: Iterable[_Waiting[Q, A]], reason: str) -> None:
        """Fail this batch and all waiting requests: the next batch would fail too, after the same time."""
        for _, future in (*batch, *self._waiting):
            if not future.done():
                future.set_exception(StoreUnavailable(reason))
        self._waiting.clear()


def _answer(batch: Sequence[_Waiting[Q, A]], answers: Sequence[A | StoreUnavailable]) -> None:
    for (_, future), answer in zip(batch, answers, strict=True):
        if future.done():
            continue  # the caller has left
        if isinstance(answer, StoreUnavailable):
            future.set_exception(answer)
        else:
            future.set_result(answer)
