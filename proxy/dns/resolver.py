"""DNS with the distinctions that mail needs: no such domain, no such record, no clear answer.

One resolver serves a worker. It asks through c-ares (aiodns) first. Records are taken from there; whatever else is said
a small stub asks again (`proxy.dns.stub`), since c-ares takes half of all faults for "no records". Both together run
under one deadline, and at most `MOST_AT_ONCE` queries at a time, since c-ares loses packets when thousands leave
together. Sources: RFC 5321 section 5.1, RFC 7505, RFC 2308.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import aiodns
import dns.exception
import dns.name
import pycares

from config.base.deadlines import Within
from config.base.domains import a_labels
from config.base.ip import read_address
from proxy.dns import stub
from proxy.dns.answers import MOST_RECORDS, Value
from proxy.dns.noted import tell
from proxy.dns.route import has_ipv4_route
from proxy.dns.stub import PORT, Nameserver, StubAnswer
from proxy.metrics.book import BOOK, observe
from proxy.metrics.metric import OTHER
from proxy.metrics.table import QUERIES, QUERY_TIME, RECORD
from sieve.run.values import address_and_port

MOST_AT_ONCE = 100
"""Queries in flight per worker; 3,000 at once lost packets when measured."""

QUERY_SECONDS = 8.0
"""One query in total, including retries, the second opinion and the wait for a place in line."""

_TRY_SECONDS = 2.0
"""The share of c-ares. After a few fast answers, it gives up on a slow name after half a second on its own."""

_TRIES = 2
_MOST_NAMES = 7
"""Names of an address to look up: at most 8 questions with the PTR. RFC 7208 section 4.6.4 allows 10."""

_NO_SUCH_HOST = frozenset({pycares.errno.ARES_ENOTFOUND, pycares.errno.ARES_ENODATA, pycares.errno.ARES_EBADNAME})
_RESOLV_CONF = Path("/etc/resolv.conf")


class DnsUnavailable(Exception):
    """No clear answer: SERVFAIL, REFUSED, a timeout, a referral. The name may well exist."""

    def __init__(self, text: str, status: str = "SERVFAIL") -> None:
        """`status` is the name of an RCODE, or TIMEOUT."""
        super().__init__(text)
        self.status = status


class AliasesLeadNowhere(DnsUnavailable):
    """The name's aliases are a loop, or too many: no record will ever be found."""


class NoSuchDomain(Exception):
    """The domain does not exist: NXDOMAIN, or a name that DNS cannot express."""


@dataclass(frozen=True, slots=True)
class Exchanger:
    """One MX record: a host name and its preference, lower first. The host "" is the null MX (RFC 7505)."""

    preference: int
    host: str


UNREADABLE = Exchanger(1 << 16, "?")
"""Sorts last and represents MX records that could not be read: the domain may still have an exchanger."""


