"""The message as a script's functions read it: fetched once a run, and taken apart once."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

from sieve.message import mime
from sieve.run.runtime import Frame
from sieve.run.threads import Pool, in_thread
from sieve.run.values import Value

_T = TypeVar("_T")

_INLINE = 1 << 15
"""Bytes of a message that are worked on at once; for a longer one a thread does it."""


async def beside_the_loop(size: int, work: Callable[[], _T]) -> _T:
    """Return what `work` on a message of so many bytes gives, without holding up other sessions."""
    return work() if size <= _INLINE else await in_thread(Pool.CONTENT, work)


async def judged(value: Value, judge: Callable[[Any], _T]) -> _T:
    """Return what `judge` makes of a value that came out of a message, without holding up other sessions."""
    texts = (value,) if isinstance(value, str) else value if isinstance(value, tuple) else ()
    return await beside_the_loop(sum(map(len, texts)), lambda: judge(value))


async def raw_message(frame: Frame) -> bytes:
    """Return the whole message, empty before there is one."""
    content = frame.host.content
    return b"" if content is None else await content.raw()


async def message_structure(frame: Frame) -> mime.Structure:
    """Return the message's parts; the same message is taken apart once a run."""
    raw = await raw_message(frame)
    known = frame.structure
    if isinstance(known, mime.Structure) and known.raw is raw:
        return known
    found = await beside_the_loop(len(raw), lambda: mime.structure(raw))
    frame.structure = found
    return found
