"""A zone: what it is asked about, what its answers weigh, and how the configuration declares it."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Annotated, Literal

from pydantic import ValidationError

from config.base.domains import normal_domain
from config.errors import not_a, wrong_kind
from config.language.nodes import Dictionary, List, Scalar, Value
from config.naming import unknown
from config.schema.declared import declared, names_of
from config.schema.options import Options, option
from config.schema.readers import ReadContext, Unreadable, ValueReader, described, one_of, reader_for, scalar
from config.schema.values import Endpoint
from proxy.modules.dnsbl.codes import BadCode, CodePattern, Octets, octets_of, pattern
from proxy.modules.dnsbl.kinds import KINDS

CheckValue = Annotated[str, one_of({name: name for name in KINDS})]

_ZONE = re.compile(r"(?:[a-z0-9_](?:[a-z0-9_-]{0,61}[a-z0-9_])?\.)+[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?")
_LONGEST_ZONE = 190
"""Characters, so that the name of an IPv6 client fits in front of it."""

_CODE_HINT = 'write "127.0.0.2", "127.0.0.[2..11]" or "127.0.*.[1;3]"'


def _read_codes(value: Value, reading: ReadContext) -> tuple[CodePattern, ...]:
    """Read a list of patterns, or a dictionary of patterns with their weights."""
    if isinstance(value, Dictionary):
        numbers = reader_for(int)
        weights = [(each.key, numbers.read(each.value, reading)) for each in value.entries]
        return tuple([_pattern(key, int(str(weight))) for key, weight in weights])
    items = value.items if isinstance(value, List) else (value,)
    return tuple([_pattern(scalar(each, reading, "a code"), None) for each in items])


def _pattern(written: Scalar, weight: int | None) -> CodePattern:
    try:
        return pattern(written.text, weight)
    except BadCode:
        raise Unreadable(not_a("an answer of a blocklist", written.text, written.span, _CODE_HINT)) from None


def _read_keys(value: Value, reading: ReadContext) -> tuple[tuple[Octets, str], ...]:
    """Read `[ 0.0.0.2 = "key" ]`."""
    if not isinstance(value, Dictionary):
        raise Unreadable(wrong_kind(reading.name, 'a dictionary [ 127.0.0.2 = "key" ]', described(value), value.span))
    found = []
    for each in value.entries:
        octets = octets_of(each.key.text)
        if octets is None:
            raise Unreadable(not_a("an IPv4 address", each.key.text, each.key.span, "write four numbers: 127.0.0.2"))
        found.append((octets, scalar(each.value, reading, "the name of a context variable").text))
    return tuple(found)


def _shown_codes(codes: object) -> str:
    shown = [each for each in codes if isinstance(each, CodePattern)] if isinstance(codes, tuple) else []
    if all(each.weight is None for each in shown):
        return "( " + " ".join([f'"{each.text}"' for each in shown]) + " )"
    return "[ " + " ".join([f'"{each.text}" = {each.weight}' for each in shown]) + " ]"


def _shown_keys(keys: object) -> str:
    shown = keys if isinstance(keys, tuple) else ()
    return "[ " + " ".join([f'{".".join(map(str, octets))} = "{name}"' for octets, name in shown]) + " ]"


CodesValue = Annotated[tuple[CodePattern, ...], ValueReader(_read_codes, "answers", write=_shown_codes)]
KeysValue = Annotated[
    tuple[tuple[Octets, str], ...], ValueReader(_read_keys, "answers and names of variables", write=_shown_keys)
]


class ZoneOptions(Options):
    """The options of one zone."""

    checks: tuple[CheckValue, ...] = option(("client",), doc="What is looked up in the zone.")
    weight: int = option(1, zero="off", doc="What a listing adds to the score; below 0 for an allow list.")
    allow: bool = option(False, doc="An allow list: what it lists is not refused, whatever other zones say.")
    codes: CodesValue = option((), doc="Answers that count, as a list, or a dictionary with their weights. Empty: all.")
    bits: KeysValue = option((), doc="Bits of the answer, each with a context variable that counts listings with it.")
    values: KeysValue = option((), doc="Answers, each with a context variable that counts listings with it.")
    code: int = option(554, zero="refused", doc="Reply code if this zone weighs most in a refusal.", ge=400, le=599)
    reason: str = option("", doc="Reply text; `%s` is what is listed. Default: what is listed, and by which zone.")
    txt: bool = option(False, doc="Reply with the zone's own text, from its TXT record, if it has one.")
    server: Endpoint | None = option(None, doc="Name server to ask, such as a local rbldnsd, `127.0.0.1:530`.")
    honor_whitelist: bool = option(True, doc="Ignore the zone's listings if an allow list lists the client.")
    names: Literal["base", "full"] = option(
        "base", doc="Which name is asked for a domain: the registered one, or also the full one."
    )
    addresses: bool = option(False, doc="Also look up IP addresses in links.")
    forward: bool = option(False, doc="Also look up the IPv4 addresses of names.")
    test: bool = option(True, doc="Use the zone only while its test entries are right (RFC 5782); no if it has none.")
    test_name: str = option("test", doc="The name that a zone of names must list, such as `dbltest.com`.")


@dataclass(frozen=True, slots=True)
class Zone:
    """One zone."""

    name: str
    options: ZoneOptions

    @property
    def server(self) -> str | None:
        """The name server to ask instead of the configured ones."""
        return None if self.options.server is None else str(self.options.server)


def _read_zones(value: Value, reading: ReadContext) -> tuple[Zone, ...]:
    """Read `( zone zone )`, or `[ zone = [ … ] ]`."""
    if isinstance(value, Dictionary):
        found = [zone_of(each.key, _options(each.value, reading)) for each in value.entries]
    else:
        items = value.items if isinstance(value, List) else (value,)
        found = [zone_of(scalar(each, reading, "a zone"), ZoneOptions()) for each in items]
    names = [each.name for each in found]
    for name in names:
        if names.count(name) > 1:
            raise Unreadable(not_a("a list without repetitions", name, value.span, "name each zone once"))
    return tuple(found)


def zone_of(written: Scalar, options: ZoneOptions) -> Zone:
    """Return a zone with its name normalized."""
    name = normal_domain(written.text)
    if _ZONE.fullmatch(name) is None or len(name) > _LONGEST_ZONE:
        raise Unreadable(not_a("a zone", written.text, written.span, "write a domain, such as zen.example.org"))
    return Zone(name, options)


def _options(value: Value, reading: ReadContext) -> ZoneOptions:
    if not isinstance(value, Dictionary):
        raise Unreadable(wrong_kind(reading.name, "a dictionary [ weight = 2 … ]", described(value), value.span))
    names, own, values = names_of(ZoneOptions), declared(ZoneOptions), {}
    for each in value.entries:
        name = names.get(each.key.text.lower())
        if name is None:
            raise Unreadable(unknown("option", each.key.text, tuple(names), each.key.span, " of a zone"))
        values[name] = own[name].reader.read(each.value, ReadContext(name, reading.findings, ZoneOptions))
    try:
        return ZoneOptions.model_validate(values)
    except ValidationError as wrong:
        first = wrong.errors()[0]
        name = str(first["loc"][0]) if first["loc"] else "zone"
        raise Unreadable(not_a(f"a valid {name}", str(first["input"]), value.span, first["msg"])) from None


def shown_zones(zones: object) -> str:
    """Write zones as the configuration has them."""
    shown = [each for each in zones if isinstance(each, Zone)] if isinstance(zones, tuple) else []
    return "[ " + " ".join([f"{each.name} = [ {_shown_options(each.options)} ]" for each in shown]) + " ]"


def _shown_options(options: ZoneOptions) -> str:
    parts: list[str] = []
    for name in options.model_fields_set:
        value, write = getattr(options, name), declared(ZoneOptions)[name].reader.write
        if write is not None:
            parts.append(f"{name} = {write(value)}")
        elif isinstance(value, bool):
            parts.append(f"{name} = {'yes' if value else 'no'}")
        elif isinstance(value, tuple):
            parts.append(f"{name} = ( {' '.join(map(str, value))} )")
        else:
            parts.append(f'{name} = "{value}"' if isinstance(value, str | Endpoint) else f"{name} = {value}")
    return " ".join(sorted(parts))


ZonesValue = Annotated[tuple[Zone, ...], ValueReader(_read_zones, "zones", write=shown_zones)]
