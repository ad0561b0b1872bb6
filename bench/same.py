"""Whether two checkouts say the same: `python -m bench.same LEFT RIGHT` from the project's root.

Each checkout has a `.venv`. Both serve the same configuration, each before a next hop of its own; drawn sessions (see
`bench/sessions.py`) are played to both. The replies must be equal octet for octet, and so must each transaction at the
next hop: its MAIL, its RCPTs, and the content if its dot came. Ids, dates, ports, XCLIENT and PROXY are left out, and
so is a transaction that was begun again on another connection. A difference is printed with its seed, and with as few
groups as still show it. Exit status 1: there is one.

    python -m bench.same ../before . --sessions 20000 --seed 1       the whole
    python -m bench.same ../before . --seed 4711 --sessions 1        one again
    python -m bench.same ../before . --core 'XCLIENT = required'     with another option; Idle_Timeout = 30 shares
"""

from __future__ import annotations

import argparse
import asyncio
import re
import socket
import ssl
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from pathlib import Path

import uvloop

from bench.legs import certificate
from bench.nexthop import NextHop
from bench.sessions import PASSWORD, Group, Scene, scene
from bench.world import World, allow_open_files, farmed
from tests.support.programs import Folder, free_port
from tests.support.ringback import Checkout, Ringback, Setup, environment

SILENCE_SECONDS = 6.0
"""A reply that has not come by then is missing, as where a group said DATA before its end. Longer than the 2 s that a
server which has had enough waits for the client to read."""

PIECE_SECONDS = 0.001
"""For a piece to arrive alone."""

SCRIPTS = """\
Validate validate/smtp_cbv smtp_cbv passive{
      phase = "mailfrom"
}

Validate validate/sieve sieve {
  mailfrom_phase1 = "/path/to/myscript.siv"
  data_phase1 = "content.siv"
}
"""
CONTENT_SCRIPT = """\
if header :contains "subject" "refuse" { ec_action 554 "not this"; }
if header :contains "subject" "discard" { discard; }
"""
TRIES = 3
"""How often a session that differs is played again: one of them must differ, too, or it was only the time."""

MOST_ERRORS_SHOWN = 5
NOT_COMPARED = (
    (re.compile(rb"(id |\bwith ESMTP\w* id )[0-9A-Za-z.-]+"), rb"\1ID"),
    (re.compile(rb"\w{3}, +\d{1,2} \w{3} \d{4} \d\d:\d\d:\d\d [+-]\d{4}"), b"DATE"),
    (re.compile(rb"(Message-I[dD]: <)[^>]+(>)"), rb"\1ID\2"),
    (re.compile(rb"\b[0-9a-z]{8,14}-[0-9a-z]{1,6}\b"), b"ID"),
)


@dataclass(slots=True)
class Side:
    """One checkout at work."""

    server: Ringback
    hop: NextHop
    trust: ssl.SSLContext


@dataclass(frozen=True, slots=True)
class Played:
    """What a session showed."""

    replies: tuple[bytes, ...]
    """To each group."""
    committed: tuple[tuple[bytes, ...], ...]
    """MAIL, RCPTs and content of each transaction whose dot came."""
    begun: frozenset[tuple[bytes, ...]]
    """MAIL and RCPTs of all."""

    def difference(self, other: Played, *, is_whole: bool) -> str:
        """Say in which way they differ; nothing if they do not."""
        for number, (left, right) in enumerate(zip(self.replies, other.replies, strict=False)):
            if left != right:
                return f"replies to group {number}: {left!r} and {right!r}"
        if len(self.replies) != len(other.replies):
            return f"{len(self.replies)} and {len(other.replies)} groups were answered"
        if self.committed != other.committed:
            return f"committed upstream: {_brief(self.committed)} and {_brief(other.committed)}"
        if is_whole and self.begun != other.begun:
            return f"begun upstream: {sorted(self.begun - other.begun)} and {sorted(other.begun - self.begun)}"
        return ""


def _brief(those: tuple[tuple[bytes, ...], ...]) -> list[list[bytes]]:
    return [[each[:2000] for each in one] for one in those]


def normalised(octets: bytes) -> bytes:
    """Leave out what differs between two runs of one checkout."""
    for pattern, instead in NOT_COMPARED:
        octets = pattern.sub(instead, octets)
    return octets


# ---------------------------------------------------------------- playing


