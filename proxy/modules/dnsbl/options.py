"""The options of `dnsbl`."""

from __future__ import annotations

from typing import Literal

from config.schema.options import Options, option
from config.schema.specs import ModuleSpec
from config.schema.values import Seconds
from proxy.modules.dnsbl.zones import ZonesValue
from proxy.options.names import FieldNames


class DnsblOptions(Options):
    """Blocklists and allow lists in the DNS. Relay hosts and authenticated clients are not looked up."""

    zones: ZonesValue = option(
        (),
        doc="Lists to query, as `( zen.example.org )`, or `[ zen.example.org = [ weight = 2 checks = ( client ) ] ]`. "
        "docs/blocklists.md describes the options of a zone.",
    )
    reject_score: int = option(1, zero="off", doc="Refuse if the score is at least this.", ge=0)
    defer_score: int = option(
        0, zero="off", doc="Defer (451) if the score is at least this, and below reject_score.", ge=0
    )
    reject_at: Literal["connect", "mailfrom", "rcptto", "data"] = option(
        "rcptto",
        doc="The phase in which the score decides. The look-ups begin when the client connects. Links are judged in "
        "the data phase.",
    )
    exempt_recipients: tuple[str, ...] = option(
        ("postmaster", "abuse"),
        doc="Local parts of recipients that get mail even from listed clients. No effect before rcptto.",
    )
    address_headers: FieldNames = option(
        ("From", "Reply-To", "Sender"), doc="Header fields whose addresses are looked up, if a zone checks `header`."
    )
    max_lookups: int = option(100, zero="refused", doc="Look-ups for the links of one message.", ge=1, le=1000)
    timeout: Seconds = option(
        5.0,
        zero="refused",
        doc="Time limit for all zones together. A zone that answers later counts as not listing.",
        unit="seconds",
        ge=0.1,
    )
    shadow: bool = option(False, doc="Only log what would be rejected.")


SPEC = ModuleSpec(
    type="dnsbl",
    options=DnsblOptions,
    summary="Blocklists and allow lists in the DNS: clients, names, senders' domains and links.",
)
