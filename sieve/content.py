"""The message as a script's functions read it: fetched once a run, and taken apart once."""

from __future__ import annotations

import asyncio

from sieve import mime
from sieve.runtime import Frame

_INLINE = 1 << 18
"""Bytes that are taken apart at once; what is longer goes to a thread, 1 MiB takes some 10 ms."""


async def raw_message(frame: Frame) -> bytes:
    """Return the whole message, empty before there is one."""
    content = frame.host.content
    return b"" if content is None else await content.raw()


async def message_structure(frame: Frame) -> mime.Structure:
    """Return the message's parts; the same message is taken apart once a run."""
    raw = await raw_message(frame)
    known = frame.structure
    if known is None or known.raw is not raw:
        known = mime.structure(raw) if len(raw) <= _INLINE else await asyncio.to_thread(mime.structure, raw)
        frame.structure = known
    return known
