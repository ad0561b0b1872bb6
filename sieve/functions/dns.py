"""Asking the DNS."""

from __future__ import annotations

from sieve.library import Nameserver, sieve_function
from sieve.run import reasons
from sieve.run.runtime import Frame
from sieve.run.values import ScriptError

RECORDS = ("a", "aaaa", "txt", "ptr", "ns", "mx")


@sieve_function(choices={"record": RECORDS})
async def ec_dns_lookup(frame: Frame, what: str, record: str, server: Nameserver | None = None) -> tuple[str, ...]:
    """Look up records in the DNS and return them as a list; its only element is empty if there are none.

    Record types are `a aaaa txt ptr ns mx`; exchangers come in the order of preference. The context variable
    `dns_status` of the connection says how it went: `SUCCESS`, the name of an RCODE such as `NXDOMAIN`, or `TIMEOUT`.
    `SUCCESS` without a record and `NXDOMAIN` are certain: what is not clear, such as a referral, is `SERVFAIL`. A name
    that DNS cannot hold is `NXDOMAIN`. The server is an IP address, with a port or without: `192.0.2.1`,
    `[2001:db8::1]:53`.
    """
    kind = record.lower()
    if kind not in RECORDS:
        raise ScriptError(reasons.unknown_record(record, RECORDS))
    answer = await frame.host.resolve(what, kind, server)
    frame.host.vctx_conn["dns_status"] = answer.status
    return answer.records or ("",)
