"""Names as option values: our own name, a domain to add to addresses, a DNS server's address."""

from __future__ import annotations

import re
from typing import Annotated, cast

from pydantic import AfterValidator

from config.base.domains import a_labels
from config.base.hosts import is_address, what_to_write
from config.base.ip import read_address
from config.diagnostics import Diagnostic, Severity
from config.errors import not_a
from config.language.nodes import List, Value
from config.schema.readers import ReadContext, Unreadable, ValueReader, reader_for, scalar
from config.schema.values import Endpoint

_LITERAL = re.compile(r"\[(?:IPv6:)?(?P<address>[0-9A-Fa-f:.]+)\]")
_LONGEST_BANNER = 506
"""Octets in a reply line between the code and the line break."""
_FIELD_NAME = re.compile(r"[!-9;-~]{1,70}")
_LIST_NAME = re.compile(r"[A-Za-z0-9_.-]{1,64}")
_STRICT_LABEL = re.compile(r"[A-Za-z0-9](?:[A-Za-z0-9-]*[A-Za-z0-9])?")


def wrong_with_name(text: str) -> tuple[str, Severity] | None:
    """Return a hint and a severity for a bad EHLO name; None for a good one.

    Clients and next hops see the name (RFC 5321 section 4.1.2). ERROR: no MTA accepts it. WARNING: some reject it, as
    Exim rejects `_`.
    """
    literal = _LITERAL.fullmatch(text)
    if literal is not None and is_address(literal["address"]):
        return None
    if not text.isascii():
        try:
            return f"write its A-labels: {a_labels(text)}", Severity.ERROR
        except UnicodeError:
            return "write this machine's name, such as mx.example.com", Severity.ERROR
    hint = what_to_write(text) if ":" not in text else "write an address as [192.0.2.25] or [IPv6:2001:db8::25]"
    if hint is not None:
        return hint, Severity.ERROR
    if text.endswith("."):
        return f"write {text[:-1]}: names in SMTP have no trailing dot", Severity.WARNING
    if not all(_STRICT_LABEL.fullmatch(label) for label in text.split(".")):
        return "every MTA accepts letters, digits and inner hyphens", Severity.WARNING
    return None


def _read_own_name(value: Value, reading: ReadContext) -> str:
    text = scalar(value, reading, "a host name").text
    wrong = wrong_with_name(text)
    if wrong is None:
        return text
    hint, severity = wrong
    if not text:
        hint = "write this machine's name, such as mx.example.com, or omit the option"
    if severity is Severity.ERROR:
        raise Unreadable(not_a("a host name", text, value.span, hint))
    reading.findings.add(Diagnostic(f"some MTAs reject the name `{text}`", value.span, hint, Severity.WARNING))
    return text


def _read_other_name(value: Value, reading: ReadContext) -> str:
    """Read a name that overrides another; empty keeps the other."""
    return "" if not scalar(value, reading, "a host name").text else _read_own_name(value, reading)


def _read_domain(value: Value, reading: ReadContext) -> str:
    text = scalar(value, reading, "a domain").text
    if text and (hint := what_to_write(text)) is not None:
        raise Unreadable(not_a("a domain", text, value.span, hint))
    return text


def _read_banner(value: Value, reading: ReadContext) -> str:
    """Read a banner of one or more lines; all of them empty is an error."""
    text = scalar(value, reading, "a text").text
    lines = banner_lines(text)
    if text and not any(lines):
        raise Unreadable(not_a("a banner", text.strip() or "this", value.span, "write words, or omit the option"))
    if any(len(line) > _LONGEST_BANNER for line in lines):
        hint = f"a reply line has at most {_LONGEST_BANNER} characters (RFC 5321 section 4.5.3.1.5)"
        raise Unreadable(not_a("a banner", text, value.span, hint))
    return text


def banner_lines(text: str) -> list[str]:
    """Return the lines of a banner, which may be written as a full reply with codes and line breaks."""
    lines = text.replace("\\r", "").replace("\\n", "\n").strip("\r\n").splitlines()
    return [line.removeprefix("220").lstrip("- ") for line in lines]