class Client:
    """One connection that sends groups and reads their replies."""

    def __init__(self, side: Side) -> None:
        self._side = side
        self._last = b""

    async def play(self, groups: tuple[Group, ...], source: str) -> list[bytes]:
        """Return the replies to the greeting and to each group."""
        self._reader, self._writer = await asyncio.open_connection(
            "127.0.0.1", self._side.server.port, local_addr=(source, 0), limit=1 << 20
        )
        self._writer.get_extra_info("socket").setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        replies = [await self._replies(1)]
        try:
            for group in groups:
                if not replies[-1].endswith(b"\r\n"):
                    break  # the connection has ended
                replies.append(await self._said(group))
        finally:
            self._writer.close()
            with suppress(OSError, ssl.SSLError):
                await self._writer.wait_closed()
        return replies

    async def _said(self, group: Group) -> bytes:
        if group.kind == "content" and not self._last.startswith(b"354"):
            return b"(not sent)\r\n"
        with suppress(OSError):
            await self._send(group)
        if group.kind == "gone":
            return b""
        replies = await self._replies(group.replies)
        if group.kind == "content" and replies.startswith(b"353"):
            replies += await self._replies(await self._prdr())
        if group.kind == "tls" and replies.startswith(b"220"):
            await self._writer.start_tls(self._side.trust, server_hostname="ringback.test")
        return replies

    async def _prdr(self) -> int:
        """Return how many replies follow 353: for each recipient that was accepted, and for the message."""
        return self._recipients + 1

    async def _send(self, group: Group) -> None:
        at = 0
        for cut in (*group.cuts, len(group.octets)):
            self._writer.write(group.octets[at:cut])
            at = cut
            if cut < len(group.octets):
                await asyncio.sleep(PIECE_SECONDS)
        await self._writer.drain()

    async def _replies(self, count: int) -> bytes:
        """Return `count` replies, or fewer if the connection ended or nothing came."""
        lines = []
        try:
            async with asyncio.timeout(SILENCE_SECONDS):
                while count:
                    line = await self._reader.readline()
                    if not line:
                        lines.append(b"(closed)")
                        break
                    lines.append(line)
                    if line[3:4] != b"-":
                        count -= 1
                        self._last = line
                        self._recipients = self._counted(line)
        except TimeoutError:
            lines.append(b"(silence)")
        except (OSError, ssl.SSLError):
            lines.append(b"(closed)")
        return b"".join(lines)

    _recipients = 0

    def _counted(self, reply: bytes) -> int:
        """Return the recipients that were accepted since the last MAIL, by the next hop's own words."""
        if reply.startswith((b"250 2.1.0", b"250 2.0.0", b"221")):
            return 0
        return self._recipients + reply.startswith(b"250 2.1.5")


async def played(side: Side, what: Scene) -> Played:
    """Play a session to one side."""
    side.hop.begin(what.fault)
    number = what.seed % 60000
    replies = await Client(side).play(what.groups, f"127.77.{number // 250}.{1 + number % 250}")
    transactions = side.hop.transactions
    whole = [each for each in transactions if each.is_committed]
    committed = tuple((each.sender, *each.recipients, normalised(each.content)) for each in whole)
    begun = frozenset((each.sender, *each.recipients) for each in transactions)
    return Played(tuple(normalised(each) for each in replies), committed, begun)


async def compared(sides: tuple[Side, Side], what: Scene, heard: Counter[bytes] | None = None) -> str:
    """Play a session to both and return the difference; count what the left one said."""
    left, right = await asyncio.gather(*(played(side, what) for side in sides))
    if heard is not None:
        lines = (line for reply in left.replies for line in reply.splitlines())
        heard.update(line[:3] if line[:3].isdigit() else line for line in lines if line[3:4] != b"-")
        heard[b"committed"] += len(left.committed)
    is_whole = all(group.kind != "gone" for group in what.groups) and what.fault is None
    return left.difference(right, is_whole=is_whole)


async def shrunk(sides: tuple[Side, Side], what: Scene) -> Scene:
    """Return the session with as few groups and cuts as still show a difference, and no fault if it needs none."""
    smaller = True
    while smaller:
        smaller = False
        for candidate in _smaller(what):
            if await compared(sides, candidate):
                what, smaller = candidate, True
                break
    return what


def _smaller(what: Scene) -> Iterator[Scene]:
    if what.fault is not None:
        yield replace(what, fault=None)
    for at, group in enumerate(what.groups):
        yield replace(what, groups=what.groups[:at] + what.groups[at + 1 :])
        if group.cuts:
            yield replace(what, groups=(*what.groups[:at], replace(group, cuts=()), *what.groups[at + 1 :]))


# ---------------------------------------------------------------- the two sides


