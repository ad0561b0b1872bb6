"""The floor: the cheapest live relay that Python and uvloop allow. `python -m bench.floor PORT SINK_PORT`.

It keeps Ringback's promise (the next hop judges each recipient and the message in the client's transaction) and nothing
else: no policy, no limits, no checks, no log, no timeouts, no TLS, and messages are kept whole in memory. What Ringback
costs beside it is what all that costs. It has two protocols and no coroutine.
"""

from __future__ import annotations

import asyncio
import sys
from typing import cast

import uvloop

EHLO = b"250-floor.test\r\n250-PIPELINING\r\n250-SIZE 67108864\r\n250 8BITMIME\r\n"
OK = b"250 2.0.0 Ok\r\n"
REFUSED = b"503 5.5.1 Bad sequence of commands\r\n"
UNREACHABLE = b"451 4.4.1 The next hop cannot be reached\r\n"
DOT = b"\r\n.\r\n"


class Upstream(asyncio.Protocol):
    """A connection to the sink. Its first command waits for greeting and EHLO."""

    def __init__(self, relay: Relay) -> None:
        self.relay = relay
        self.client: Client | None = None
        self._transport: asyncio.Transport | None = None
        self._waiting = [b""]
        self._buffer, self._replies = b"", 0
        self._greeting = 2

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)
        self._transport.write(b"EHLO floor.test\r\n")

    def say(self, octets: bytes) -> None:
        """Send, now or when the sink has greeted."""
        if self._greeting:
            self._waiting.append(octets)
        elif self._transport is not None:
            self._transport.write(octets)

    def data_received(self, data: bytes) -> None:
        self._buffer += data
        while (end := self._buffer.find(b"\n")) >= 0:
            line, self._buffer = self._buffer[: end + 1], self._buffer[end + 1 :]
            if line[3:4] == b"-":
                continue
            if self._greeting:
                self._greeting -= 1
                if not self._greeting:
                    self.say(b"".join(self._waiting))
            elif self.client is not None:
                self.client.heard(line)

    def connection_lost(self, _error: Exception | None) -> None:
        if self.client is not None:
            self.client.lost()
        elif self in self.relay.idle:
            self.relay.idle.remove(self)


class Relay:
    """The sink's port, and the connections to it that are idle."""

    def __init__(self, port: int) -> None:
        self._port = port
        self.idle: list[Upstream] = []
        self._opening: set[asyncio.Task[object]] = set()

    def take(self, client: Client) -> Upstream:
        """Return an idle connection, or one that is being opened."""
        if self.idle:
            upstream = self.idle.pop()
        else:
            upstream = Upstream(self)
            task = asyncio.get_running_loop().create_task(self._open(upstream))
            self._opening.add(task)
            task.add_done_callback(self._opening.discard)
        upstream.client = client
        return upstream

    async def _open(self, upstream: Upstream) -> None:
        try:
            await asyncio.get_running_loop().create_connection(lambda: upstream, "127.0.0.1", self._port)
        except OSError:
            upstream.connection_lost(None)

    def put(self, upstream: Upstream) -> None:
        """Take a connection back after a whole transaction."""
        upstream.client = None
        self.idle.append(upstream)


class Client(asyncio.Protocol):
    """A client's connection. While the next hop is asked, no further command is read."""

    def __init__(self, relay: Relay) -> None:
        self._relay = relay
        self._buffer, self._content = b"", b""
        self._sender = b""
        self._upstream: Upstream | None = None
        self._in_data = self._busy = False
        self._skip = self._accepted = 0
        self._stage = b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)
        self._transport.write(b"220 floor.test ESMTP\r\n")

    def data_received(self, data: bytes) -> None:
        self._buffer = self._buffer + data if self._buffer else data
        if not self._busy:
            self._turn()

    def _turn(self) -> None:
        """Read commands until one must wait, and answer them in one write."""
        replies = []
        while not self._busy:
            if self._in_data:
                if not self._gather():
                    break
                continue
            end = self._buffer.find(b"\r\n")
            if end < 0:
                break
            line, self._buffer = self._buffer[:end], self._buffer[end + 2 :]
            if (reply := self._command(line)) is not None:
                replies.append(reply)
        if replies:
            self._transport.write(b"".join(replies))
            if replies[-1][:3] == b"221":
                self._transport.close()

    def _command(self, line: bytes) -> bytes | None:
        """Return the reply, or None if the next hop gives it."""
        verb = line[:4].upper()
        if verb == b"MAIL":
            self._sender = line
            return OK
        if verb == b"RCPT":
            return self._recipient(line)
        if verb == b"DATA":
            self._in_data = bool(self._accepted)
            return b"354 End data with <CR><LF>.<CR><LF>\r\n" if self._accepted else REFUSED
        if verb == b"EHLO":
            return EHLO
        if verb == b"RSET":
            self._forget()
        return b"221 2.0.0 Bye\r\n" if verb == b"QUIT" else OK

    def _recipient(self, line: bytes) -> bytes | None:
        if not self._sender:
            return REFUSED
        self._busy, self._stage = True, b"RCPT"
        if self._upstream is None:
            self._upstream = self._relay.take(self)
            self._skip = 1
            self._upstream.say(b"%b\r\n%b\r\n" % (self._sender, line))
        else:
            self._upstream.say(line + b"\r\n")
        return None

    def _gather(self) -> bool:
        """Move what came to the message; tell whether its dot was there."""
        looked = max(0, len(self._content) - 4)
        self._content += self._buffer
        self._buffer = b""
        end = self._content.find(DOT, looked)
        if end < 0:
            return False
        self._content, self._buffer = self._content[: end + 5], self._content[end + 5 :]
        self._in_data, self._busy, self._stage = False, True, b"DATA"
        if self._upstream is not None:
            self._upstream.say(b"DATA\r\n")
        return True

    def heard(self, reply: bytes) -> None:
        """Take a reply of the next hop."""
        if self._skip and reply[:1] == b"2":
            self._skip -= 1
            return
        if self._stage == b"DATA" and reply[:3] == b"354" and self._upstream is not None:
            self._stage = b"DOT"
            self._upstream.say(self._content)
            self._content = b""
            return
        if self._stage == b"RCPT":
            self._accepted += reply[:1] == b"2"
        elif self._upstream is not None:
            self._relay.put(self._upstream)
            self._upstream, self._sender, self._accepted = None, b"", 0
        self._answer(reply)

    def _answer(self, reply: bytes) -> None:
        self._busy = False
        self._transport.write(reply)
        if self._buffer:
            self._turn()

    def lost(self) -> None:
        """The next hop has gone in the middle of a transaction."""
        self._upstream = None
        self._forget()
        if self._busy:
            self._answer(UNREACHABLE)

    def _forget(self) -> None:
        upstream, self._upstream = self._upstream, None
        if upstream is not None and upstream._transport is not None:  # noqa: SLF001 - of this file
            upstream.client = None
            upstream._transport.abort()  # noqa: SLF001 - of this file
        self._sender, self._content, self._accepted = b"", b"", 0

    def connection_lost(self, _error: Exception | None) -> None:
        self._forget()


async def serve(port: int, sink: int) -> None:
    """Serve for ever."""
    relay = Relay(sink)
    server = await asyncio.get_running_loop().create_server(lambda: Client(relay), "127.0.0.1", port, backlog=1024)
    await server.serve_forever()


if __name__ == "__main__":
    uvloop.run(serve(int(sys.argv[1]), int(sys.argv[2])))
