"""A small stub resolver that asks one question again if c-ares's answer may not be final.

pycares shows neither RCODE nor flags. So its "no records" may be an unknown RCODE, a referral, or data in the wrong
section. This stub reads the whole answer and accepts a denial only if it is one. It does not use EDNS, so EDNS problems
cannot occur; longer answers come over TCP. `judge` decides what an answer means.

Sources: RFC 1035, RFC 2308 section 2, RFC 5452 section 9, RFC 6604, RFC 7766.
"""

from __future__ import annotations

import asyncio
import secrets
import socket
from collections.abc import Callable, Container, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace

import dns.flags
import dns.message
import dns.name
import dns.rcode
import dns.rdatatype

from proxy.base.tasks import TaskOwner, spawn
from proxy.dns.answers import CNAME, NS, SOA, Malformed, Name, Response, ResponseReader, Value, name_of

PORT = 53

TRIES = 3
"""How often to ask a server that stays silent."""

MOST_PAUSE = 1.0
"""Longest pause in seconds before the next try; an answer to an earlier one still counts."""

MOST_OCTETS_UDP = 4096
MOST_OCTETS_TCP = 16_384
"""Longer answers are not read: no mail domain needs one."""

_IN = 1
_OPCODE = 0x7800

MOST_ALIASES = 16
"""CNAMEs to follow within one answer."""

_NO_DATA_TYPES = frozenset(int(dns.rdatatype.from_text(each)) for each in ["SOA", "NS", "NSEC", "NSEC3", "RRSIG", "DS"])
"""Record types allowed in the authority section of an answer."""

NOWHERE = "a CNAME chain that leads nowhere"
"""Why an answer is unclear whose aliases are a loop, or too many."""

_CHAIN_TYPES = frozenset(int(dns.rdatatype.from_text(each)) for each in ("CNAME", "DNAME", "RRSIG"))


@dataclass(frozen=True, slots=True)
class Nameserver:
    """Where to send a question."""

    address: str
    port: int = PORT


@dataclass(frozen=True, slots=True)
class StubAnswer:
    """The result: records, a denial (`SUCCESS` or `NXDOMAIN` without records), or nothing clear."""

    status: str
    """`SUCCESS`, the name of an RCODE, or `TIMEOUT`."""
    records: tuple[Value, ...] = ()
    unclear: str = ""
    """Why the answer is no evidence about the name; empty if it is clear."""
    server: Nameserver | None = None
    """The server that gave a clear answer."""
    partial: bool = False
    """Whether there are more records than could be read."""


# ---------------------------------------------------------------- what an answer means


def judge(reader: ResponseReader, name: Name, kind: int) -> StubAnswer:
    """Return what a response to the question says."""
    response = reader.response
    status = _code(response.rcode)
    if response.rcode not in {dns.rcode.NOERROR, dns.rcode.NXDOMAIN}:
        return StubAnswer(status, unclear=status)
    end = _end_of_chain(reader, name)
    records = [record for record in response.answer if record.owner == end and record.kind == kind]
    values = reader.values(records)
    if values and response.rcode == dns.rcode.NOERROR:
        return StubAnswer("SUCCESS", tuple(values), partial=response.malformed)
    why = _why_unclear(response, end, kind)
    if why:
        return StubAnswer("SERVFAIL", unclear=why)
    return StubAnswer("NXDOMAIN" if response.rcode == dns.rcode.NXDOMAIN else "SUCCESS")


def _code(rcode: int) -> str:
    name = dns.rcode.to_text(dns.rcode.Rcode(rcode))
    return f"RCODE{name}" if name.isdigit() else name


def _end_of_chain(reader: ResponseReader, name: Name) -> Name | None:
    """Return the name at the end of the answer's CNAME chain; None if it loops, is too long or is malformed."""
    records = {record.owner: record for record in reader.response.answer if record.kind == CNAME}
    for _ in range(MOST_ALIASES):
        if name not in records:
            return name
        try:
            name = reader.alias(records[name])
        except Malformed:
            return None
    return None


