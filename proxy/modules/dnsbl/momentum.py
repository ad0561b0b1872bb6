"""Momentum's `url_ripper` and `dns_rbl`: their options, read into zones of ours.

`url_ripper` counts listings in context variables and refuses nothing. `dns_rbl` refuses listed clients.
"""

from __future__ import annotations

from typing import Annotated, Literal, cast

from pydantic import AfterValidator

from config.language.nodes import List, Value
from config.schema.options import Options, option
from config.schema.readers import ReadContext, ValueReader, scalar
from config.schema.specs import ModuleSpec
from config.schema.values import Endpoint, Seconds
from proxy.modules.dnsbl.options import DnsblOptions
from proxy.modules.dnsbl.zones import KeysValue, Zone, ZoneOptions, ZonesValue, zone_of
from proxy.options.names import field_names


def _read_base(value: Value, reading: ReadContext) -> str:
    return zone_of(scalar(value, reading, "a zone"), ZoneOptions()).name


def _read_fields(value: Value, reading: ReadContext) -> tuple[str, ...]:
    """Read an array, or names parted by colons."""
    items = value.items if isinstance(value, List) else (value,)
    texts = [scalar(each, reading, "the name of a field").text for each in items]
    return tuple([name.strip().lower() for text in texts for name in text.split(":") if name.strip()])


BaseValue = Annotated[str, ValueReader(_read_base, "a zone")]
FieldsValue = Annotated[
    tuple[str, ...],
    ValueReader(
        _read_fields, "names of header fields", write=lambda names: f'"{":".join(cast(tuple[str, ...], names))}"'
    ),
    AfterValidator(field_names),
]


class UrlRipperOptions(Options):
    """Momentum's url_ripper: looks up clients, names, domains and links in one zone, and counts what is listed."""

    base: BaseValue = option("", doc="The zone.")
    bits: KeysValue = option((), doc="Bits of the answer, each with the context variable that counts listings with it.")
    values: KeysValue = option((), doc="Answers, each with the context variable that counts listings with it.")
    address_headers: FieldsValue = option(
        ("from", "reply-to", "sender"), doc="Header fields whose addresses are looked up, as an array or `From:Sender`."
    )
    forward: bool = option(True, doc="Also look up the addresses of names.")
    max_lookups: int = option(100, zero="refused", doc="Look-ups for one message.", ge=1, le=1000)
    timeout: Seconds = option(5.0, zero="refused", doc="Time limit for all look-ups together.", unit="seconds", ge=0.1)
    test: bool = option(False, doc="Use the zone only while its test entries are correct (RFC 5782).")

    def as_dnsbl(self) -> DnsblOptions:
        """Return the same for `dnsbl`."""
        zone = ZoneOptions(
            checks=("client", "helo", "sender", "recipient", "header", "url"),
            weight=0,
            bits=self.bits,
            values=self.values,
            addresses=True,
            forward=self.forward,
            test=self.test,
        )
        return DnsblOptions(
            zones=(Zone(self.base, zone),) if self.base else (),
            reject_score=0,
            address_headers=self.address_headers,
            max_lookups=self.max_lookups,
            timeout=self.timeout,
            exempt_recipients=(),
        )


class DnsRblOptions(Options):
    """Momentum's dns_rbl: refuses clients that a zone lists. `dnsbl` can do more."""

    base: BaseValue = option("", doc="The zone.")
    zones: ZonesValue = option((), doc="More zones, as in dnsbl.")
    server: Endpoint | None = option(None, doc="Name server to query, such as a local rbldnsd.")
    record_type: Literal["a", "txt"] = option("a", doc="txt: refuse in the zone's own words.")
    code: int = option(554, zero="refused", doc="Reply code of a refusal.", ge=400, le=599)
    reason: str = option("", doc="Reply text; `%s` is the client's address.")
    honor_whitelist: bool = option(True, doc="Ignore listings if an allow list lists the client.")
    timeout: Seconds = option(5.0, zero="refused", doc="Time limit for all look-ups together.", unit="seconds", ge=0.1)

    def as_dnsbl(self) -> DnsblOptions:
        """Return the same for `dnsbl`."""
        own = ZoneOptions(
            server=self.server,
            txt=self.record_type == "txt",
            code=self.code,
            reason=self.reason,
            honor_whitelist=self.honor_whitelist,
        )
        base = (Zone(self.base, own),) if self.base else ()
        return DnsblOptions(zones=(*base, *self.zones), timeout=self.timeout)


URL_RIPPER_SPEC = ModuleSpec(
    type="url_ripper",
    options=UrlRipperOptions,
    lines=("Validate validate/policy_tools", "Validate validate/url_ripper"),
    summary="Momentum's url_ripper: counts what one zone lists: the client, its names and the links in its mail.",
)
DNS_RBL_SPEC = ModuleSpec(
    type="dns_rbl", options=DnsRblOptions, summary="Momentum's dns_rbl: refuses clients that a zone lists."
)
