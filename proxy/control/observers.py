"""`Observers`: takes the frames that other processes send through the control process's door.

A process makes a connection with `proxy.keeper.door.knock`, says who it is, and writes frames (`proxy.keeper.frames`)
without waiting. It may be told which of them are done with. If this process ends in good order, it takes everything
that was written before; a writer then gets EPIPE, and sends what is not done with again, over a new connection.
"""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Callable
from contextlib import suppress

from proxy.base.log import get_logger
from proxy.keeper.door import NobodyOutside, knocked
from proxy.keeper.frames import BadFrame, FrameReader, Malformed
from proxy.keeper.messages import Hello, decode_hello

log = get_logger()

_AT_ONCE = 1 << 18
"""Octets that are read from a connection before others get their turn."""


class Peer:
    """A process that sends frames."""

    def __init__(self, hello: Hello, connection: socket.socket) -> None:
        self.hello, self.connection = hello, connection
        self.reader = FrameReader()

    def tell(self, octets: bytes) -> None:
        """Write a few octets to it, if it is there and reads: nothing depends on one of them."""
        with suppress(OSError):
            self.connection.send(octets)


Take = Callable[[Peer, bytes], None]
"""Takes the content of one frame, and who sent it. It must not block."""

Meet = Callable[[Hello, socket.socket], None]
"""Takes a connection on which a process answers questions."""


def _refuse(_hello: Hello, connection: socket.socket) -> None:
    """Ask no process."""
    connection.close()


class Observers:
    """Reads the connections of all processes. The event loop's thread owns them."""

    name = "observers"

    def __init__(self, inside: socket.socket, take: Take, meet: Meet = _refuse) -> None:
        """`inside` is the inner side of the door; nothing is read before `start`."""
        self._meet = meet
        self._inside, self._take = inside, take
        self._loop = asyncio.get_running_loop()
        self._connections: dict[socket.socket, Peer] = {}
        self._paused = False
        self.deserted = asyncio.Event()
        """Set while no process is connected."""
        self.deserted.set()

    async def start(self) -> None:
        """Take the connections that wait before the door, and all that come."""
        self._loop.add_reader(self._inside.fileno(), self._knocked)

    async def stop(self) -> None:
        """Let no process write any more, and take all that was written."""
        self.resume()
        self._loop.remove_reader(self._inside.fileno())
        with suppress(OSError):
            self._let_in()
        for connection in self._connections:
            with suppress(OSError):
                connection.shutdown(socket.SHUT_RD)  # what was written before can still be read
        await self.deserted.wait()

    def pause(self) -> None:
        """Read nothing for a while. The writers notice, and decide what to drop."""
        if not self._paused:
            self._paused = True
            for connection in self._connections:
                self._loop.remove_reader(connection.fileno())

    def resume(self) -> None:
        """Read again."""
        if self._paused:
            self._paused = False
            for connection in self._connections:
                self._loop.add_reader(connection.fileno(), self._read, connection)

    # ------------------------------------------------------------ connections

    def _knocked(self) -> None:
        try:
            self._let_in()
        except NobodyOutside:
            self._loop.remove_reader(self._inside.fileno())
        except OSError as error:
            log.error("control_door_failed", reason=str(error))
            self._loop.remove_reader(self._inside.fileno())

    def _let_in(self) -> None:
        while (found := knocked(self._inside)) is not None:
            octets, connection = found
            try:
                hello = decode_hello(octets)
            except Malformed as error:
                log.error("control_link_malformed", reason=str(error))
                connection.close()
                continue
            if hello.answers:
                self._meet(hello, connection)
                continue
            self._connections[connection] = Peer(hello, connection)
            self.deserted.clear()
            if not self._paused:
                self._loop.add_reader(connection.fileno(), self._read, connection)

    def _read(self, connection: socket.socket) -> None:
        try:
            octets = connection.recv(_AT_ONCE)
        except BlockingIOError:
            return
        except OSError:  # the other side was killed
            octets = b""
        peer = self._connections[connection]
        try:
            for content in peer.reader.feed(octets):
                self._take(peer, content)
        except BadFrame as error:
            log.error("control_link_malformed", peer=peer.hello.slot, reason=str(error))
            octets = b""
        if not octets:
            self._forget(connection)

    def _forget(self, connection: socket.socket) -> None:
        self._loop.remove_reader(connection.fileno())
        connection.close()
        del self._connections[connection]
        if not self._connections:
            self.deserted.set()
