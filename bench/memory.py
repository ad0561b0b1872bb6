"""What sessions cost in memory: resident octets of one `ringback serve` for idle sessions, and for mail on its way.

Run from the project's root: `python -m bench.memory`. Idle sessions, in the clear and over TLS, are measured after the
greeting and again after each of them has sent one message of 1 MiB; then many messages of 30 MiB pass at once, with no
policy that reads a body. Behind the server stands Postfix's smtp-sink. Exit status 1: a target was missed.
"""

from __future__ import annotations

import argparse
import asyncio
import re
import ssl
import sys
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

import trustme

from bench import history
from bench.world import allow_open_files
from tests.support.conversation import Conversation
from tests.support.house import House
from tests.support.programs import Folder, free_port
from tests.support.ringback import Ringback
from tests.support.servers import SmtpSink

KIBI, MEBI = 1 << 10, 1 << 20

PLAIN_TARGET, TLS_TARGET = 6 * KIBI, 96 * KIBI
"""Octets an idle session may cost."""

BULK_TARGET = 100 * MEBI
"""Octets that `BULK_SESSIONS` messages of `BULK_SIZE` may cost together."""

BULK_SESSIONS, BULK_SIZE = 200, 30 * MEBI
PLAIN_SESSIONS, TLS_SESSIONS = 2000, 500
AT_ONCE = 50
"""Sessions that are opened, or send their 1 MiB, at the same time."""

LINE = b"0123456789abcdef" * 4 + b"\r\n"
HEAD = b"Subject: memory\r\n\r\n"
BLOCK = LINE * 1000


@dataclass(frozen=True, slots=True)
class Place:
    """A running server, and how to trust it."""

    server: Ringback
    trust: ssl.SSLContext

    @property
    def resident(self) -> int:
        """Octets that the worker holds in memory now."""
        return self._status("VmRSS")

    @property
    def most(self) -> int:
        """The most it held since `forget`."""
        return self._status("VmHWM")

    @property
    def _worker(self) -> int:
        (worker,) = self.server.workers
        return worker

    def forget(self) -> None:
        """Let the most begin again at what is held now (proc(5), clear_refs)."""
        Path(f"/proc/{self._worker}/clear_refs").write_text("5")

    def _status(self, name: str) -> int:
        text = Path(f"/proc/{self._worker}/status").read_text()
        found = re.search(rf"{name}:\s+(\d+) kB", text)
        if found is None:
            raise RuntimeError(f"no {name} in the server's status")
        return int(found[1]) * KIBI

    async def session(self, *, tls: bool) -> Conversation:
        """Open a session and greet, over TLS if `tls`."""
        client = await self.server.conversation()
        await client.ehlo()
        if tls:
            answer = await client.ask("STARTTLS")
            if not answer.startswith("220"):
                raise RuntimeError(answer)
            await client._writer.start_tls(self.trust, server_hostname="ringback.test")  # noqa: SLF001 - a client in the clear
            await client.ehlo()
        return client


@asynccontextmanager
async def place(*lines: str) -> AsyncIterator[Place]:
    """Start a server with a certificate before an smtp-sink."""
    authority = trustme.CA()
    issued = authority.issue_cert("ringback.test")
    folder = Folder("memory")
    trust = ssl.create_default_context()
    authority.configure_trust(trust)
    issued.cert_chain_pems[0].write_to_path(str(folder.path / "certificate.pem"))
    issued.private_key_pem.write_to_path(str(folder.path / "key.pem"))
    given = (
        'TLS_Certificate = "certificate.pem"',
        'TLS_Key = "key.pem"',
        "Max_Connections_Per_Client = 0",
        f"Max_Outbound_Connections = {BULK_SESSIONS + 50}",
    )
    try:
        with SmtpSink() as sink:
            house = House(listen_port=free_port(), upstream_port=sink.port, lines=(*given, *lines))
            server = Ringback(house, folder.path).start()
            try:
                yield Place(server, trust)
            finally:
                await asyncio.to_thread(server.stop)
    finally:
        folder.remove()