class Resolver:
    """Asks the configured name servers, or the system's. One worker owns it; create it after the fork."""

    def __init__(self, nameservers: Sequence[str] = ()) -> None:
        """Open the channel; `nameservers` are `address` or `address:port`."""
        self._servers = tuple(_nameserver(server) for server in nameservers)
        self._answered: Nameserver | None = None
        """The server that gave the last clear answer. It is asked first, so a dead server before it costs no wait."""
        self._channel = aiodns.DNSResolver(
            nameservers=list(nameservers) or None, timeout=_TRY_SECONDS / _TRIES, tries=_TRIES
        )
        self._places, self._second_places = asyncio.Semaphore(MOST_AT_ONCE), asyncio.Semaphore(MOST_AT_ONCE)

    async def close(self) -> None:
        await self._channel.close()

    async def exchangers(self, domain: str) -> list[Exchanger]:
        """Return the MX records of a domain by preference; the list may be empty. See `UNREADABLE`.

        Raises:
            NoSuchDomain: the domain does not exist. Some servers say this for unknown types: ask for an address too.
            DnsUnavailable: there was no clear answer.
        """
        answer = await self._answer(domain, "MX")
        found = [Exchanger(*each) for each in answer.records if isinstance(each, tuple)]
        return sorted([*found, UNREADABLE] if answer.partial else found, key=lambda each: each.preference)

    async def addresses(self, host: str) -> list[str]:
        """Return the A addresses of a host; also the AAAA ones if it has no A, or if this machine has no IPv4 route.

        If A gave an answer, an unanswered AAAA does no harm. At most two questions, see `has_ipv4_route`.

        Raises:
            NoSuchDomain: the host does not exist.
            DnsUnavailable: one family had no clear answer, and the other has no address.
        """
        values: list[Value] = []
        unclear: DnsUnavailable | None = None
        try:
            values = await self._query(host, "A")
        except DnsUnavailable as error:
            unclear = error
        if not values or not has_ipv4_route():
            try:
                values = values + await self._query(host, "AAAA")
            except (DnsUnavailable, NoSuchDomain) as error:
                # NXDOMAIN together with "no A records": old name servers say this for every type that they do not know
                unclear = error if isinstance(error, DnsUnavailable) else unclear
        if not values and unclear:
            raise unclear
        return [str(value) for value in values]

    async def host_addresses(self, host: str) -> list[str]:
        """Return the addresses of a host that the operator named. The hosts file and the search list apply.

        Raises:
            NoSuchDomain: the host does not exist.
            DnsUnavailable: there was no clear answer.
        """
        if "%" not in host:
            with suppress(ValueError):
                return [str(read_address(host))]  # c-ares needs 0.1 ms to say the same
        name = _query_name(host).to_text(omit_final_dot=not host.endswith("."))
        try:
            async with asyncio.timeout(_TRY_SECONDS), self._places:
                answer = await self._channel.getaddrinfo(name)
        except (aiodns.error.DNSError, TimeoutError) as error:
            return await self._addresses_after(host, error)
        return list(dict.fromkeys(node.addr[0].decode() for node in answer.nodes))

    async def _addresses_after(self, host: str, error: Exception) -> list[str]:
        """Ask for the literal name. "No such host" counts only if c-ares said so for all names of the search list."""
        try:
            return await self.addresses(host)
        except NoSuchDomain:
            if isinstance(error, aiodns.error.DNSError) and error.args[0] in _NO_SUCH_HOST:
                raise
            raise DnsUnavailable(f"{host}: {str(error) or 'timeout'}", "TIMEOUT") from None

    async def lookup(self, name: str, record_type: str, server: str | None = None) -> tuple[str, list[str]]:
        """Return the status (SUCCESS, the name of an RCODE, or TIMEOUT) and the records as text.

        `record_type` is one of A AAAA TXT PTR NS MX. For PTR, an IP address is reversed (RFC 1035 section 3.5).
        Exchangers come by preference. `server` is asked instead of the configured ones.

        Raises:
            ValueError: the server is not an IP address.
        """
        status, records = await self._looked_up(name, record_type, None if server is None else _nameserver(server))
        tell(record_type, name, server, status, records)
        return status, records

    async def _looked_up(self, name: str, record_type: str, only: Nameserver | None) -> tuple[str, list[str]]:
        try:
            question = _reversed(name) if record_type == "PTR" else name
            return "SUCCESS", _as_text(await self._query(question, record_type, only))
        except NoSuchDomain:
            return "NXDOMAIN", []
        except DnsUnavailable as error:
            return error.status, []

    async def records(self, name: str, record_type: str) -> Sequence[Value]:
        """Return the data of the records of one type, as they are: the strings of a TXT are joined octets.

        Raises:
            NoSuchDomain: the name does not exist.
            DnsUnavailable: there was no clear answer.
        """
        try:
            found = (await self._answer(name, record_type)).records
        except NoSuchDomain:
            tell(record_type, name, None, "NXDOMAIN")
            raise
        except DnsUnavailable as error:
            tell(record_type, name, None, error.status)
            raise
        tell(record_type, name, None, "SUCCESS", found)
        return found

    async def name_of(self, address: str) -> str | None:
        """Return a host name of an address that resolves back to it (RFC 7208 section 5.5), or None.

        All lookups together share the time limit of one query.
        """
        family = "AAAA" if ":" in address else "A"
        try:
            async with asyncio.timeout(QUERY_SECONDS):
                _, names = await self.lookup(address, "PTR")
                for name in names[:_MOST_NAMES]:
                    _, addresses = await self.lookup(name, family)
                    if address in addresses:
                        return name
        except TimeoutError:
            pass
        return None

    async def _query(self, name: str, record_type: str, only: Nameserver | None = None) -> list[Value]:
        """Return the data of the records of one type."""
        return list((await self._answer(name, record_type, only)).records)

    async def _answer(self, name: str, record_type: str, only: Nameserver | None = None) -> StubAnswer:
        """Return a clear answer to one question; the name server follows CNAMEs."""
        queried = name.lower() if _PLAIN_NAME.fullmatch(name) else _query_name(name).to_text(omit_final_dot=True)
        began = asyncio.get_running_loop().time()
        ends = began + QUERY_SECONDS
        if only is None and (values := await self._by_cares(queried, record_type)):
            answer = StubAnswer("SUCCESS", tuple(values[:MOST_RECORDS]), partial=len(values) > MOST_RECORDS)
        else:
            answer = await self._second_opinion(_query_name(name), record_type, ends, (only,) if only else None)
        _count(record_type, answer, asyncio.get_running_loop().time() - began)
        _raise_where_none(name, answer)
        return answer

    async def _by_cares(self, name: str, record_type: str) -> list[Value]:
        """Return the records that c-ares finds in time; nothing else that it says counts."""
        try:
            with Within(_TRY_SECONDS):
                async with self._places:
                    result = await self._channel.query_dns(name, record_type)
        except (aiodns.error.DNSError, TimeoutError):
            return []
        return _of_the_name(result.answer, name, aiodns.query_type_map[record_type])

    async def _second_opinion(
        self, name: dns.name.Name, record_type: str, ends: float, servers: Sequence[Nameserver] | None = None
    ) -> StubAnswer:
        """Ask again with the stub, in the remaining time."""
        try:
            async with asyncio.timeout_at(ends):
                await self._second_places.acquire()
        except TimeoutError:
            return StubAnswer("TIMEOUT", unclear="timeout")
        try:
            asked = sorted(servers or self._servers or _system_servers(), key=lambda server: server != self._answered)
            answer = await stub.ask(name, record_type, asked, max(0.0, ends - asyncio.get_running_loop().time()))
        finally:
            self._second_places.release()
        if servers is None and answer.server is not None:
            self._answered = answer.server
        return answer


