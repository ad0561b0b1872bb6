"""Names as values of the configuration: our own, a domain that is added to addresses, a DNS server's address."""

from __future__ import annotations

import re
from typing import Annotated, cast

from config.base.domains import a_labels
from config.base.hosts import is_address, what_to_write
from config.diagnostics import Diagnostic, Severity
from config.errors import not_a
from config.language.nodes import Value
from config.schema.readers import ReadContext, Unreadable, ValueReader, reader_for, scalar
from config.schema.values import Endpoint

_LITERAL = re.compile(r"\[(?:IPv6:)?(?P<address>[0-9A-Fa-f:.]+)\]")
_LONGEST_BANNER = 506
"""Octets of a reply's line beside code and line break."""
_STRICT_LABEL = re.compile(r"[A-Za-z0-9](?:[A-Za-z0-9-]*[A-Za-z0-9])?")


def wrong_with_name(text: str) -> tuple[str, Severity] | None:
    """Return what to write in place of a name that we say in EHLO, and how bad it is; None for a good one.

    The client and the MTA behind hear it (RFC 5321 section 4.1.2): an error is what no MTA takes, a warning what some
    refuse, as Exim refuses `_`.
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
        return f"write {text[:-1]}: no dot ends the name that SMTP says", Severity.WARNING
    if not all(_STRICT_LABEL.fullmatch(label) for label in text.split(".")):
        return "letters, digits and inner hyphens are what every MTA takes", Severity.WARNING
    return None


def _read_own_name(value: Value, reading: ReadContext) -> str:
    text = scalar(value, reading, "a host name").text
    wrong = wrong_with_name(text)
    if wrong is None:
        return text
    hint, severity = wrong
    if not text:
        hint = "write this machine's name, such as mx.example.com, or leave the option out"
    if severity is Severity.ERROR:
        raise Unreadable(not_a("a host name", text, value.span, hint))
    reading.findings.add(Diagnostic(f"some MTAs refuse the name `{text}`", value.span, hint, Severity.WARNING))
    return text


def _read_other_name(value: Value, reading: ReadContext) -> str:
    """Read a name in place of another, which holds if this one is empty."""
    return "" if not scalar(value, reading, "a host name").text else _read_own_name(value, reading)


def _read_domain(value: Value, reading: ReadContext) -> str:
    text = scalar(value, reading, "a domain").text
    if text and (hint := what_to_write(text)) is not None:
        raise Unreadable(not_a("a domain", text, value.span, hint))
    return text


def _read_banner(value: Value, reading: ReadContext) -> str:
    """Read a text of one line or several; a session cannot begin with none."""
    text = scalar(value, reading, "a text").text
    lines = banner_lines(text)
    if text and not any(lines):
        raise Unreadable(not_a("a banner", text.strip() or "this", value.span, "write words, or leave the option out"))
    if any(len(line) > _LONGEST_BANNER for line in lines):
        hint = f"a line of a reply has {_LONGEST_BANNER} characters at most (RFC 5321 section 4.5.3.1.5)"
        raise Unreadable(not_a("a banner", text, value.span, hint))
    return text


def banner_lines(text: str) -> list[str]:
    """Return the lines of a banner, which may be written as a whole reply with its codes and line breaks."""
    lines = text.replace("\\r", "").replace("\\n", "\n").strip("\r\n").splitlines()
    return [line.removeprefix("220").lstrip("- ") for line in lines]


def _read_nameserver(value: Value, reading: ReadContext) -> Endpoint:
    server = cast(Endpoint, reader_for(Endpoint).read(value, reading))
    if "%" in server.host:
        hint = "write an address without a zone: c-ares takes none beside a port"
        raise Unreadable(not_a("an address", str(server), value.span, hint))
    if not is_address(server.host):
        hint = "write the IP address of a DNS server: nothing could look its name up"
        raise Unreadable(not_a("an address", str(server), value.span, hint))
    return server


def _read_host_text(value: Value, reading: ReadContext) -> str:
    reader_for(Endpoint).read(value, reading)
    return scalar(value, reading, "a host").text


HostText = Annotated[str, ValueReader(_read_host_text, "a host")]
OwnNameValue = Annotated[str, ValueReader(_read_own_name, "a host name")]
OtherNameValue = Annotated[str, ValueReader(_read_other_name, "a host name")]
BannerValue = Annotated[str, ValueReader(_read_banner, "a text")]
DomainValue = Annotated[str, ValueReader(_read_domain, "a domain")]
NameserverValue = Annotated[Endpoint, ValueReader(_read_nameserver, "an IP address, with or without a port")]
