"""postgrey's whitelists, as its package ships them and as sites have written their own.

A line of a client list is a domain (with its subdomains), an address or the beginning of one, a network, or a pattern
between slashes. A line of a recipient list is a domain, `user@domain`, `user@` (in any domain), or a pattern.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from ipaddress import IPv4Network, IPv6Network

import re2

from config.base.domains import normal_domain
from config.base.ip import read_address, read_network
from config.base.sources import read_source
from config.diagnostics import Diagnostic, Severity, Source, Span
from config.settings import ModuleSettings

_BEGINNING = re.compile(r"[0-9]{1,3}(?:\.[0-9]{1,3}){0,3}")

Network = IPv4Network | IPv6Network


class Unreadable(ValueError):
    """A line that means nothing."""


@dataclass(slots=True)
class ClientList:
    """Clients that are never deferred."""

    networks: list[Network] = field(default_factory=list)
    domains: set[str] = field(default_factory=set)
    patterns: list[re2._Regexp] = field(default_factory=list)

    def add(self, line: str) -> None:
        """Take a line. Raises Unreadable."""
        if pattern := _pattern(line):
            self.patterns.append(pattern)
        elif _BEGINNING.fullmatch(line):
            octets = line.split(".")
            self.networks.append(_network(".".join([*octets, *["0"] * (4 - len(octets))]) + f"/{8 * len(octets)}"))
        elif "/" in line or ":" in line:
            self.networks.append(_network(line))
        else:
            self.domains.add(normal_domain(line))

    @property
    def asks_for_names(self) -> bool:
        """Whether a client's host name matters."""
        return bool(self.domains or self.patterns)

    def has_address(self, client: str) -> bool:
        """Whether a client's address is listed."""
        if not self.networks:
            return False
        address = read_address(client)
        return any(address.version == each.version and address in each for each in self.networks)

    def has_name(self, name: str) -> bool:
        """Whether a client's host name, which leads back to it, is listed."""
        return _is_within(normal_domain(name), self.domains) or any(each.search(name) for each in self.patterns)


@dataclass(slots=True)
class RecipientList:
    """Recipients whose mail is never deferred."""

    local_parts: set[str] = field(default_factory=set)
    addresses: set[str] = field(default_factory=set)
    domains: set[str] = field(default_factory=set)
    patterns: list[re2._Regexp] = field(default_factory=list)

    def add(self, line: str) -> None:
        """Take a line. Raises Unreadable."""
        local_part, at, domain = line.rpartition("@")
        if pattern := _pattern(line):
            self.patterns.append(pattern)
        elif at and not domain:
            self.local_parts.add(local_part.lower())
        elif at:
            self.addresses.add(f"{local_part.lower()}@{normal_domain(domain)}")
        else:
            self.domains.add(normal_domain(line))

    def has(self, local_part: str, domain: str) -> bool:
        """Whether a recipient is listed, with or without an extension (`user+extension`)."""
        if not (self.local_parts or self.addresses or self.domains or self.patterns):
            return False
        names = {local_part.lower(), local_part.lower().partition("+")[0]}
        return (
            not names.isdisjoint(self.local_parts)
            or not {f"{each}@{domain}" for each in names}.isdisjoint(self.addresses)
            or _is_within(domain, self.domains)
            or any(each.search(f"{local_part}@{domain}") for each in self.patterns)
        )


def read_clients(loaded: ModuleSettings, option: str) -> tuple[ClientList, list[Diagnostic]]:
    """Read the files of an option."""
    made = ClientList()
    return made, list(_read(loaded, option, made.add))


def read_recipients(loaded: ModuleSettings, option: str) -> tuple[RecipientList, list[Diagnostic]]:
    """Read the files of an option."""
    made = RecipientList()
    return made, list(_read(loaded, option, made.add))


def _read(loaded: ModuleSettings, option: str, add: Callable[[str], None]) -> Iterator[Diagnostic]:
    for path in getattr(loaded.options, option):
        try:
            source = read_source(path)
        except OSError as error:
            place = loaded.origin(option) or loaded.span
            yield Diagnostic(f"cannot read {path}: {error.strerror}", place, hint="write a file that Ringback may read")
            continue
        yield from _lines(source, add)


def _lines(source: Source, add: Callable[[str], None]) -> Iterator[Diagnostic]:
    at = 0
    for whole in source.text.splitlines(keepends=True):
        line = whole.partition("#")[0].strip() if not whole.lstrip().startswith("/") else whole.strip()
        start = at + whole.find(line)
        at += len(whole)
        if not line:
            continue
        try:
            add(line.split()[0] if not line.startswith("/") else line)
        except Unreadable as error:
            span = Span(source, start, start + len(line))
            yield Diagnostic(str(error), span, hint="remove the line, or correct it", severity=Severity.WARNING)


def _pattern(line: str) -> re2._Regexp | None:
    end = line.rfind("/")
    if not line.startswith("/") or end <= 0:
        return None
    options = re2.Options()
    options.case_sensitive, options.log_errors, options.max_mem = False, False, 1 << 20
    try:
        return re2.compile(line[1:end], options)
    except re2.error as error:
        raise Unreadable(f"not a pattern for RE2: {_told(error)}") from None


def _network(text: str) -> Network:
    try:
        return read_network(text)
    except ValueError:
        raise Unreadable(f"not a network: {text}") from None


def _is_within(domain: str, domains: Sequence[str] | set[str]) -> bool:
    while domain:
        if domain in domains:
            return True
        domain = domain.partition(".")[2]
    return False


def _told(error: Exception) -> str:
    said = error.args[0] if error.args else ""
    return said.decode("utf-8", "replace") if isinstance(said, bytes) else str(said)