# ---------------------------------------------------------------- names and servers


_PLAIN_NAME = re.compile(r"(?=.{1,253}\Z)(?:[A-Za-z0-9_-]{1,63}\.)*[A-Za-z0-9_-]{1,63}")
"""A name that is queried as it is. Almost all are; to parse one and write it again takes 70 calls."""


def _query_name(name: str) -> dns.name.Name:
    """Return a name as it is queried, absolute.

    Raises:
        NoSuchDomain: DNS cannot express it: a label over 63 bytes, an empty label, no A-label form, or an empty name.
    """
    if name != "." and not name.strip("."):
        raise NoSuchDomain(name)
    try:
        return dns.name.from_text(a_labels(name.removesuffix(".")))
    except (UnicodeError, dns.exception.DNSException):
        raise NoSuchDomain(name) from None


def _nameserver(text: str) -> Nameserver:
    """Parse a name server's address, with or without a port.

    Raises:
        ValueError: it is invalid.
    """
    address, port = address_and_port(text)
    return Nameserver(address, port or PORT)


def _system_servers() -> Sequence[Nameserver]:
    """Return the system's current name servers; libc's default if there are no others (resolv.conf(5))."""
    servers = []
    with suppress(OSError):
        for line in _RESOLV_CONF.read_text("utf-8", "replace").splitlines():
            words = line.split()
            if len(words) > 1 and words[0] == "nameserver":
                with suppress(ValueError):
                    servers.append(_nameserver(words[1]))
    return servers or [Nameserver("127.0.0.1")]


# ---------------------------------------------------------------- answers


def _of_the_name(answer: Sequence[Any], name: str, wanted: int) -> list[Value]:
    """Return the data of the records that belong to the name, or to the target of its aliases.

    c-ares trusts everything in the answer section.
    """
    answer = [record for record in answer if record.record_class == pycares.QUERY_CLASS_IN]
    aliases = {
        _owner(record): _owner_text(record.data.cname) for record in answer if record.type == pycares.QUERY_TYPE_CNAME
    }
    asked = _owner_text(name)
    for _ in range(stub.MOST_ALIASES):
        if asked not in aliases:
            break
        asked = aliases[asked]
    mine = [record for record in answer if record.type == wanted and _owner(record) == asked]
    return [_value(record.data) for record in mine[: MOST_RECORDS + 1]]


def _owner(record: Any) -> str:
    return _owner_text(record.name)


def _owner_text(name: str) -> str:
    return name.removesuffix(".").lower()


def _value(record: Any) -> Value:
    match record:
        case pycares.MXRecordData():
            return record.priority, record.exchange.removesuffix(".")
        case pycares.TXTRecordData():
            return bytes(record.data)
        case pycares.PTRRecordData():
            return str(record.dname).removesuffix(".")
        case pycares.NSRecordData():
            return str(record.nsdname).removesuffix(".")
        case _:
            return str(record.addr)


def _reversed(name: str) -> str:
    try:
        return read_address(name).reverse_pointer
    except ValueError:
        return name


def _as_text(records: Sequence[Value]) -> list[str]:
    """Return the records as scripts see them; exchangers ordered by preference, without the number."""
    ordered = sorted(records, key=lambda each: each[0] if isinstance(each, tuple) else 0)
    return [_text(each) for each in ordered]


def _text(value: Value) -> str:
    if isinstance(value, tuple):
        return value[1]
    return value.decode("utf-8", "backslashreplace") if isinstance(value, bytes) else value


_QUERIES = {kind: QUERIES.table(kind) for kind in RECORD.values}
_QUERY_TIMES = QUERY_TIME.table()


def _count(record_type: str, answer: StubAnswer, seconds: float) -> None:
    kind = record_type if record_type in RECORD.values else OTHER
    if answer.unclear:
        result = "timeout" if answer.status == "TIMEOUT" else "servfail"
    else:
        result = "nxdomain" if answer.status == "NXDOMAIN" else "ok" if answer.records else "nodata"
    BOOK.counts[_QUERIES[kind][result]] += 1
    observe(QUERY_TIME, _QUERY_TIMES[kind], seconds)


def _raise_where_none(name: str, answer: StubAnswer) -> None:
    """Raise the error that an answer without records means; do nothing for "no records"."""
    if answer.unclear == stub.NOWHERE:
        raise AliasesLeadNowhere(f"{name}: {answer.unclear}", answer.status)
    if answer.unclear:
        raise DnsUnavailable(f"{name}: {answer.unclear}", answer.status)
    if answer.status == "NXDOMAIN":
        raise NoSuchDomain(name)
