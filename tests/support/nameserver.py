"""A name server that does as it is told: records in the form of a zone file's lines, and faults in their place.

`Dnsmasq` serves what a healthy name server says. This one is for what it cannot be made to say: SERVFAIL, REFUSED,
FORMERR and every other RCODE, silence, an answer that is cut short, late, out of order, or not an answer at all.
"""

from __future__ import annotations

import asyncio
import struct
from collections.abc import Iterable
from types import TracebackType
from typing import Any, Self

import dns.flags
import dns.message
import dns.name
import dns.rcode
import dns.rdatatype
import dns.rrset

RCODES = {
    name: dns.rcode.from_text(name)
    for name in (
        *("SERVFAIL", "REFUSED", "FORMERR", "NOTIMP", "YXDOMAIN", "YXRRSET", "NXRRSET", "NOTAUTH", "NOTZONE"),
        *("NXDOMAIN", "BADVERS", "BADKEY", "BADTIME", "BADCOOKIE"),
    )
}
"""From BADVERS on, they are in an OPT record (EDNS)."""

SILENCES = frozenset({"SILENT", "CUT", "GARBAGE", "WRONGID", "WRONGQUESTION"})
"""No answer; one that is cut short where TCP is silent; octets that are no answer; one to another query or question."""

DISORDERS = frozenset(
    {"LAME", "FLAGLESS", "MISPLACED", "OTHERTYPE", "OTHERNAME", "OTHERCLASS", "CHAINLESS", "MALFORMED"}
)
"""RCODE 0, and: a referral; neither AA nor RA; the records in the authority section; a record of another type; the
records of another name; a record of class CH; an alias that was not followed, without RA; one more record, whose data
end too soon."""

ONCE = "-ONCE"
"""Behind an RCODE or a silence: at the first question of this kind only."""

FAULTS = frozenset(
    {*RCODES, *SILENCES, *DISORDERS, "TRUNCATED", "LATE"} | {f"{each}{ONCE}" for each in (*RCODES, *SILENCES)}
)
"""Besides: an answer that is whole over TCP only, one that comes late."""

LATE_SECONDS = 0.4

_MOST_PORTS = 20

_EVERY_TYPE = "ANY"


