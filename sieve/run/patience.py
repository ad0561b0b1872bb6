"""What to do if something has to wait: await its result, within a time limit that costs nothing before.

A function that may have to wait returns `Soon`: its result, or a coroutine if it really has to. The caller compares
the class, so that a script which finds everything at hand runs without a coroutine, and outside of any task.

Setting and ending a time limit takes a fifth of the run of a small script that never waits. So the coroutine starts
first, and a limit is set only if the coroutine does not finish at once.
"""

from __future__ import annotations

from collections.abc import Coroutine, Generator
from types import CoroutineType
from typing import Any, TypeVar

from config.base.deadlines import Within
from sieve.shared import Soon

__all__ = ["Soon", "settled", "within"]

T = TypeVar("T")


async def settled(result: Soon[T]) -> T:
    """Return a result, after waiting for it if it was not at hand."""
    return await result if isinstance(result, CoroutineType) else result  # type: ignore[return-value] # mypy keeps both


class _Begun:
    """An awaitable for a coroutine that has already started; `first` is what the coroutine waits for."""

    __slots__ = ("_coroutine", "_first", "_is_first")

    def __init__(self, coroutine: Coroutine[Any, Any, Any], first: Any) -> None:
        self._coroutine, self._first, self._is_first = coroutine, first, True

    def __await__(self) -> Generator[Any, Any, Any]:
        return self  # type: ignore[return-value] # `await` needs only these methods of an iterator

    def __iter__(self) -> _Begun:
        return self

    def __next__(self) -> Any:
        if self._is_first:
            self._is_first = False
            return self._first
        return self._coroutine.send(None)

    def throw(self, *error: Any) -> Any:
        return self._coroutine.throw(*error)

    def close(self) -> None:
        self._coroutine.close()


async def within(seconds: float, coroutine: Coroutine[Any, Any, T]) -> T:
    """Run a coroutine and return its result. The time limit starts when the coroutine first waits.

    Raises:
        TimeoutError: the coroutine exceeds the limit.
    """
    try:
        first = coroutine.send(None)
    except StopIteration as ended:
        return ended.value  # type: ignore[no-any-return] # it is the coroutine's T
    with Within(seconds):
        return await _Begun(coroutine, first)  # type: ignore[no-any-return] # as above
