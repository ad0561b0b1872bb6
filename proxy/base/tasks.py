"""The only place that creates tasks: every task has a name and an owner, and ends with its owner.

The linter bans task creation elsewhere. So no task is lost, no exception is swallowed, and a shutdown knows what it
waits for.
"""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine, Iterable
from typing import Any, TypeVar

from proxy.base.log import get_logger

T = TypeVar("T")

log = get_logger()


MOST_DEEP = 50
"""Functions that are named to an operator who asks where a coroutine waits."""


class TaskOwner:
    """A set of running tasks that end together. The event loop's thread owns the set."""

    __slots__ = ("name", "tasks")

    def __init__(self, name: str) -> None:
        """`name` appears in the log when one of the tasks fails."""
        self.name = name
        self.tasks: set[asyncio.Task[Any]] = set()

    def __len__(self) -> int:
        return len(self.tasks)

    async def wait(self, seconds: float) -> bool:
        """Wait up to `seconds` for all tasks to end; return whether they did."""
        if not self.tasks:
            return True
        _, running = await asyncio.wait(self.tasks, timeout=seconds)
        return not running

    async def cancel(self) -> None:
        """Cancel every task and wait until each has unwound."""
        for task in self.tasks:
            task.cancel()
        if self.tasks:
            await asyncio.wait(self.tasks)

    def ended(self, task: asyncio.Task[Any]) -> None:
        """Forget a task that has ended, and log its failure."""
        self.tasks.discard(task)
        try:
            error = task.exception()
        except asyncio.CancelledError:
            return
        if error is not None:
            log.error("task_failed", task=task.get_name(), owner=self.name, exc_info=error)


def waits_in(work: Any) -> list[str]:
    """Return the functions in which a coroutine waits, the innermost last."""
    found: list[str] = []
    while work is not None and len(found) < MOST_DEEP:
        code = getattr(work, "cr_code", None)
        if code is None:
            break
        found.append(code.co_qualname)
        work = work.cr_await
    return found


def spawn(work: Coroutine[Any, Any, T], *, name: str, owner: TaskOwner) -> asyncio.Task[T]:
    """Start `work` as a task that belongs to `owner`."""
    task = asyncio.get_running_loop().create_task(work, name=name)
    owner.tasks.add(task)
    task.add_done_callback(owner.ended)
    return task


async def at_once(works: Iterable[Coroutine[Any, Any, T]]) -> list[T]:
    """Run all of them at the same time, and return the results in order. If one fails, the others are cancelled.

    Raises:
        ExceptionGroup: of those that have failed.
    """
    async with asyncio.TaskGroup() as group:
        running = [group.create_task(work) for work in works]
    return [each.result() for each in running]
