"""A name server that a stranger runs: what it says about a name is a fault that the name itself asks for.

The first label of the zone names the fault: `anything.loop.test` is answered with a loop of aliases. The answers are
octets, because no library makes most of them.
"""

from __future__ import annotations

import asyncio
import itertools
import struct
from collections.abc import Callable, Mapping

from tests.support.nameserver import ScriptedNameserver

A, NS, CNAME, PTR, TXT = 1, 2, 5, 12, 16
_IN = 1
_QR_RD_RA, _TC, _AA = 0x8180, 0x0200, 0x0400
_NXDOMAIN, _SERVFAIL, _REFUSED = 3, 2, 5
_HERE = b"\xc0\x0c"
"""A pointer to the name in the question."""

LONG = 60_000
"""Octets that an honest value may have to be a `long` one, over TCP."""


def wire_name(text: str) -> bytes:
    """Return a name as it is on the wire."""
    labels = [label.encode() for label in text.strip(".").split(".") if label]
    return b"".join(bytes([len(each)]) + each for each in labels) + b"\0"


def record(owner: bytes, kind: int, value: bytes) -> bytes:
    """Return a resource record."""
    return owner + struct.pack("!HHIH", kind, _IN, 0, len(value)) + value


def text(value: bytes) -> bytes:
    """Return the data of a TXT record."""
    pieces = [value[at : at + 255] for at in range(0, len(value), 255)]
    return b"".join(bytes([len(each)]) + each for each in pieces)


class Asked:
    """One question, and the means to answer it."""

    def __init__(self, octets: bytes, value: bytes) -> None:
        self.id, self.value = octets[:2], value
        """`value` is what an honest server would say: the data of a record."""
        end = octets.index(b"\0", 12) + 5
        self.question = octets[12:end]
        (self.kind,) = struct.unpack("!H", octets[end - 4 : end - 2])

    def reply(self, *records: bytes, flags: int = 0, rcode: int = 0, more: bytes = b"", counted: int = -1) -> bytes:
        count = len(records) if counted < 0 else counted
        head = struct.pack("!HHHHH", (_QR_RD_RA | flags) + rcode, 1, count, 0, 0)
        return self.id + head + self.question + b"".join(records) + more

    def honest(self, owner: bytes = _HERE) -> bytes:
        return self.reply(record(owner, self.kind, self.value))


def _loop(asked: Asked) -> bytes:
    other = wire_name("other.loop.test")
    return asked.reply(record(_HERE, CNAME, other), record(other, CNAME, _HERE), record(other, asked.kind, asked.value))


def _chain(asked: Asked) -> bytes:
    names = [_HERE, *[wire_name(f"l{at}.test") for at in range(100)]]
    links = [record(one, CNAME, other) for one, other in itertools.pairwise(names)]
    return asked.reply(*links, record(names[-1], asked.kind, asked.value))


def _pointer_loop(asked: Asked) -> bytes:
    at = 12 + len(asked.question)
    return asked.reply(record(struct.pack("!H", 0xC000 | at), asked.kind, asked.value))


def _pointers(asked: Asked) -> bytes:
    """Thousands of names, each of which points to the one before it."""
    names, at = [], 12 + len(asked.question)
    for number in range(300):
        owner = b"\x01x" + struct.pack("!H", 0xC000 | (at if number else 12))
        names.append(record(owner, asked.kind, asked.value))
        at += len(names[-1]) if number else 0
    return asked.reply(*names)


FAULTS: Mapping[str, Callable[[Asked], bytes | None]] = {
    "silent": lambda _: None,
    "loop": _loop,
    "chain": _chain,
    "unfollowed": lambda asked: asked.reply(record(_HERE, CNAME, wire_name("elsewhere.test"))),
    "wrongid": lambda asked: bytes([asked.id[0] ^ 1]) + asked.honest()[1:],
    "othername": lambda asked: asked.honest(wire_name("othername.example")),
    "othertype": lambda asked: asked.reply(record(_HERE, NS, wire_name("ns.test"))),
    "denied": lambda asked: asked.reply(rcode=_NXDOMAIN, flags=_AA),
    "deniedandgiven": lambda asked: asked.reply(record(_HERE, asked.kind, asked.value), rcode=_NXDOMAIN),
    "garbage": lambda asked: asked.reply(rcode=_NXDOMAIN, more=b"\xff" * 300, counted=7),
    "cut": lambda asked: asked.honest()[:-3],
    "pointerloop": _pointer_loop,
    "pointers": _pointers,
    "selfpointer": lambda asked: asked.reply(record(_HERE, CNAME, b"\xc0" + bytes([24 + len(asked.question) - 12]))),
    "toomany": lambda asked: asked.reply(record(_HERE, asked.kind, asked.value), counted=60_000),
    "servfail": lambda asked: asked.reply(rcode=_SERVFAIL),
    "refused": lambda asked: asked.reply(rcode=_REFUSED),
    "alwaystruncated": lambda asked: asked.reply(flags=_TC),
    "long": lambda asked: asked.reply(record(_HERE, asked.kind, asked.value)),
    "thousand": lambda asked: asked.reply(
        *[record(_HERE, asked.kind, asked.value)] * min(1000, LONG // (12 + len(asked.value)))
    ),
    "drip": lambda asked: asked.honest(),
    "honest": lambda asked: asked.honest(),
}
OVER_TCP = frozenset({"long", "thousand", "drip", "pointers"})

NEVER = frozenset({"silent", "wrongid", "drip"})
"""Those that are no answer, however long one waits."""


class HostileNameserver(ScriptedNameserver):
    """Serves UDP and TCP on one port of 127.0.0.1. `value_of` says what an honest server would answer."""

    def __init__(self, value_of: Callable[[str, str, int], bytes]) -> None:
        """`value_of` takes the fault, the name and the type."""
        super().__init__([])
        self._value_of = value_of
        self.questions: dict[str, int] = dict.fromkeys(FAULTS, 0)
        """How many questions each fault was asked, over both transports."""

    def answer(self, octets: bytes, *, tcp: bool) -> bytes | None:
        """Return what is said to a query, or None for silence."""
        name, kind = _question(octets)
        fault = next((each for each in FAULTS if each in name.split(".")), "denied")
        self.questions[fault] += 1
        asked = Asked(octets, self._value_of(fault, name, kind))
        if fault in OVER_TCP and not tcp:
            return asked.reply(flags=_TC)
        return FAULTS[fault](asked)

    async def _over_tcp(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Answer; a drip says one octet at a time, and never the last."""
        try:
            while True:
                (size,) = struct.unpack("!H", await reader.readexactly(2))
                query = await reader.readexactly(size)
                answer = self.answer(query, tcp=True)
                if answer is None:
                    return
                whole = struct.pack("!H", len(answer)) + answer
                if "drip" not in _question(query)[0].split("."):
                    writer.write(whole)
                    continue
                for octet in whole[:-1]:
                    if writer.transport.is_closing():
                        return
                    writer.write(bytes([octet]))
                    await asyncio.sleep(0.02)
                await reader.read(1)
        except (asyncio.IncompleteReadError, ConnectionError):
            pass
        finally:
            writer.close()


def _question(octets: bytes) -> tuple[str, int]:
    labels, at = [], 12
    while octets[at]:
        labels.append(octets[at + 1 : at + 1 + octets[at]].decode("latin-1").lower())
        at += 1 + octets[at]
    return ".".join(labels), struct.unpack("!H", octets[at + 1 : at + 3])[0]
