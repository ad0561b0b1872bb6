"""Asking the DNS."""

from __future__ import annotations

from sieve import reasons
from sieve.library import sieve_function
from sieve.runtime import Frame
from sieve.values import ScriptError

RECORDS = ("a", "aaaa", "txt", "ptr", "ns", "mx")


@sieve_function(choices={"record": RECORDS})
async def ec_dns_lookup(frame: Frame, what: str, record: str, server: str | None = None) -> tuple[str, ...]:
    """Look up records in the DNS and return them as a list; its only element is empty if there are none.

    Record types are `a aaaa txt ptr ns mx`; exchangers come in the order of preference. The context variable
    `dns_status` of the connection says how it went: `SUCCESS`, the name of an RCODE such as `NXDOMAIN`, or `TIMEOUT`.
    """
    kind = record.lower()
    if kind not in RECORDS:
        raise ScriptError(reasons.unknown_record(record, RECORDS))
    answer = await frame.host.resolve(what, kind, server)
    frame.host.vctx_conn["dns_status"] = answer.status
    return answer.records or ("",)