async def opened(here: Place, count: int, *, tls: bool) -> list[Conversation]:
    """Open `count` sessions."""
    clients: list[Conversation] = []
    while len(clients) < count:
        some = min(AT_ONCE, count - len(clients))
        clients += await asyncio.gather(*(here.session(tls=tls) for _ in range(some)))
    return clients


async def sent(client: Conversation, size: int) -> None:
    """Send one message of about `size` octets, block by block.

    Raises:
        RuntimeError: it was not accepted.
    """
    await envelope(client)
    await client.send_raw(HEAD)
    for _ in range(size // len(BLOCK) + 1):
        await client.send_raw(BLOCK)
    await client.send_raw(b".\r\n")
    answer = await client.reply(within=600)
    if not answer.startswith("250"):
        raise RuntimeError(answer)


async def envelope(client: Conversation) -> None:
    """Say MAIL, RCPT and DATA on a greeted session."""
    answers = await client.pipeline("MAIL FROM:<>", "RCPT TO:<bob@example.com>", "DATA")
    if not answers[-1].startswith("354"):
        raise RuntimeError(str(answers))


async def idle(count: int, *, tls: bool) -> tuple[float, float]:
    """Return what an idle session costs after its greeting, and after 1 MiB has passed, in octets."""
    async with place() as here:
        warm = await opened(here, 20, tls=tls)
        for client in warm:
            await sent(client, 2 * MEBI)
        for client in warm:
            await client.quit()
        before = here.resident
        clients = await opened(here, count, tls=tls)
        fresh = (here.resident - before) / count
        for first in range(0, count, AT_ONCE):
            await asyncio.gather(*(sent(each, MEBI) for each in clients[first : first + AT_ONCE]))
        used = (here.resident - before) / count
        for client in clients:
            client.abort()
        return fresh, used


async def bulk(count: int, size: int) -> float:
    """Return by how many octets the server grows at most while `count` messages pass at once."""
    async with place() as here:
        for client in await opened(here, 5, tls=False):
            await sent(client, MEBI)
            await client.quit()
        before = here.resident
        here.forget()
        clients = await opened(here, count, tls=False)
        await asyncio.gather(*(sent(each, size) for each in clients))
        for client in clients:
            client.abort()
        return here.most - before


async def measure(kinds: Sequence[str]) -> bool:
    """Print every figure beside its target; tell whether all were met."""
    met = True
    for tls, count, target in ((False, PLAIN_SESSIONS, PLAIN_TARGET), (True, TLS_SESSIONS, TLS_TARGET)):
        name = "TLS" if tls else "plain"
        if name.lower() in kinds:
            fresh, used = await idle(count, tls=tls)
            print(f"{count} idle {name} sessions: {fresh / KIBI:.1f} KiB each; after 1 MiB each {used / KIBI:.1f} KiB")
            print(f"  target: at most {target // KIBI} KiB")
            met &= max(fresh, used) <= target
            history.note({f"idle {name} session, KiB": fresh / KIBI, f"idle {name} session, after 1 MiB": used / KIBI})
    if "bulk" in kinds:
        grown = await bulk(BULK_SESSIONS, BULK_SIZE)
        print(f"{BULK_SESSIONS} messages of {BULK_SIZE // MEBI} MiB at once: {grown / MEBI:.1f} MiB more at the most")
        print(f"  target: less than {BULK_TARGET // MEBI} MiB")
        met &= grown < BULK_TARGET
    return met


KINDS = ("plain", "tls", "bulk")


def main() -> int:
    """Measure and print."""
    parser = argparse.ArgumentParser(prog="python -m bench.memory", description=__doc__.split("\n\n", 1)[0])
    parser.add_argument("--only", nargs="+", choices=KINDS, default=KINDS, help="only these (default: all)")
    options = parser.parse_args()
    allow_open_files()
    met = asyncio.run(measure(options.only))
    if tuple(options.only) == KINDS:
        history.record()
    return 0 if met else 1


if __name__ == "__main__":
    sys.exit(main())
