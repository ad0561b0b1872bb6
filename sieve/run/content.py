"""The message for a script's functions, read and parsed at most once per run."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

from sieve.message import mime
from sieve.run.patience import Soon, settled
from sieve.run.runtime import Frame
from sieve.run.threads import ThreadPool, in_thread
from sieve.run.values import Value

_T = TypeVar("_T")

_INLINE = 1 << 15
"""Maximum bytes of a message that are processed in the event loop; a thread processes longer ones."""


def beside_the_loop(size: int, work: Callable[[], _T]) -> Soon[_T]:
    """Run `work` on a message of `size` bytes without blocking other sessions, and return its result."""
    return work() if size <= _INLINE else in_thread(ThreadPool.CONTENT, work)


def judged(value: Value, judge: Callable[[Any], _T]) -> Soon[_T]:
    """Apply `judge` to a value from a message without blocking other sessions, and return its result."""
    texts = (value,) if isinstance(value, str) else value if isinstance(value, tuple) else ()
    return beside_the_loop(sum(map(len, texts)), lambda: judge(value))


async def raw_message(frame: Frame) -> bytes:
    """Return the whole message; empty before it has arrived."""
    content = frame.host.content
    return b"" if content is None else await content.raw()


async def message_structure(frame: Frame) -> mime.Structure:
    """Return the message's structure; it is parsed once per run."""
    raw = await raw_message(frame)
    known = frame.structure
    if isinstance(known, mime.Structure) and known.raw is raw:
        return known
    structure = await settled(beside_the_loop(len(raw), lambda: mime.structure(raw)))
    frame.structure = structure
    return structure