class ScriptedNameserver:
    """Serves UDP and TCP on one port of 127.0.0.1. What it was not told of does not exist."""

    def __init__(self, lines: Iterable[str]) -> None:
        """Take lines: `name TYPE data`, `name FAULT` or `name TYPE FAULT`."""
        self.port = 0
        self.asked: list[str] = []
        """Every question that came: `name TYPE`, with `over TCP` where it did."""
        self._records: dict[tuple[str, str], list[str]] = {}
        self._faults: dict[tuple[str, str], str] = {}
        self._names: set[str] = set()
        self._met: dict[tuple[str, str], int] = {}
        """How often a question came whose first answer is a fault."""
        for line in lines:
            self._learn(*line.split(maxsplit=2))
        self._transport: asyncio.BaseTransport | None = None
        self._server: asyncio.Server | None = None

    @property
    def address(self) -> str:
        """`127.0.0.1:port`."""
        return f"127.0.0.1:{self.port}"

    def _learn(self, name: str, kind: str, data: str = "") -> None:
        if kind in FAULTS or data in FAULTS:
            self._faults[name, kind if data else _EVERY_TYPE] = data or kind
        else:
            self._records.setdefault((name, kind), []).append(data)
        self._names.add(name)

    async def __aenter__(self) -> Self:
        """Serve. TCP is bound first; a port whose UDP side is taken is given up."""
        loop = asyncio.get_running_loop()
        for _ in range(_MOST_PORTS):
            self._server = await asyncio.start_server(self._over_tcp, "127.0.0.1", 0)
            self.port = self._server.sockets[0].getsockname()[1]
            try:
                self._transport, _ = await loop.create_datagram_endpoint(lambda: _Udp(self), ("127.0.0.1", self.port))
            except OSError:
                self._server.close()  # a server that stays open keeps the loop from ending
            else:
                return self
        raise AssertionError("no port is free for TCP and UDP")

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None
    ) -> None:
        """Stop."""
        assert self._transport is not None
        assert self._server is not None
        self._transport.close()
        self._server.close()

    async def _over_tcp(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            (size,) = struct.unpack("!H", await reader.readexactly(2))
            answer = self.answer(await reader.readexactly(size), tcp=True)
            if answer is not None:
                writer.write(struct.pack("!H", len(answer)) + answer)
                await writer.drain()
        except (asyncio.IncompleteReadError, ConnectionError):
            pass
        finally:
            writer.close()

    def answer(self, octets: bytes, *, tcp: bool) -> bytes | None:
        """Return what is said to a query, or None for silence."""
        query = dns.message.from_wire(octets)
        question = query.question[0]
        name = question.name.to_text(omit_final_dot=True).lower()
        kind = dns.rdatatype.to_text(question.rdtype)
        self.asked.append(f"{name} {kind}{' over TCP' if tcp else ''}")
        fault = self._fault(name, kind)
        if fault == "SILENT" or (fault == "CUT" and tcp):
            return None
        if fault == "GARBAGE":
            return octets[:2] + b"no answer of any kind"
        response = dns.message.make_response(query)
        response.flags |= dns.flags.RA
        if fault in RCODES:
            response.set_rcode(RCODES[fault])
        elif fault in {"TRUNCATED", "CUT"} and not tcp:
            response.flags |= dns.flags.TC
        else:
            self._fill(response, name, kind)
            self._disorder(response, name, fault)
            response.id ^= fault == "WRONGID"
            if fault == "WRONGQUESTION":
                response.question = [dns.rrset.from_text("elsewhere.test.", 0, "IN", "MX")]
        wire = response.to_wire()
        return _with_malformed(wire) if fault == "MALFORMED" else wire

    def _fault(self, name: str, kind: str) -> str:
        found = self._faults.get((name, kind)) or self._faults.get((name, _EVERY_TYPE)) or ""
        if not found.endswith(ONCE):
            return found
        self._met.setdefault((name, kind), 0)
        self._met[name, kind] += 1
        return found.removesuffix(ONCE) if self._met[name, kind] == 1 else ""

    def is_late(self, octets: bytes) -> bool:
        """Whether the answer is held back for `LATE_SECONDS`."""
        question = dns.message.from_wire(octets).question[0]
        name, kind = question.name.to_text(omit_final_dot=True).lower(), dns.rdatatype.to_text(question.rdtype)
        return "LATE" in {self._faults.get((name, kind)), self._faults.get((name, _EVERY_TYPE))}

    def _disorder(self, response: dns.message.Message, name: str, fault: str) -> None:
        """Bring a good answer into disorder; any other fault leaves it alone."""
        above = f"{name.partition('.')[2] or name}."
        aliases = [each for each in response.answer if each.rdtype == dns.rdatatype.CNAME]
        match fault:
            case "LAME":
                response.answer = []
                response.authority = [dns.rrset.from_text(above, 60, "IN", "NS", f"ns.{above}")]
            case "FLAGLESS":
                response.flags &= ~dns.flags.RA
            case "MISPLACED":
                response.authority, response.answer = response.answer, []
            case "OTHERTYPE" | "OTHERCLASS":
                other = ("IN", "HINFO", "a b") if fault == "OTHERTYPE" else ("CH", "TXT", "a")
                response.answer = [dns.rrset.from_text(f"{name}.", 60, *other)]
            case "OTHERNAME":
                for each in response.answer:
                    each.name = dns.name.from_text("elsewhere.test")
            case "CHAINLESS":
                response.answer, response.flags = aliases, (response.flags | dns.flags.AA) & ~dns.flags.RA

    def _fill(self, response: dns.message.Message, name: str, kind: str) -> None:
        seen = set()
        while (alias := self._records.get((name, "CNAME"))) and name not in seen:
            seen.add(name)
            response.answer.append(dns.rrset.from_text(f"{name}.", 60, "IN", "CNAME", f"{alias[0]}."))
            name = alias[0]
        records = self._records.get((name, kind))
        if records:
            data = [f"{each.rstrip('.')}." if kind == "MX" else each for each in records]
            response.answer.append(dns.rrset.from_text(f"{name}.", 60, "IN", kind, *data))
        elif name not in self._names:
            response.set_rcode(dns.rcode.NXDOMAIN)


def _with_malformed(wire: bytes) -> bytes:
    """Return a response with one more record, of the type that was asked for, whose data are one octet too short."""
    message = dns.message.from_wire(wire)
    kind = int(message.question[0].rdtype)
    name_and_type = message.question[0].name.to_wire() + struct.pack("!HHIH", kind, 1, 60, 1) + b"\x00"
    message.use_edns(False)
    plain = message.to_wire()
    count = struct.pack("!H", sum(len(each) for each in message.answer) + 1)
    return plain[:6] + count + plain[8:] + name_and_type


class _Udp(asyncio.DatagramProtocol):
    """The datagram side."""

    def __init__(self, server: ScriptedNameserver) -> None:
        self._server = server

    def connection_made(self, transport: Any) -> None:
        self._transport = transport

    def datagram_received(self, data: bytes, addr: Any) -> None:
        answer = self._server.answer(data, tcp=False)
        if answer is not None and self._server.is_late(data):
            asyncio.get_running_loop().call_later(LATE_SECONDS, self._transport.sendto, answer, addr)
        elif answer is not None:
            self._transport.sendto(answer, addr)
