"""Thousands of mail exchangers in one process, each on a loopback address of its own and with its own habits.

Where `Exchanger` is scripted step by step and records every word, these know only what matters to those who ask many
of them: how long an answer takes, whether it is greylisted, and when a neighbour who asks too often is turned away.
"""

from __future__ import annotations

import asyncio
import socket
import time
from collections.abc import Mapping
from contextlib import ExitStack, suppress
from dataclasses import dataclass, field
from typing import Self, cast

from proxy.options.throttle import NO_THROTTLE, Throttle
from tests.support.mute import mute
from tests.support.names import Names, Nameserver

BACKLOG = 4096
TARPIT_SECONDS = 2.0
"""Between two octets of a tarpit's greeting."""


@dataclass(frozen=True, slots=True)
class Habit:
    """How an exchanger behaves; delays in seconds."""

    rcpt_delay: float = 0.0
    ehlo_delay: float = 0.0
    greylists: bool = False
    """The first question about an address is deferred."""
    tarpit: bool = False
    """An octet of the greeting now and then, for ever."""
    broken_tls: bool = False
    """STARTTLS is offered, and the handshake fails."""
    turns_away: str = ""
    """The greeting of one that does not talk to us at all."""
    connections: Throttle = NO_THROTTLE
    """Beyond this it turns us away for good."""
    unknown: Throttle = NO_THROTTLE
    """The same, for unknown users."""


@dataclass(slots=True, eq=False)
class Neighbourhood:
    """One exchanger, and what it has seen of us."""

    habit: Habit
    connections: int = 0
    unknown: int = 0
    turned_away: int = 0
    """Greetings that turned us away, since we were too many or always."""
    seen: set[str] = field(default_factory=set)
    """Commands about addresses that were greylisted once."""

    began: float = field(default_factory=time.time)

    @property
    def has_enough(self) -> bool:
        """Whether it has seen more of us than a bucket that was full at the beginning has given since."""
        elapsed = time.time() - self.began
        seen = (self.connections, self.habit.connections), (self.unknown, self.habit.unknown)
        return any(limit.count and count > most(limit, elapsed) for count, limit in seen)


def most(limit: Throttle, elapsed: float) -> float:
    """Return what a full bucket can give within some seconds."""
    return limit.count + elapsed * limit.count / limit.seconds


class Talk(asyncio.Protocol):
    """One conversation. A local part that begins with `x` is unknown, any other exists."""

    def __init__(self, farm: Farm) -> None:
        """Belong to a farm."""
        self._farm, self._rest = farm, b""
        self._unheard = 0
        """Unknown users said since the last command: a client that speaks again has heard of them."""
        self._loop = asyncio.get_running_loop()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Greet, or turn away."""
        self._transport = cast(asyncio.Transport, transport)
        self._here = here = self._farm.at(transport.get_extra_info("sockname")[0])
        here.connections += 1
        if here.has_enough or here.habit.turns_away:
            here.turned_away += 1
            greeting = here.habit.turns_away or "554 5.7.1 You ask too much"
            self._transport.write(f"{greeting}\r\n".encode())
            self._transport.close()
        elif here.habit.tarpit:
            self._drip()
        else:
            self._transport.write(b"220 mx.farm.test ESMTP\r\n")

    def data_received(self, data: bytes) -> None:
        """Answer the commands that are complete."""
        *lines, self._rest = (self._rest + data).split(b"\r\n")
        for line in lines:
            if not self._transport.is_closing():
                self._answer(line)

    def _answer(self, line: bytes) -> None:
        self._here.unknown += self._unheard
        self._unheard = 0
        verb = line[:4].upper()
        if verb == b"RCPT":
            delay = self._here.habit.rcpt_delay
            reply = self._recipient(line.decode("ascii").lower())
            if delay:
                self._loop.call_later(delay, self._say, reply)
            else:
                self._say(reply)
        elif verb == b"STAR":
            self._say(b"220 go ahead\r\nthis is no TLS\r\n")
            self._transport.close()
        elif verb == b"QUIT":
            self._say(b"221 2.0.0 Bye\r\n")
            self._transport.close()
        elif verb == b"EHLO" and self._here.habit.broken_tls:
            self._say(b"250-mx.farm.test\r\n250 STARTTLS\r\n")
        elif verb == b"EHLO" and self._here.habit.ehlo_delay:
            self._loop.call_later(self._here.habit.ehlo_delay, self._say, b"250 mx.farm.test\r\n")
        else:
            self._say(b"250 mx.farm.test\r\n" if verb == b"EHLO" else b"250 2.0.0 Ok\r\n")

    def _recipient(self, command: str) -> bytes:
        here = self._here
        self._farm.asked.append((time.time(), command.rpartition("@")[2].rstrip(">")))
        if here.habit.greylists and command not in here.seen:
            here.seen.add(command)
            return b"451 4.7.1 Greylisted, please come back later\r\n"
        if command.startswith("rcpt to:<x"):
            self._unheard += 1  # one that gave up on a busy machine heard nothing, and pays nothing
            return b"550 5.1.1 User unknown\r\n"
        return b"250 2.1.5 Ok\r\n"

    def _say(self, reply: bytes) -> None:
        if not self._transport.is_closing():
            self._transport.write(reply)

    def _drip(self) -> None:
        if not self._transport.is_closing():
            self._transport.write(b"2")
            self._loop.call_later(TARPIT_SECONDS, self._drip)


class Farm:
    """Exchangers on one port, and the name server that knows the way to them, on the event loop that started it."""

    def __init__(self, names: Names, habits: Mapping[str, Habit], *, others: Habit | None = None) -> None:
        """`habits` are by address; with `others` every further loopback address has an exchanger of that habit."""
        self._names, self._others = names, others
        self.exchangers = {address: Neighbourhood(habit) for address, habit in habits.items()}
        self.asked: list[tuple[float, str]] = []
        """When it was asked about which domain: seconds since the epoch."""
        self._stack = ExitStack()
        self._servers: list[asyncio.Server] = []
        self._nameserver: asyncio.DatagramTransport | None = None

    def at(self, address: str) -> Neighbourhood:
        """Return the exchanger at an address."""
        found = self.exchangers.get(address)
        if found is None:
            assert self._others is not None, address
            found = self.exchangers[address] = Neighbourhood(self._others)
        return found

    async def start(self, port: int, nameserver: tuple[str, int], *, mute_addresses: tuple[str, ...] = ()) -> Self:
        """Listen; at `mute_addresses` packets are dropped."""
        loop = asyncio.get_running_loop()
        for address in mute_addresses:
            self._stack.enter_context(mute(address, port))
        for address in ["0.0.0.0"] if self._others is not None else list(self.exchangers):
            listener = socket.create_server((address, port), backlog=BACKLOG)
            server = await loop.create_server(lambda: Talk(self), sock=listener, backlog=BACKLOG)
            self._servers.append(server)
        transport, _ = await loop.create_datagram_endpoint(lambda: Nameserver(self._names), local_addr=nameserver)
        self._nameserver = transport
        with suppress(OSError):  # as much as the system allows
            transport.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4 << 20)
        return self

    def stop(self) -> None:
        """Listen no more."""
        for each in self._servers:
            each.close()
        if self._nameserver is not None:
            self._nameserver.close()
        self._stack.close()
