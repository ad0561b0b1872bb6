"""The five answers: what each may be, and what another server's file already says.

An answer is read by the reader of the option that it becomes, so `check` cannot find fault with it later.
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field

from config.base.ip import read_network
from config.diagnostics import Severity, Source, Span
from config.findings import Findings
from config.language.nodes import List, String
from config.schema.declared import declared
from config.schema.readers import ReadContext, Unreadable
from config.scopes import listeners  # noqa: F401 — importing it declares how listeners are read
from proxy.options.core import CoreOptions
from proxy.setup import errors

OWN_ADDRESS = "127.0.0.1:25"
"""Where an MTA on the same machine listens before Ringback takes its port."""

TRIAL_ADDRESS = "127.0.0.1:2525"
"""Where Ringback can be tried alongside an MTA that still has port 25."""

NOBODY = "none"

_BLANKS = re.compile(r"[\s,;()]+")


class Wrong(Exception):
    """An answer that is not valid; the text says what to write instead."""


@dataclass(frozen=True, slots=True)
class Found:
    """What a file of another server says. `routes` are domains whose mail goes elsewhere than to `next_hop`."""

    server: str
    domains: tuple[str, ...] = ()
    next_hop: str = ""
    hostname: str = ""
    networks: tuple[str, ...] = ()
    routes: tuple[tuple[str, str], ...] = ()
    largest: int | None = None
    certificate: str = ""
    key: str = ""
    notes: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Answers:
    """The answers that the file is made from."""

    domains: tuple[str, ...]
    next_hop: str
    hostname: str
    listen: tuple[str, ...]
    networks: tuple[str, ...]
    state: str = ""
    """Where state is kept, if not where a service keeps it: an ordinary user tries Ringback."""
    found: Found = field(default_factory=lambda: Found(""))


@dataclass(frozen=True, slots=True)
class Question:
    """One of the five: what is asked, the flag that answers it, and how the answer is read."""

    name: str
    flag: str
    text: str
    read: Callable[[str], tuple[str, ...]]


def _listed(option: str, text: str) -> tuple[str, ...]:
    items = tuple(item for item in _BLANKS.split(text) if item)
    _accept(option, items)
    return items


def _single(option: str, text: str) -> tuple[str, ...]:
    _accept(option, (text.strip(),), one=True)
    return (text.strip(),)


def _accept(option: str, items: Sequence[str], *, one: bool = False) -> None:
    """Read items as the option would. Raises Wrong, with the option's own words."""
    for item in items:
        if not item.isprintable():
            raise Wrong(errors.not_printable(item))
        span = Span(Source("", item), 0, len(item))
        value = String(item.replace('"', '\\"'), '"', span)
        findings = Findings()
        reader = declared(CoreOptions)[option].reader
        try:
            reader.read(value if one else List((value,), span), ReadContext(option, findings))
        except Unreadable as wrong:
            wrong.report(findings)
        for each in findings:
            if each.severity is Severity.ERROR:
                raise Wrong(f"{each.message}: {each.hint}" if each.hint else each.message)


def read_domains(text: str) -> tuple[str, ...]:
    """Read domains, separated by blanks or commas. Raises Wrong."""
    items = tuple(item for item in _BLANKS.split(text) if item)
    for item in items:
        if item in {"*", "*."}:
            raise Wrong(errors.every_domain())
        if "@" in item or "/" in item or ":" in item or item.startswith("."):
            raise Wrong(errors.not_a_domain(item))
    if not items:
        raise Wrong(errors.not_a_domain("an empty answer"))
    return _listed("relay_domains", text)


def sound_domains(what: str, items: Iterable[str], notes: list[str]) -> tuple[str, ...]:
    """Return the domains of another server's list that Ringback can match, each once; note the others."""
    found: list[str] = []
    for item in dict.fromkeys(items):
        try:
            found += read_domains(item)
        except Wrong as wrong:
            notes.append(errors.unreadable(f"{what} has {item}", str(wrong)))
    return tuple(found)


def read_next_hop(text: str) -> tuple[str, ...]:
    """Read a host, with or without a port, or a Unix socket. Raises Wrong."""
    return _single("gateway", text)


def read_hostname(text: str) -> tuple[str, ...]:
    """Read this machine's name. Raises Wrong."""
    return _single("hostname", text)


def read_listen(text: str) -> tuple[str, ...]:
    """Read one or more addresses with ports. Raises Wrong."""
    if not text.strip():
        raise Wrong(f"write an address and a port, such as {TRIAL_ADDRESS}")
    return _listed("esmtp_listener", text)


def read_networks(text: str) -> tuple[str, ...]:
    """Read networks of one's own clients; `none` or nothing means no network. Raises Wrong."""
    if text.strip().lower() in {"", NOBODY}:
        return ()
    networks = _listed("relay_hosts", text)
    for each in networks:
        if ipaddress.ip_network(each, strict=False).prefixlen == 0:
            raise Wrong(errors.every_client(each))
    return networks


def plain_networks(text: str) -> tuple[str, ...]:
    """Read networks of another server's file, and write them plainly: without host bits, IPv4-mapped as IPv4.

    Raises:
        Wrong: one is not a network, or cannot be trusted.
    """
    read_networks(text)
    found = [read_network(each) for each in text.split()]
    return tuple(str(each if each.prefixlen < each.max_prefixlen else each.network_address) for each in found)


def without_loopback(what: str, networks: Iterable[str], notes: list[str]) -> tuple[str, ...]:
    """Return networks without this machine's own, and note them.

    An administrator who tries Ringback sends from this machine, and senders are not verified for clients that may
    relay.
    """
    found = tuple(dict.fromkeys(networks))
    own = [each for each in found if ipaddress.ip_network(each).is_loopback]
    if own:
        notes.append(errors.loopback_left_out(what, " ".join(own)))
    return tuple(each for each in found if each not in own)


QUESTIONS = (
    Question("domains", "--domains", "Domains that you take mail for", read_domains),
    Question("next_hop", "--next-hop", "Your mail server, to which mail is relayed (host:port)", read_next_hop),
    Question("hostname", "--hostname", "This machine's name, as its address resolves", read_hostname),
    Question("listen", "--listen", "Address and port to listen on", read_listen),
    Question("networks", "--networks", "Networks of your own clients, which may send to any domain", read_networks),
)
