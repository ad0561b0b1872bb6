"""A small authoritative name server over UDP for the zones of the demonstration.

It knows MX and A records of its own names, answers everything else in its zones with NXDOMAIN or no data (each with
the SOA record that RFC 2308 section 3 asks for) and refuses foreign names. No recursion, and no TCP: every answer fits
a datagram.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass
from typing import cast

import dns.exception
import dns.flags
import dns.message
import dns.name
import dns.rcode
import dns.rdatatype
import dns.rrset

from proxy.demo.timeline import PeerRole, Timeline

TTL = 60
NEGATIVE_TTL = 30


@dataclass(frozen=True, slots=True)
class MailDomain:
    """A domain, the name of its only exchanger, and that exchanger's address."""

    domain: str
    exchanger: str
    address: str


class DemoNameserver(asyncio.DatagramProtocol):
    """Answers for the given mail domains; each is a zone of its own."""

    def __init__(self, domains: tuple[MailDomain, ...], timeline: Timeline) -> None:
        """Build the zones' records."""
        self._zones = [dns.name.from_text(each.domain) for each in domains]
        self._records: Mapping[tuple[dns.name.Name, dns.rdatatype.RdataType], dns.rrset.RRset] = {
            key: record for each in domains for key, record in _records(each)
        }
        self._names = {name for name, _ in self._records}
        self._timeline = timeline
        self._transport: asyncio.DatagramTransport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Keep the transport to answer on."""
        self._transport = cast(asyncio.DatagramTransport, transport)

    def datagram_received(self, data: bytes, addr: tuple[str, int]) -> None:
        """Answer one query; anything else is dropped, as a name server does."""
        try:
            query = dns.message.from_wire(data)
        except dns.exception.DNSException:
            return
        if len(query.question) != 1 or query.flags & dns.flags.QR or self._transport is None:
            return
        self._transport.sendto(self.answer(query).to_wire(), addr)

    def answer(self, query: dns.message.Message) -> dns.message.Message:
        """Return the authoritative answer to a query with one question."""
        question = query.question[0]
        response = dns.message.make_response(query)
        zone = next((zone for zone in self._zones if question.name.is_subdomain(zone)), None)
        record = self._records.get((question.name, question.rdtype))
        if zone is None:
            response.set_rcode(dns.rcode.REFUSED)
        else:
            response.flags |= dns.flags.AA
            if record is not None:
                response.answer.append(record)
            else:
                response.authority.append(_soa(zone))
                if question.name not in self._names:
                    response.set_rcode(dns.rcode.NXDOMAIN)
        self._tell(question, response)
        return response

    def _tell(self, question: dns.rrset.RRset, response: dns.message.Message) -> None:
        asked = f"{dns.rdatatype.to_text(question.rdtype)} of {question.name.to_text(omit_final_dot=True)}"
        if response.answer:
            said = ", ".join(str(each).removesuffix(".") for each in response.answer[0])
        else:
            code = response.rcode()
            said = "no such record" if code == dns.rcode.NOERROR else dns.rcode.to_text(code)
        self._timeline.line(PeerRole.NAMESERVER, "DNS", f"{asked}: {said}", to_peer=True)


def _records(each: MailDomain) -> list[tuple[tuple[dns.name.Name, dns.rdatatype.RdataType], dns.rrset.RRset]]:
    """Return the MX record of the domain and the A record of its exchanger."""
    domain, host = dns.name.from_text(each.domain), dns.name.from_text(each.exchanger)
    return [
        ((domain, dns.rdatatype.MX), dns.rrset.from_text(domain, TTL, "IN", "MX", f"10 {host}")),
        ((host, dns.rdatatype.A), dns.rrset.from_text(host, TTL, "IN", "A", each.address)),
    ]


def _soa(zone: dns.name.Name) -> dns.rrset.RRset:
    """Return the zone's SOA record; a resolver takes the time to keep a negative answer from it."""
    values = f"ns.{zone} hostmaster.{zone} 1 3600 600 86400 {NEGATIVE_TTL}"
    return dns.rrset.from_text(zone, NEGATIVE_TTL, "IN", "SOA", values)
