"""The options of `dmarc`."""

from __future__ import annotations

from dataclasses import dataclass
from ipaddress import IPv4Network, IPv6Network
from typing import Annotated, Literal, cast

from config.language.nodes import List, Value
from config.schema.options import Options, option
from config.schema.readers import ReadContext, Unreadable, ValueReader, reader_for
from config.schema.specs import ModuleSpec
from config.schema.values import DomainPatterns, Network, Seconds
from proxy.options.names import FieldName

Finding = Literal[
    "spf_fail", "spf_softfail", "dkim_fail", "arc_fail", "iprev_fail", "iprev_permerror", "dnsbl", "early_talker",
    "callback_fail",
]  # fmt: skip


@dataclass(frozen=True, slots=True)
class Forwarders:
    """Clients that forward mail, by their networks, and by their domains."""

    networks: tuple[IPv4Network | IPv6Network, ...] = ()
    domains: DomainPatterns = DomainPatterns(())  # noqa: RUF009 - it never changes


def _read_forwarders(value: Value, reading: ReadContext) -> Forwarders:
    """Read networks and domains, in any order."""
    networks: list[IPv4Network | IPv6Network] = []
    domains: list[str] = []
    for item in value.items if isinstance(value, List) else (value,):
        try:
            networks.append(cast(IPv4Network | IPv6Network, reader_for(Network).read(item, reading)))
        except Unreadable:
            domains += cast(DomainPatterns, reader_for(DomainPatterns).read(item, reading))
    return Forwarders(tuple(networks), DomainPatterns(domains))


def _shown(value: object) -> str:
    forwarders = cast(Forwarders, value)
    return f"( {' '.join([*map(str, forwarders.networks), *forwarders.domains])} )"


ForwardersValue = Annotated[
    Forwarders, ValueReader(_read_forwarders, "networks and domains, in any order", write=_shown)
]


class DmarcOptions(Options):
    """The policy of the domain in From (RFC 9989). Relay hosts and authenticated clients are not checked."""

    action: Literal["none", "tag", "enforce"] = option(
        "tag",
        doc="none: only give the result to scripts and the log. tag: also write Authentication-Results, "
        "and tag_header on mail that the domain's owner wants quarantined or rejected. enforce: also refuse mail that "
        "the owner wants rejected.",
    )
    enforce_with: tuple[Finding, ...] = option(
        ("spf_fail", "dnsbl"),
        doc="With `enforce`: other findings, one of which is needed before a message is refused (RFC 9989 section "
        "7.4). Empty: `p=reject` alone refuses.",
    )
    trusted_forwarders: ForwardersValue = option(
        Forwarders(),
        doc="Clients whose mail is never refused for DMARC, such as mailing lists: networks, and domains that SPF or "
        "the client's reverse name confirm.",
    )
    tag_header: FieldName = option(
        "X-DMARC-Policy", doc="Header field for mail that fails: `quarantine` or `reject`, and the domain. Empty: none."
    )
    on_error: Literal["accept", "defer"] = option(
        "accept", doc="Action if DNS gives no clear answer (temperror): accept mail, or defer it with 451."
    )
    timeout: Seconds = option(
        5.0,
        zero="refused",
        doc="Time limit for all look-ups of one message; after it the result is temperror.",
        unit="seconds",
        ge=0.1,
    )
    shadow: bool = option(False, doc="Only log what would be rejected.")


SPEC = ModuleSpec(
    type="dmarc",
    options=DmarcOptions,
    summary="DMARC: what the owner of the domain in From wants done with mail that fails.",
)
