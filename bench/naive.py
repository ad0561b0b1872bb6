"""The relay that one writes in an afternoon: aiosmtpd in front, aiosmtplib behind, a connection for each message.

It is measured, not recommended: `python -m bench.naive PORT SINK_PORT` serves for ever, on the loop that Ringback uses.
As a live relay must, it opens the upstream's transaction with MAIL, so that the upstream judges each recipient, and its
answer to the dot is the upstream's. aiosmtpd reads the message whole before the handler sees it.
"""

from __future__ import annotations

import argparse
import asyncio
from typing import Any

import aiosmtplib
import uvloop
from aiosmtpd.smtp import SMTP, Envelope, Session
from aiosmtplib import SMTPException, SMTPResponseException

LARGEST = 64 << 20
UNREACHABLE = "451 4.4.1 the upstream cannot be reached"


class Relaying:
    """An aiosmtpd handler with one upstream connection a transaction, kept in aiosmtpd's session object."""

    def __init__(self, port: int) -> None:
        self._port = port

    async def handle_MAIL(  # noqa: N802 - aiosmtpd's name
        self,
        server: SMTP,  # noqa: ARG002 - aiosmtpd's signature, here and below
        session: Session,
        envelope: Envelope,
        address: str,
        mail_options: list[str],
    ) -> str:
        upstream = aiosmtplib.SMTP(hostname="127.0.0.1", port=self._port, start_tls=False, use_tls=False)
        try:
            await upstream.connect()
            await upstream.ehlo()
            answer = await upstream.mail(address)
        except SMTPResponseException as refused:
            upstream.close()
            return f"{refused.code} {refused.message}"
        except (SMTPException, OSError):
            upstream.close()
            return UNREACHABLE
        session.upstream = upstream
        envelope.mail_from = address
        envelope.mail_options.extend(mail_options)
        return f"{answer.code} {answer.message}"

    async def handle_RCPT(  # noqa: N802 - aiosmtpd's name
        self,
        server: SMTP,  # noqa: ARG002
        session: Session,
        envelope: Envelope,
        address: str,
        rcpt_options: list[str],
    ) -> str:
        try:
            answer = await session.upstream.rcpt(address)
        except SMTPResponseException as refused:
            return f"{refused.code} {refused.message}"
        except SMTPException:
            return UNREACHABLE
        envelope.rcpt_tos.append(address)
        envelope.rcpt_options.extend(rcpt_options)
        return f"{answer.code} {answer.message}"

    async def handle_DATA(self, server: SMTP, session: Session, envelope: Envelope) -> str:  # noqa: ARG002, N802
        upstream: Any = session.upstream
        try:
            answer = await upstream.data(envelope.content)
        except SMTPResponseException as refused:
            return f"{refused.code} {refused.message}"
        except SMTPException:
            return UNREACHABLE
        finally:
            upstream.close()
        return f"{answer.code} {answer.message}"


async def serve(port: int, sink: int) -> None:
    """Serve for ever."""

    def make() -> SMTP:
        return SMTP(Relaying(sink), hostname="naive.test", data_size_limit=LARGEST, loop=asyncio.get_running_loop())

    server = await asyncio.get_running_loop().create_server(make, "127.0.0.1", port, backlog=1024)
    await server.serve_forever()


def main() -> None:
    """Read the two ports and serve."""
    parser = argparse.ArgumentParser(prog="python -m bench.naive", description=__doc__.split("\n\n", 1)[0])
    parser.add_argument("port", type=int)
    parser.add_argument("sink", type=int)
    ports = parser.parse_args()
    uvloop.run(serve(ports.port, ports.sink))


if __name__ == "__main__":
    main()
