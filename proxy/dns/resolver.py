"""DNS with the answers that mail needs told apart: no such domain, no such record, nothing clear.

One resolver serves a worker. It asks through c-ares (aiodns) first. Records are taken from there; whatever else is said
a small stub asks again (`proxy.dns.stub`), since c-ares takes half of all faults for "no records". Both together run
under one deadline, and at most `MOST_AT_ONCE` queries at a time, since c-ares loses packets when thousands leave
together. Sources: RFC 5321 section 5.1, RFC 7505, RFC 2308.
"""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import aiodns
import dns.exception
import dns.name
import pycares

from config.base.domains import a_labels
from config.base.ip import read_address
from proxy.dns import stub
from proxy.dns.answers import MOST_RECORDS, Value
from proxy.dns.stub import PORT, Answer, Nameserver
from sieve.run.values import address_and_port

MOST_AT_ONCE = 100
"""Queries in flight for a worker; 3,000 at once lost packets when measured."""

QUERY_SECONDS = 8.0
"""The whole of one query, with its retries, the second opinion and the wait for a place in line."""

_TRY_SECONDS = 2.0
"""What c-ares has of it. After a few fast answers it gives up on a slow name by itself, after half a second."""

_TRIES = 2
_MOST_NAMES = 7
"""Names of an address that are looked up: with the PTR no more than 8 questions. RFC 7208 section 4.6.4 has 10."""

_NO_SUCH_HOST = frozenset({pycares.errno.ARES_ENOTFOUND, pycares.errno.ARES_ENODATA, pycares.errno.ARES_EBADNAME})
_RESOLV_CONF = Path("/etc/resolv.conf")


class DnsUnavailable(Exception):
    """Nothing clear was said: SERVFAIL, REFUSED, a timeout, a referral. The name may well exist."""

    def __init__(self, text: str, status: str = "SERVFAIL") -> None:
        """Keep the status: the name of an RCODE, or TIMEOUT."""
        super().__init__(text)
        self.status = status


class NoSuchDomain(Exception):
    """The domain does not exist: NXDOMAIN, or a name that DNS cannot hold."""


@dataclass(frozen=True, slots=True)
class Exchanger:
    """One MX record: a host name and its preference, lower first. The host "" is the null MX (RFC 7505)."""

    preference: int
    host: str


UNREADABLE = Exchanger(1 << 16, "?")
"""Stands last for MX records that could not be read: the domain may have an exchanger yet."""


