"""What in a message is looked up: the hosts of its links, and the domains of its address fields."""

from __future__ import annotations

from collections.abc import Sequence

from proxy.mail.message import Message
from sieve.message import mime
from sieve.message.urls import address_domains, links_of
from sieve.run.content import beside_the_loop
from sieve.run.patience import settled
from sieve.run.threads import ThreadPool, in_thread

MOST_OCTETS = 2 << 20
"""Octets of a message in which links are looked for: reading them holds Python's lock."""

MOST_ADDRESS_CHARACTERS = 64 << 10
"""Characters of address fields in which domains are looked for."""

_INLINE = 1 << 10
"""Octets of address fields that are read on the event loop, in up to 1 ms; more are read in a thread."""


async def linked_hosts(message: Message, _fields: Sequence[str]) -> Sequence[str]:
    """Return the hosts of a message's links."""
    raw = await message.beginning(MOST_OCTETS)
    return await settled(beside_the_loop(len(raw), lambda: links_of(mime.structure(raw)).hosts))


async def address_domains_in(message: Message, fields: Sequence[str]) -> Sequence[str]:
    """Return the domains in a message's address fields."""

    def read() -> Sequence[str]:
        return address_domains(_beginnings([body for name in fields for body in message.header(name)]))

    return await in_thread(ThreadPool.CONTENT, read) if message.exceeds(_INLINE, *fields) else read()


def _beginnings(bodies: Sequence[str]) -> list[str]:
    """Return the bodies within the limit."""
    found, room = [], MOST_ADDRESS_CHARACTERS
    for body in bodies:
        found.append(body[:room])
        room -= len(found[-1])
        if not room:
            break
    return found
