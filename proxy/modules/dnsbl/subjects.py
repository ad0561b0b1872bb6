"""What in a message is looked up: the hosts of its links, and the domains of its address fields."""

from __future__ import annotations

from collections.abc import Sequence

from proxy.mail.message import Message
from sieve.message import mime
from sieve.message.urls import address_domains, links_of
from sieve.run.content import beside_the_loop
from sieve.run.patience import settled

MOST_OCTETS = 2 << 20
"""Octets of a message in which links are looked for: reading them holds Python's lock."""


async def subjects_of(message: Message, kind: str, fields: Sequence[str]) -> Sequence[str]:
    """Return the hosts of a message's links (`url`), or the domains in its address fields (`header`)."""
    if kind == "header":
        return address_domains([body for name in fields for body in message.header(name)])
    raw = await message.beginning(MOST_OCTETS)
    return await settled(beside_the_loop(len(raw), lambda: links_of(mime.structure(raw)).hosts))