class Resolver:
    """Asks the configured name servers, or the system's. Owned by one worker, made after the fork."""

    def __init__(self, nameservers: Sequence[str] = ()) -> None:
        """Open the channel; `nameservers` are `address` or `address:port`."""
        self._servers = tuple(_nameserver(each) for each in nameservers)
        self._answered: Nameserver | None = None
        """Who gave the last clear answer: it is asked first, so a dead one before it costs no wait each time."""
        self._channel = aiodns.DNSResolver(
            nameservers=list(nameservers) or None, timeout=_TRY_SECONDS / _TRIES, tries=_TRIES
        )
        self._places, self._second_places = asyncio.Semaphore(MOST_AT_ONCE), asyncio.Semaphore(MOST_AT_ONCE)

    async def close(self) -> None:
        """Release the channel."""
        await self._channel.close()

    async def exchangers(self, domain: str) -> list[Exchanger]:
        """Return the MX records of a domain by preference; none is an answer, too. See `UNREADABLE`.

        Raises:
            NoSuchDomain: the domain does not exist. Some servers say so of a type they do not know: ask for an address.
            DnsUnavailable: nothing clear was said.
        """
        answer = await self._answer(domain, "MX")
        found = [Exchanger(*each) for each in answer.records if isinstance(each, tuple)]
        return sorted([*found, UNREADABLE] if answer.partial else found, key=lambda each: each.preference)

    async def addresses(self, host: str) -> list[str]:
        """Return the A addresses of a host; if there are none, or IPv4 leads nowhere from here, the AAAA ones, too.

        An AAAA that nobody answers holds nothing up where A did. At most two questions, see `has_ipv4_route`.

        Raises:
            NoSuchDomain: the host does not exist.
            DnsUnavailable: nothing clear was said, for either family, and the other has no address.
        """
        found: list[Value] = []
        unclear: DnsUnavailable | None = None
        try:
            found = await self._query(host, "A")
        except DnsUnavailable as error:
            unclear = error
        if not found or not has_ipv4_route():
            try:
                found = found + await self._query(host, "AAAA")
            except (DnsUnavailable, NoSuchDomain) as error:
                # NXDOMAIN beside "no A records": old name servers say so of every type that they do not know
                unclear = error if isinstance(error, DnsUnavailable) else unclear
        if not found and unclear:
            raise unclear
        return [str(each) for each in found]

    async def host_addresses(self, host: str) -> list[str]:
        """Return the addresses of a host that the operator named: the hosts file counts, the search list too.

        Raises:
            NoSuchDomain: the host does not exist.
            DnsUnavailable: nothing clear was said.
        """
        name = _query_name(host).to_text(omit_final_dot=not host.endswith("."))
        try:
            async with asyncio.timeout(_TRY_SECONDS), self._places:
                answer = await self._channel.getaddrinfo(name)
        except (aiodns.error.DNSError, TimeoutError) as error:
            return await self._addresses_after(host, error)
        return list(dict.fromkeys(node.addr[0].decode() for node in answer.nodes))

    async def _addresses_after(self, host: str, error: Exception) -> list[str]:
        """Ask for the name as it is written. That it does not exist is believed only if c-ares said so of all names."""
        try:
            return await self.addresses(host)
        except NoSuchDomain:
            if isinstance(error, aiodns.error.DNSError) and error.args[0] in _NO_SUCH_HOST:
                raise
            raise DnsUnavailable(f"{host}: {str(error) or 'timeout'}", "TIMEOUT") from None

    async def lookup(self, name: str, record_type: str, server: str | None = None) -> tuple[str, list[str]]:
        """Return the status (SUCCESS, the name of an RCODE, or TIMEOUT) and the records in text form.

        `record_type` is one of A AAAA TXT PTR NS MX; an IP address asked for its PTR is turned round (RFC 1035 section
        3.5). Exchangers come by preference. `server` is asked instead of the configured ones.

        Raises:
            ValueError: the server is not an IP address.
        """
        only = None if server is None else _nameserver(server)
        try:
            question = _reversed(name) if record_type == "PTR" else name
            return "SUCCESS", _as_text(await self._query(question, record_type, only))
        except NoSuchDomain:
            return "NXDOMAIN", []
        except DnsUnavailable as error:
            return error.status, []

    async def name_of(self, address: str) -> str | None:
        """Return a host name of an address that leads back to it (RFC 7208 section 5.5), or None.

        All of it has the time of one query.
        """
        family = "AAAA" if ":" in address else "A"
        try:
            async with asyncio.timeout(QUERY_SECONDS):
                _, names = await self.lookup(address, "PTR")
                for name in names[:_MOST_NAMES]:
                    _, found = await self.lookup(name, family)
                    if address in found:
                        return name
        except TimeoutError:
            pass
        return None

    async def _query(self, name: str, record_type: str, only: Nameserver | None = None) -> list[Value]:
        """Return the data of the records of one type."""
        return list((await self._answer(name, record_type, only)).records)

    async def _answer(self, name: str, record_type: str, only: Nameserver | None = None) -> Answer:
        """Return a clear answer to one question; CNAMEs on the way are followed by the name server."""
        wire_name = _query_name(name)
        ends = asyncio.get_running_loop().time() + QUERY_SECONDS
        if only is None and (found := await self._by_cares(wire_name, record_type, ends)):
            return Answer("SUCCESS", tuple(found[:MOST_RECORDS]), partial=len(found) > MOST_RECORDS)
        answer = await self._second_opinion(wire_name, record_type, ends, (only,) if only else None)
        _raise_where_none(name, answer)
        return answer

    async def _by_cares(self, name: dns.name.Name, record_type: str, ends: float) -> list[Value]:
        """Return the records that c-ares finds in time; nothing else that it says is taken for an answer."""
        try:
            async with asyncio.timeout_at(min(ends, asyncio.get_running_loop().time() + _TRY_SECONDS)), self._places:
                result = await self._channel.query_dns(name.to_text(omit_final_dot=True), record_type)
        except (aiodns.error.DNSError, TimeoutError):
            return []
        return _of_the_name(result.answer, name, aiodns.query_type_map[record_type])

    async def _second_opinion(
        self, name: dns.name.Name, record_type: str, ends: float, servers: Sequence[Nameserver] | None = None
    ) -> Answer:
        """Ask again, by the stub, for the rest of the time."""
        try:
            async with asyncio.timeout_at(ends):
                await self._second_places.acquire()
        except TimeoutError:
            return Answer("TIMEOUT", unclear="timeout")
        try:
            asked = sorted(servers or self._servers or _system_servers(), key=lambda each: each != self._answered)
            answer = await stub.ask(name, record_type, asked, max(0.0, ends - asyncio.get_running_loop().time()))
        finally:
            self._second_places.release()
        if servers is None and answer.server is not None:
            self._answered = answer.server
        return answer


