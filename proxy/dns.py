"""DNS over aiodns, with the answers that mail needs told apart: no such domain, no such record, no answer at all.

One resolver serves a worker. Queries run under a deadline and at most `MOST_AT_ONCE` at a time, since c-ares loses
packets when thousands leave together. Sources: RFC 5321 section 5.1, RFC 7505, RFC 2308.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import aiodns
import pycares

from config.ip import read_address

MOST_AT_ONCE = 100
"""Queries in flight for a worker; 3,000 at once lost packets when measured."""

QUERY_SECONDS = 8.0
"""The whole of one query, with its retries and its wait for a place in line."""

_TRY_SECONDS = 2.5
_TRIES = 2
_MOST_NAMES = 10
"""Names of an address that are looked up (RFC 7208 section 4.6.4)."""

_RCODES = {
    pycares.errno.ARES_ESERVFAIL: "SERVFAIL",
    pycares.errno.ARES_EREFUSED: "REFUSED",
    pycares.errno.ARES_EFORMERR: "FORMERR",
    pycares.errno.ARES_ENOTIMP: "NOTIMP",
    pycares.errno.ARES_ETIMEOUT: "TIMEOUT",
}
_NO_SUCH_DOMAIN = frozenset({pycares.errno.ARES_ENOTFOUND, pycares.errno.ARES_EBADNAME})


class DnsUnavailable(Exception):
    """Nobody could say: SERVFAIL, REFUSED, a timeout. The name may well exist."""


class NoSuchDomain(Exception):
    """The domain does not exist: NXDOMAIN, or a name that DNS cannot hold."""


@dataclass(frozen=True, slots=True)
class Exchanger:
    """One MX record: a host name and its preference, lower first. The host "" is the null MX (RFC 7505)."""

    preference: int
    host: str


class Resolver:
    """Asks the configured name servers, or the system's. Owned by one worker, made after the fork."""

    def __init__(self, nameservers: Sequence[str] = ()) -> None:
        """Open the channel; `nameservers` are `address` or `address:port`."""
        self._channel = aiodns.DNSResolver(nameservers=list(nameservers) or None, timeout=_TRY_SECONDS, tries=_TRIES)
        self._places = asyncio.Semaphore(MOST_AT_ONCE)

    async def close(self) -> None:
        """Release the channel."""
        await self._channel.close()

    async def exchangers(self, domain: str) -> list[Exchanger]:
        """Return the MX records of a domain by preference; none is an answer, too.

        Raises:
            NoSuchDomain: the domain does not exist.
            DnsUnavailable: nobody could say.
        """
        records = await self._query(domain, "MX")
        found = [Exchanger(each.priority, each.exchange.rstrip(".")) for each in records]
        return sorted(found, key=lambda each: each.preference)

    async def addresses(self, host: str) -> list[str]:
        """Return the A, then the AAAA addresses of a host; none is an answer, too.

        Raises:
            NoSuchDomain: the host does not exist.
            DnsUnavailable: nobody could say, for either family, and the other has no address.
        """
        answers = await asyncio.gather(self._query(host, "A"), self._query(host, "AAAA"), return_exceptions=True)
        found = [each.addr for answer in answers if not isinstance(answer, BaseException) for each in answer]
        if found:
            return found
        for answer in sorted((each for each in answers if isinstance(each, BaseException)), key=_unavailable_first):
            raise answer
        return found

    async def host_addresses(self, host: str) -> list[str]:
        """Return the addresses of a host that the operator named: the hosts file counts, the search list too.

        Raises:
            NoSuchDomain: the host does not exist.
            DnsUnavailable: nobody could say.
        """
        try:
            async with asyncio.timeout(QUERY_SECONDS), self._places:
                answer = await self._channel.getaddrinfo(host)
        except (aiodns.error.DNSError, TimeoutError) as error:
            raise _told_apart(host, error) from error
        return list(dict.fromkeys(node.addr[0].decode() for node in answer.nodes))

    async def lookup(self, name: str, record_type: str, server: str | None = None) -> tuple[str, list[str]]:
        """Return the status (SUCCESS, the name of an RCODE, or TIMEOUT) and the records in text form.

        `record_type` is one of A AAAA TXT PTR NS MX; an IP address asked for its PTR is turned round (RFC 1035 section
        3.5). Exchangers come by preference. `server` is asked instead of the configured ones.
        """
        if server is not None:
            resolver = Resolver((server,))
            try:
                return await resolver.lookup(name, record_type)
            finally:
                await resolver.close()
        try:
            question = _reversed(name) if record_type == "PTR" else name
            return "SUCCESS", _as_text(await self._query(question, record_type), record_type)
        except NoSuchDomain:
            return "NXDOMAIN", []
        except DnsUnavailable as error:
            cause = error.__cause__
            known = isinstance(cause, aiodns.error.DNSError)
            return (_RCODES.get(cause.args[0], "SERVFAIL") if known and cause is not None else "TIMEOUT"), []

    async def name_of(self, address: str) -> str | None:
        """Return a host name of an address that leads back to it (RFC 7208 section 5.5), or None."""
        _, names = await self.lookup(address, "PTR")
        for name in names[:_MOST_NAMES]:
            try:
                if address in await self.addresses(name):
                    return name
            except (NoSuchDomain, DnsUnavailable):
                continue
        return None

    async def _query(self, name: str, record_type: str) -> list[Any]:
        """Return the data of the records of one type; CNAMEs on the way are followed by the name server."""
        try:
            async with asyncio.timeout(QUERY_SECONDS), self._places:
                answer = await self._channel.query_dns(name, record_type)
        except (aiodns.error.DNSError, TimeoutError) as error:
            if isinstance(error, aiodns.error.DNSError) and error.args[0] == pycares.errno.ARES_ENODATA:
                return []
            raise _told_apart(name, error) from error
        wanted = aiodns.query_type_map[record_type]
        return [record.data for record in answer.answer if record.type == wanted]


def _reversed(name: str) -> str:
    try:
        return read_address(name).reverse_pointer
    except ValueError:
        return name


def _as_text(records: list[Any], record_type: str) -> list[str]:
    if record_type == "MX":
        return [each.exchange.rstrip(".") for each in sorted(records, key=lambda each: each.priority)]
    if record_type == "TXT":
        return [each.data.decode("utf-8", "backslashreplace") for each in records]
    if record_type in {"A", "AAAA"}:
        return [each.addr for each in records]
    return [(each.dname if record_type == "PTR" else each.nsdname).rstrip(".") for each in records]


def _told_apart(name: str, error: Exception) -> Exception:
    """Return what the failure says about the name."""
    if isinstance(error, aiodns.error.DNSError) and error.args[0] in _NO_SUCH_DOMAIN:
        return NoSuchDomain(name)
    return DnsUnavailable(f"{name}: {str(error) or 'timeout'}")


def _unavailable_first(error: BaseException) -> bool:
    return not isinstance(error, DnsUnavailable)
