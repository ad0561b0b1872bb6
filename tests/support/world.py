"""The stage of the system tests: the world's names and addresses, and what is put on it for one test.

Every exchanger has an address of its own, and all have the same port, as on the Internet; which port differs by test.
"""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Mapping
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

from tests.support.exchanger import Act, Exchanger, Step, says
from tests.support.programs import free_port
from tests.support.ringback import Ringback, Setup
from tests.support.servers import Dnsmasq, Zone

ADDRESSES: Mapping[str, str] = {
    "ok.test": "127.0.0.11",
    "refusing.test": "127.0.0.12",
    "busy.test": "127.0.0.13",
    "slow.test": "127.0.0.14",
    "down.test": "127.0.0.15",
}
"""A sender's domain → the address of its only exchanger."""

NOWHERE = "nowhere.test"
"""No such domain."""

WITHOUT_MX = "implicit.test"
"""No MX, but an address: the one of refusing.test's exchanger."""

BACKED_UP = "backed-up.test"
"""Its first exchanger is down; the second is refusing.test's."""

ALIASED = "aliased.test"
"""Its exchanger is another name (CNAME) of refusing.test's."""

INTERNATIONAL, INTERNATIONAL_IN_DNS = "müller.test", "xn--mller-kva.test"
"""A domain as people write it and as DNS holds it; its exchanger is ok.test's."""

DANGLING = "dangling.test"
"""Its exchanger's name does not exist."""

NULL_MX = "null.test"
"""It says that it takes no mail (RFC 7505)."""

MUTE, HALF_MUTE = "mute.test", "half-mute.test"
"""Its name servers never answer; the second domain's do, but its exchanger's never do."""

ZONE = Zone(
    addresses={
        **{f"mx.{domain}": (address,) for domain, address in ADDRESSES.items()},
        WITHOUT_MX: (ADDRESSES["refusing.test"],),
    },
    exchangers={
        **{domain: ((10, f"mx.{domain}"),) for domain in ADDRESSES},
        BACKED_UP: ((10, "mx.down.test"), (20, "mx.refusing.test")),
        ALIASED: ((10, f"mx.{ALIASED}"),),
        INTERNATIONAL_IN_DNS: ((10, "mx.ok.test"),),
        DANGLING: ((10, f"mx.{NOWHERE}"),),
        NULL_MX: ((0, "."),),
        HALF_MUTE: ((10, f"mx.{MUTE}"),),
    },
    aliases={f"mx.{ALIASED}": "mx.refusing.test"},
    unanswered=(MUTE,),
)

NO_SUCH_USER = says("550 5.1.1 No such user here")

AWKWARD_MESSAGE = (
    b"Subject: AWKWARD\r\nX-Folded: one\r\n\ttwo  \r\nDKIM-Signature: v=1; b=not\r\n even\r\n\r\n"
    b".\r\n..\r\n.leading dot\r\ntrailing blanks  \t\r\n\r\n\xe4\xf6\xfc \x80\xff 8 bit\r\n"
    + b"long " * 199
    + b"\r\n\r\n\r\nFrom here\r\n.\r\n"
)
"""Dots, blanks, eight-bit bytes, a line of 995 characters, empty lines: what a careless relay changes."""


class Stage:
    """What one test puts up; everything is taken down at its end."""

    def __init__(self, stack: AsyncExitStack, folder: Path, nameserver: Dnsmasq) -> None:
        """Begin with an empty stage."""
        self._stack = stack
        self.folder = folder
        self._nameserver = nameserver
        self.exchanger_port = free_port(*ADDRESSES.values())
        self.servers: list[Exchanger] = []

    async def exchanger(
        self,
        domain: str,
        *,
        script: Mapping[Step, Act] | None = None,
        recipients: Mapping[str, Act] | None = None,
    ) -> Exchanger:
        """Put up the exchanger of a sender's domain; without a script it accepts everything."""
        made = Exchanger(ADDRESSES[domain], self.exchanger_port, script=script, recipients=recipients)
        return await self.put_up(made)

    async def upstream(self, behind: Ringback | None = None, **parts: Any) -> Exchanger:
        """Put up a scripted upstream, with the parts of an `Exchanger`; `behind` a Ringback, where that expects it."""
        return await self.put_up(Exchanger(port=0 if behind is None else behind.upstream_port, **parts))

    async def ringback(self, upstream_port: int, **parts: Any) -> Ringback:
        """Start Ringback with the customer's configuration, changed by the given parts of a `Setup`."""
        setup = Setup(
            upstream_port=upstream_port,
            nameserver=self._nameserver.address,
            exchanger_port=self.exchanger_port,
            **parts,
        )
        ringback = await Ringback(setup, self.folder).started()
        self._stack.push_async_callback(asyncio.to_thread, ringback.stop)  # our servers answer its goodbyes
        return ringback

    def nobody_listens(self, address: str = "127.0.0.1") -> int:
        """Return a port that stays closed: bound, so that no other process gets it, and never listened on."""
        taken = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
        self._stack.callback(taken.close)
        taken.bind((address, free_port(address)))
        port: int = taken.getsockname()[1]
        return port

    async def put_up(self, server: Exchanger) -> Exchanger:
        """Start a server that stays until the end of the test."""
        self.servers.append(server)
        return await self._stack.enter_async_context(server)