# ---------------------------------------------------------------- names and servers


def _query_name(name: str) -> dns.name.Name:
    """Return a name as it is asked for, absolute.

    Raises:
        NoSuchDomain: DNS cannot hold it: a label above 63 octets, an empty one, no A-label, nothing at all.
    """
    if name != "." and not name.strip("."):
        raise NoSuchDomain(name)
    try:
        return dns.name.from_text(a_labels(name.removesuffix(".")))
    except (UnicodeError, dns.exception.DNSException):
        raise NoSuchDomain(name) from None


def _nameserver(text: str) -> Nameserver:
    """Read a name server's address, with a port or without.

    Raises:
        ValueError: it is none.
    """
    address, port = address_and_port(text)
    return Nameserver(address, port or PORT)


def _system_servers() -> Sequence[Nameserver]:
    """Return the system's name servers as they are now; libc's default if there are none (resolv.conf(5))."""
    found = []
    with suppress(OSError):
        for line in _RESOLV_CONF.read_text("utf-8", "replace").splitlines():
            words = line.split()
            if len(words) > 1 and words[0] == "nameserver":
                with suppress(ValueError):
                    found.append(_nameserver(words[1]))
    return found or [Nameserver("127.0.0.1")]


def has_ipv4_route() -> bool:
    """Whether a packet to a public IPv4 address would leave this machine; none is sent."""
    try:
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
            return sock.connect_ex(("198.41.0.4", PORT)) == 0  # a.root-servers.net; UDP connects without a packet
    except OSError:
        return True  # no descriptor is left: that says nothing of routes


# ---------------------------------------------------------------- answers


def _of_the_name(answer: Sequence[Any], name: dns.name.Name, wanted: int) -> list[Value]:
    """Return the data of the records that belong to the name or to what it is an alias of.

    c-ares believes whatever stands in the answer section.
    """
    answer = [each for each in answer if each.record_class == pycares.QUERY_CLASS_IN]
    aliases = {_owner(each): _owner_text(each.data.cname) for each in answer if each.type == pycares.QUERY_TYPE_CNAME}
    asked = _owner_text(name.to_text())
    for _ in range(stub.MOST_ALIASES):
        if asked not in aliases:
            break
        asked = aliases[asked]
    mine = [each for each in answer if each.type == wanted and _owner(each) == asked]
    return [_value(each.data) for each in mine[: MOST_RECORDS + 1]]


def _owner(record: Any) -> str:
    return _owner_text(record.name)


def _owner_text(name: str) -> str:
    return name.removesuffix(".").lower()


def _value(found: Any) -> Value:
    match found:
        case pycares.MXRecordData():
            return found.priority, found.exchange.removesuffix(".")
        case pycares.TXTRecordData():
            return bytes(found.data)
        case pycares.PTRRecordData():
            return str(found.dname).removesuffix(".")
        case pycares.NSRecordData():
            return str(found.nsdname).removesuffix(".")
        case _:
            return str(found.addr)


def _reversed(name: str) -> str:
    try:
        return read_address(name).reverse_pointer
    except ValueError:
        return name


def _as_text(records: Sequence[Value]) -> list[str]:
    """Return the records as scripts see them; exchangers in the order of preference, without it."""
    ordered = sorted(records, key=lambda each: each[0] if isinstance(each, tuple) else 0)
    return [_text(each) for each in ordered]


def _text(value: Value) -> str:
    if isinstance(value, tuple):
        return value[1]
    return value.decode("utf-8", "backslashreplace") if isinstance(value, bytes) else value


def _raise_where_none(name: str, answer: Answer) -> None:
    """Raise what an answer without records means; "no records" means nothing further."""
    if answer.unclear:
        raise DnsUnavailable(f"{name}: {answer.unclear}", answer.status)
    if answer.status == "NXDOMAIN":
        raise NoSuchDomain(name)