def _why_unclear(response: Response, end: Name | None, kind: int) -> str:
    """Return why an answer without records is not a denial; empty if it is one (RFC 2308 section 2)."""
    authority = {record.kind for record in response.authority}
    has_soa = SOA in authority
    elsewhere = [*response.authority, *response.additional]
    is_referral = NS in authority and not has_soa and response.rcode == dns.rcode.NOERROR
    reasons = (
        (end is None, NOWHERE),
        (response.malformed, "a malformed record"),
        (not response.flags & (dns.flags.AA | dns.flags.RA), "from a server neither authoritative nor recursive"),
        (any(record.kind not in _CHAIN_TYPES for record in response.answer), "an answer to another question"),
        (is_referral, "a referral to other name servers"),
        (not authority <= _NO_DATA_TYPES, "records in the wrong section"),
        (any(record.owner == end and record.kind == kind for record in elsewhere), "records in the wrong section"),
        (
            bool(response.answer) and not has_soa and not response.flags & dns.flags.RA,
            "a CNAME that the server did not follow",
        ),
    )
    return next((why for holds, why in reasons if holds), "")


# ---------------------------------------------------------------- asking


async def ask(name: dns.name.Name, record_type: str, servers: Sequence[Nameserver], seconds: float) -> StubAnswer:
    """Return the first clear answer from any server; failing that, the last unclear one.

    Servers are asked in turn, and silent ones again. A server that answered unclearly is not asked again.
    """
    inquiry = _Inquiry(name, dns.rdatatype.from_text(record_type))
    try:
        async with asyncio.timeout(seconds):
            return await inquiry.ask(servers, min(MOST_PAUSE, seconds / (TRIES * max(1, len(servers)))))
    except TimeoutError:
        return inquiry.said
    finally:
        await inquiry.close()


