"""A sink that answers XCLIENT as Postfix does, with 220, where smtp-sink says 250: `python -m bench.sink PORT`.

It also takes XFORWARD, which Postfix's filter sends, and refuses recipients named `nobody…` or elsewhere. It is
slower than smtp-sink: compare only legs that have it. Each message is counted on standard output when its dot has come.
"""

from __future__ import annotations

import asyncio
import os
import sys
from typing import cast

import uvloop

from tests.support.ringback import environment
from tests.support.servers import Server

END = b"\r\n.\r\n"
GREETING = b"220 sink.test ESMTP\r\n"
OFFER = b"250-sink.test\r\n250-PIPELINING\r\n250-8BITMIME\r\n250-XFORWARD NAME ADDR PORT PROTO HELO SOURCE\r\n"
OFFER += b"250 XCLIENT NAME ADDR PORT PROTO HELO LOGIN DESTADDR DESTPORT\r\n"
ANSWERS = {b"EHLO": OFFER, b"XCLI": GREETING, b"DATA": b"354 go ahead\r\n", b"QUIT": b"221 2.0.0 Bye\r\n"}
OK = b"250 2.0.0 Ok\r\n"
UNKNOWN, ELSEWHERE, UNKNOWN_REPLY = b"RCPT TO:<nobody", b"@elsewhere.invalid>", b"550 5.1.1 User unknown\r\n"


class Sink(asyncio.Protocol):
    """One conversation. Replies of one read leave in one write."""

    messages = 0

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast(asyncio.Transport, transport)
        self.buffer, self.in_message = b"", False
        self.transport.write(GREETING)

    def data_received(self, data: bytes) -> None:
        self.buffer += data
        answers = []
        while True:
            mark = END if self.in_message else b"\r\n"
            taken, found, rest = self.buffer.partition(mark)
            if not found:
                self.buffer = self.buffer[-len(END) :] if self.in_message else self.buffer
                break
            self.buffer = rest
            if self.in_message:
                self.in_message = False
                Sink.messages += 1
                os.write(1, b"mesg=%d\n" % Sink.messages)
                answers.append(OK)
            elif taken:
                verb = taken[:4].upper()
                refused = verb == b"RCPT" and (taken.startswith(UNKNOWN) or ELSEWHERE in taken)
                answers.append(UNKNOWN_REPLY if refused else ANSWERS.get(verb, OK))
                if verb == b"DATA":
                    self.in_message, self.buffer = True, b"\r\n" + rest
        self.transport.write(b"".join(answers))


class XclientSink(Server):
    """The sink as a process."""

    program = "python3"

    @property
    def count(self) -> int:
        """Messages that ended with a dot so far."""
        lines = self.running.stdout.read_bytes()[-20:].splitlines()
        return int(lines[-1].partition(b"=")[2]) if lines else 0

    def _prepare(self) -> list[str]:
        path = environment()["PYTHONPATH"]
        return ["env", f"PYTHONPATH={path}", sys.executable, "-m", "bench.sink", str(self.port)]


async def serve(port: int) -> None:
    """Serve for ever."""
    server = await asyncio.get_running_loop().create_server(Sink, "127.0.0.1", port, backlog=1024)
    await server.serve_forever()


if __name__ == "__main__":
    uvloop.run(serve(int(sys.argv[1])))
