"""What a validator of signatures keeps from a message while it arrives."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Generic, TypeVar

from proxy.dkim.bodies import BodyHashes, Wanted
from proxy.mail.fields import Field
from proxy.mail.message import Message
from sieve.run.threads import ThreadPool, in_thread

C = TypeVar("C")


async def claimed(message: Message, inline: int, read: Callable[[Sequence[Field]], C]) -> C:
    """Read what a header section claims: on the event loop if it has at most `inline` octets, else in a thread."""
    fields = message.raw_fields()
    return read(fields) if message.head_octets <= inline else await in_thread(ThreadPool.CONTENT, lambda: read(fields))


class HeardMessage(Generic[C]):
    """What a validator keeps of one message while it arrives: the header section's claims, and the body's hashes."""

    __slots__ = ("claims", "hashes")

    def __init__(self, claims: C, wanted: Iterable[Wanted]) -> None:
        """Begin to hash what the claims want."""
        self.claims = claims
        self.hashes = BodyHashes(wanted)

    async def feed(self, block: bytes) -> None:
        """Take a block of the body."""
        await self.hashes.feed(block)
