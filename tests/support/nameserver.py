"""A name server that does as it is told: records in the form of a zone file's lines, and faults in their place.

`Dnsmasq` serves what a healthy name server says. This one is for what it cannot be made to say: SERVFAIL, REFUSED,
FORMERR, silence, an answer cut short, an answer that is none.
"""

from __future__ import annotations

import asyncio
import struct
from collections.abc import Iterable
from types import TracebackType
from typing import Any, Self

import dns.flags
import dns.message
import dns.rcode
import dns.rdatatype
import dns.rrset

RCODES = {name: dns.rcode.from_text(name) for name in ("SERVFAIL", "REFUSED", "FORMERR", "NOTIMP")}

FAULTS = frozenset({*RCODES, "SILENT", "TRUNCATED", "CUT", "GARBAGE"})
"""RCODEs; no answer; an answer that is whole over TCP only; the same where TCP is closed; octets that are no answer."""

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
        """Serve. TCP is bound first: a port that is free for it is as good as always free for UDP, too."""
        self._server = await asyncio.start_server(self._over_tcp, "127.0.0.1", 0)
        self.port = self._server.sockets[0].getsockname()[1]
        loop = asyncio.get_running_loop()
        self._transport, _ = await loop.create_datagram_endpoint(lambda: _Udp(self), ("127.0.0.1", self.port))
        return self

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
        fault = self._faults.get((name, kind)) or self._faults.get((name, _EVERY_TYPE))
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
        return response.to_wire()

    def _fill(self, response: dns.message.Message, name: str, kind: str) -> None:
        while alias := self._records.get((name, "CNAME")):
            response.answer.append(dns.rrset.from_text(f"{name}.", 60, "IN", "CNAME", f"{alias[0]}."))
            name = alias[0]
        records = self._records.get((name, kind))
        if records:
            data = [f"{each.rstrip('.')}." if kind == "MX" else each for each in records]
            response.answer.append(dns.rrset.from_text(f"{name}.", 60, "IN", kind, *data))
        elif name not in self._names:
            response.set_rcode(dns.rcode.NXDOMAIN)


class _Udp(asyncio.DatagramProtocol):
    """The datagram side."""

    def __init__(self, server: ScriptedNameserver) -> None:
        self._server = server

    def connection_made(self, transport: Any) -> None:
        self._transport = transport

    def datagram_received(self, data: bytes, addr: Any) -> None:
        answer = self._server.answer(data, tcp=False)
        if answer is not None:
            self._transport.sendto(answer, addr)
