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

MOST_AT_ONCE = 100
"""Queries in flight for a worker; 3,000 at once lost packets when measured."""

QUERY_SECONDS = 8.0
"""The whole of one query, with its retries and its wait for a place in line."""

_TRY_SECONDS = 2.5
_TRIES = 2
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


def _told_apart(name: str, error: Exception) -> Exception:
    """Return what the failure says about the name."""
    if isinstance(error, aiodns.error.DNSError) and error.args[0] in _NO_SUCH_DOMAIN:
        return NoSuchDomain(name)
    return DnsUnavailable(f"{name}: {str(error) or 'timeout'}")


def _unavailable_first(error: BaseException) -> bool:
    return not isinstance(error, DnsUnavailable)