def goes_on(text: str) -> bool:
    """Return whether the last line of a banner is not the reply's last: `220-…`."""
    return text.replace("\\r", "").replace("\\n", "\n").strip("\r\n").rpartition("\n")[2].startswith("220-")


def _read_nameserver(value: Value, reading: ReadContext) -> Endpoint:
    server = cast(Endpoint, reader_for(Endpoint).read(value, reading))
    if "%" in server.host:
        hint = "write an address without a zone: c-ares does not allow one with a port"
        raise Unreadable(not_a("an address", str(server), value.span, hint))
    if not is_address(server.host):
        hint = "write the IP address of a DNS server: its name cannot be looked up"
        raise Unreadable(not_a("an address", str(server), value.span, hint))
    return server


def _read_page_listener(value: Value, reading: ReadContext) -> Endpoint:
    place = cast(Endpoint, reader_for(Endpoint).read(value, reading))
    if place.port is None:
        raise Unreadable(not_a("an address with a port", str(place), value.span, f"write {place}:9025"))
    if "%" in place.host or not is_address(place.host):
        hint = "write the address of an interface of this machine, such as 127.0.0.1:9025"
        raise Unreadable(not_a("an address", str(place), value.span, hint))
    return place


def _read_host_text(value: Value, reading: ReadContext) -> str:
    reader_for(Endpoint).read(value, reading)
    return scalar(value, reading, "a host").text


def _read_list_name(value: Value, reading: ReadContext) -> str:
    text = scalar(value, reading, "a list's name").text
    if _LIST_NAME.fullmatch(text) is None:
        hint = "write at most 64 letters, digits, dots, hyphens and underscores"
        raise Unreadable(not_a("a list's name", text, value.span, hint))
    return text


def _read_sources(value: Value, reading: ReadContext) -> tuple[str, ...]:
    """Read one or two addresses, as a text or an array; empty means none. Momentum's `/prefix` is dropped."""
    items = value.items if isinstance(value, List) else (value,)
    found: dict[int, str] = {}
    for each in items:
        text = scalar(each, reading, "an IP address").text.partition("/")[0].strip()
        if not text:
            continue
        try:
            address = read_address(text)
        except ValueError:
            hint = "write an address of this machine, such as 192.0.2.25"
            raise Unreadable(not_a("an IP address", text, each.span, hint)) from None
        if address.version in found:
            hint = "write one IPv4 and one IPv6 address at most"
            raise Unreadable(not_a("another family", text, each.span, hint))
        found[address.version] = str(address)
    return tuple(found.values())


SourcesValue = Annotated[tuple[str, ...], ValueReader(_read_sources, "IP addresses of this machine")]
HostText = Annotated[str, ValueReader(_read_host_text, "a host")]
ListNameValue = Annotated[str, ValueReader(_read_list_name, "the name of a list")]
OwnNameValue = Annotated[str, ValueReader(_read_own_name, "a host name")]
OtherNameValue = Annotated[str, ValueReader(_read_other_name, "a host name")]
BannerValue = Annotated[str, ValueReader(_read_banner, "a text")]
DomainValue = Annotated[str, ValueReader(_read_domain, "a domain")]
PageListenerValue = Annotated[Endpoint, ValueReader(_read_page_listener, "an IP address with a port")]
NameserverValue = Annotated[Endpoint, ValueReader(_read_nameserver, "an IP address, with or without a port")]


def _field_name(text: str) -> str:
    if text and _FIELD_NAME.fullmatch(text) is None:
        raise ValueError("write the name of a header field, such as X-Checked")
    return text


def field_names(texts: tuple[str, ...]) -> tuple[str, ...]:
    """Return names of header fields.

    Raises:
        ValueError: one is not the name of a field.
    """
    return tuple([_field_name(text) for text in texts])


FieldName = Annotated[str, AfterValidator(_field_name)]
"""The name of a header field (RFC 5322 section 3.6.8), or empty."""

FieldNames = Annotated[tuple[str, ...], AfterValidator(field_names)]
