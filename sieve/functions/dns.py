"""DNS look-ups."""

from __future__ import annotations

from sieve.library import Nameserver, sieve_function
from sieve.run import reasons
from sieve.run.runtime import Frame
from sieve.run.values import ScriptError

RECORDS = ("a", "aaaa", "txt", "ptr", "ns", "mx")


@sieve_function(choices={"record": RECORDS})
async def ec_dns_lookup(frame: Frame, what: str, record: str, server: Nameserver | None = None) -> tuple[str, ...]:
    """Look up records in the DNS and return them as a list. Without records, the list has one empty element.

    Record types are `a aaaa txt ptr ns mx`; MX hosts are sorted by preference. The connection's context variable
    `dns_status` is set to `SUCCESS`, the name of an RCODE such as `NXDOMAIN`, or `TIMEOUT`. `SUCCESS` without a record
    and `NXDOMAIN` are definite answers; an unclear answer, such as a referral, is `SERVFAIL`. A name that is not valid
    in the DNS is `NXDOMAIN`. The server is an IP address, optionally with a port: `192.0.2.1`, `[2001:db8::1]:53`.
    """
    kind = record.lower()
    if kind not in RECORDS:
        raise ScriptError(reasons.unknown_record(record, RECORDS))
    answer = await frame.host.resolve(what, kind, server)
    frame.host.vctx_conn["dns_status"] = answer.status
    return answer.records or ("",)