class _Inquiry:
    """One question in flight. The socket to each server stays open, so that a late answer still arrives."""

    def __init__(self, name: dns.name.Name, kind: dns.rdatatype.RdataType) -> None:
        self._name, self._kind = name, kind
        self._question = [(name_of(name), int(kind), _IN)]
        self._owner = TaskOwner("dns")
        self._heard: asyncio.Queue[tuple[Nameserver, StubAnswer]] = asyncio.Queue()
        self._tried: dict[Nameserver, set[int]] = {}
        """The query ids sent to each server; only an answer to one of them is read (RFC 5452 section 9)."""
        self._transports: dict[Nameserver, asyncio.DatagramTransport] = {}
        self._over: set[Nameserver] = set()
        """Servers that have answered, or cannot be reached."""
        self.said = StubAnswer("TIMEOUT", unclear="timeout")
        """The last answer that was not clear."""

    async def close(self) -> None:
        """Close the sockets."""
        for transport in self._transports.values():
            transport.abort()
        await self._owner.cancel()

    async def ask(self, servers: Sequence[Nameserver], pause: float) -> StubAnswer:
        """Return the first clear answer; the caller sets the deadline."""
        for server in [server for _ in range(TRIES) for server in servers]:
            if server not in self._over:
                await self._send(server)
                with suppress(TimeoutError):
                    async with asyncio.timeout(pause):
                        if await self._is_clear():
                            return self.said
        while not self._over.issuperset(servers):
            if await self._is_clear():
                break
        return self.said

    async def _is_clear(self) -> bool:
        """Wait for the next answer; return whether it is clear."""
        server, answer = await self._heard.get()
        self._over.add(server)
        if not answer.unclear:
            answer = replace(answer, server=server)
        if answer.status != "TIMEOUT" or not answer.unclear or self.said.status == "TIMEOUT":
            self.said = answer
        return not answer.unclear

    async def _send(self, server: Nameserver) -> None:
        query = self._query()
        self._tried.setdefault(server, set()).add(query.id)
        try:
            transport = self._transports.get(server) or await self._open(server)
        except OSError as error:
            self._heard.put_nowait((server, _unreachable(error)))
        else:
            transport.sendto(query.to_wire())

    async def _open(self, server: Nameserver) -> asyncio.DatagramTransport:
        """Open a connected socket on a random port chosen by the system, so that only this server's packets arrive."""
        family = socket.AF_INET6 if ":" in server.address else socket.AF_INET
        sock = socket.socket(family, socket.SOCK_DGRAM)
        try:
            sock.setblocking(False)
            sock.connect((server.address, server.port))
            loop = asyncio.get_running_loop()
            transport, _ = await loop.create_datagram_endpoint(lambda: _Datagrams(server, self._received), sock=sock)
        except BaseException:
            sock.close()
            raise
        self._transports[server] = transport
        return transport

    def _query(self) -> dns.message.QueryMessage:
        return dns.message.make_query(self._name, self._kind, use_edns=False, id=secrets.randbits(16))

    def _received(self, server: Nameserver, octets: bytes | OSError) -> None:
        if isinstance(octets, OSError):
            self._heard.put_nowait((server, _unreachable(octets)))
            return
        reader = self._response(octets, self._tried[server]) if len(octets) <= MOST_OCTETS_UDP else None
        if reader is None or server in self._over:
            return  # not an answer to us, or a duplicate: the right one may still come
        if reader.response.flags & dns.flags.TC:
            self._tried[server].clear()
            spawn(self._over_tcp(server), name="dns over tcp", owner=self._owner)
        else:
            self._heard.put_nowait((server, self._judged(reader)))

    def _response(self, octets: bytes, ids: Container[int]) -> ResponseReader | None:
        """Return the message if it is a response to our question, else None."""
        if int.from_bytes(octets[:2], "big") not in ids:
            return None
        try:
            reader = ResponseReader(octets)
        except Malformed:
            return None
        is_response = reader.response.flags & (dns.flags.QR | _OPCODE) == dns.flags.QR
        return reader if is_response and reader.response.question == self._question else None

    def _judged(self, reader: ResponseReader) -> StubAnswer:
        return judge(reader, self._question[0][0], self._question[0][1])

    async def _over_tcp(self, server: Nameserver) -> None:
        """Ask again over TCP if the answer was too long for a datagram (RFC 7766)."""
        try:
            answer = await self._by_tcp(server)
        except (OSError, asyncio.IncompleteReadError) as error:
            answer = StubAnswer("TIMEOUT", unclear=f"the answer is too long for UDP, and TCP fails: {error}")
        self._heard.put_nowait((server, answer))

    async def _by_tcp(self, server: Nameserver) -> StubAnswer:
        query = self._query()
        wire = query.to_wire()
        stream, writer = await asyncio.open_connection(server.address, server.port)
        try:
            writer.write(len(wire).to_bytes(2, "big") + wire)
            size = int.from_bytes(await stream.readexactly(2), "big")
            if size > MOST_OCTETS_TCP:
                return StubAnswer("SERVFAIL", unclear=f"an answer of {size} octets is too long")
            reader = self._response(await stream.readexactly(size), {query.id})
        finally:
            writer.transport.abort()
        if reader is None or reader.response.flags & dns.flags.TC:
            return StubAnswer("SERVFAIL", unclear="no answer to the question")
        return self._judged(reader)


def _unreachable(error: OSError) -> StubAnswer:
    return StubAnswer("TIMEOUT", unclear=f"the name server cannot be reached: {error.strerror or error}")


class _Datagrams(asyncio.DatagramProtocol):
    """The datagram protocol for one server."""

    def __init__(self, server: Nameserver, received: Callable[[Nameserver, bytes | OSError], None]) -> None:
        self._server, self._received = server, received

    def datagram_received(self, data: bytes, addr: object) -> None:
        """Pass on a datagram."""
        del addr
        self._received(self._server, data)

    def error_received(self, exc: Exception) -> None:
        """Pass on an ICMP error: port closed or host unreachable."""
        self._received(self._server, exc if isinstance(exc, OSError) else OSError(str(exc)))