@contextmanager
def served(checkout: Path, upstream_port: int, world: World, folder: Path, core: Sequence[str]) -> Iterator[Side]:
    """Serve a checkout."""
    checkout = checkout.resolve()
    folder.mkdir()
    certificate(folder)
    (folder / "content.siv").write_text(CONTENT_SCRIPT)
    here = Checkout(checkout, str(checkout / ".venv" / "bin" / "python"))
    (folder / "users").write_text(_users(here))
    (folder / "users").chmod(0o600)
    options = {
        "State_Directory": f'"{folder}"',
        "TLS_Certificate": f'"{folder}/cert.pem"',
        "TLS_Key": f'"{folder}/key.pem"',
        "Authentication": "file",
        "Authentication_File": f'"{folder}/users"',
        "Authentication_Without_TLS": "true",
        "Authentication_Failure_Rate": '"0"',
        "Host_Failure_Retry": "0",
        "Idle_Timeout": "0",
        **dict(line.split(" = ", 1) for line in core),
    }
    setup = Setup(
        upstream_port=upstream_port,
        nameserver=f"127.0.0.1:{world.nameserver}",
        exchanger_port=world.port,
        stanzas=SCRIPTS.replace("content.siv", f"{folder}/content.siv"),
        core=[f"{name} = {value}" for name, value in options.items()],
    )
    trust = ssl.create_default_context(cafile=f"{folder}/authority.pem")
    server = Ringback(setup, folder, checkout=here).start()
    try:
        yield Side(server, NextHop(), trust)
    finally:
        server.stop()


def _users(checkout: Checkout) -> str:
    done = subprocess.run(
        [checkout.python, "-m", "proxy.cli", "password", "--stdin", "user"],
        input=f"{PASSWORD}\n",
        env=environment(checkout.root),
        capture_output=True,
        text=True,
        check=True,
    )
    return done.stdout


async def run(options: argparse.Namespace) -> int:
    """Play the sessions; return how many differed."""
    folder, ports = Folder("same"), (free_port(), free_port())
    differences, unsteady, heard = 0, 0, Counter[bytes]()
    try:
        with (
            farmed(0.0) as world,
            served(options.left, ports[0], world, folder.path / "left", options.core) as left,
            served(options.right, ports[1], world, folder.path / "right", options.core) as right,
        ):
            sides = (left, right)
            for side, port in zip(sides, ports, strict=True):
                await side.hop.start(port)
            began = time.monotonic()
            for number in range(options.sessions):
                what = scene(options.seed + number)
                if difference := await compared(sides, what, heard):
                    again = [await compared(sides, what) for _ in range(TRIES)]
                    differences += any(again)
                    unsteady += not any(again)
                    await _tell(sides, what, difference, shrink=any(again) and not options.whole)
                if differences >= options.most:
                    break
                if number % 500 == 499:
                    print(f"{number + 1} sessions, {differences} differ, {time.monotonic() - began:.0f} s", flush=True)
    finally:
        folder.remove()
    print("replies, by code:", ", ".join(f"{code.decode()} {count}" for code, count in sorted(heard.items())))
    print(f"{number + 1} sessions from seed {options.seed}: {differences} differ, {unsteady} differed once only")
    return differences


async def _tell(sides: tuple[Side, Side], what: Scene, difference: str, *, shrink: bool) -> None:
    small = await shrunk(sides, what) if shrink else what
    print(f"\nseed {what.seed}: {difference}")
    print(f"  once more: {await compared(sides, small) or 'it did not show again'}")
    print(f"  the next hop: {small.fault or 'friendly'}")
    for number, group in enumerate(small.groups, 1):
        text = group.octets if len(group.octets) < 300 else group.octets[:200] + b" ... " + group.octets[-40:]
        print(f"  {number}. {group.kind}, {len(group.octets)} octets, cut at {list(group.cuts)}: {text!r}")


def main() -> int:
    """Read the command line and compare."""
    parser = argparse.ArgumentParser(prog="python -m bench.same", description=__doc__.split("\n\n", 1)[0])
    parser.add_argument("left", type=Path, help="the checkout that is right")
    parser.add_argument("right", type=Path, help="the one that is tried")
    parser.add_argument("--sessions", type=int, default=200)
    parser.add_argument("--seed", type=int, default=1, help="of the first; each further one counts up")
    parser.add_argument("--core", action="append", default=[], metavar="LINE", help="an option, as `Name = value`")
    parser.add_argument("--most", type=int, default=MOST_ERRORS_SHOWN, help="differences after which it ends")
    parser.add_argument("--whole", action="store_true", help="show a session as it was drawn, not shrunk")
    allow_open_files()
    return 1 if uvloop.run(run(parser.parse_args())) else 0


if __name__ == "__main__":
    sys.exit(main())
