"""Reads a Postfix main.cf: domains, networks, names, limits, and where mail for the domains goes.

The file is read as postconf(5) says: continued lines, the last value wins, `$name` and `${name?…}`. Lists may name
files, and tables in files; what a database or an expression knows is left to the administrator, with a note.
"""

from __future__ import annotations

import re
import socket
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from config.base.hosts import is_address
from proxy.setup import errors
from proxy.setup.answers import (
    OWN_ADDRESS,
    Found,
    Wrong,
    plain_networks,
    read_networks,
    read_next_hop,
    sound_domains,
    without_loopback,
)
from proxy.setup.tables import Absent, Files, lines_of, read_text, rows

_TABLES = frozenset({"hash", "btree", "lmdb", "cdb", "dbm", "sdbm", "texthash", "cidr"})
"""Tables whose source is the text file that they name."""

_DEEPEST = 20
"""Parameters that name each other, and files that include files."""

_LONGEST_VALUE = 1 << 20
"""Characters of an expanded parameter: parameters that name each other many times could make it endless."""

_MOST_DIGITS = 18
"""Digits of a size: Ringback's own limit takes no more."""

_DEFAULTS = {
    "mydestination": "$myhostname, localhost.$mydomain, localhost",
    "virtual_alias_domains": "$virtual_alias_maps",
    "virtual_alias_maps": "$virtual_maps",
    "virtual_mailbox_domains": "$virtual_mailbox_maps",
    "parent_domain_matches_subdomains": "debug_peer_list,fast_flush_domains,mynetworks,relay_domains,smtpd_access_maps",
}
_SUBMISSION = frozenset({"465", "587"})
_BY_SMTP = frozenset({"", "smtp", "relay", "esmtp"})
"""Transports that speak SMTP in the master.cf that ships, and the usual one."""

_EVERYWHERE = frozenset({"0.0.0.0", "[::]"})  # noqa: S104 - where another server listens
_NAME = re.compile(r"[A-Za-z_0-9]+")
_ITEM = re.compile(r"(?:\{(?:[^{}]|\{[^{}]*\})*\}|[^\s,{])+")
_ROW = re.compile(r"\{([^{}]*)\}|([^\s,{}]+)")
_HOP = re.compile(r"\[(?P<inside>[^\]]+)\](?::(?P<port>[\w-]+))?|(?P<bare>[^\s:\[\]]+)(?::(?P<service>[\w-]+))?")


def _parameters(text: str) -> dict[str, str]:
    """Return the parameters as written, the last value of each."""
    found: dict[str, str] = {}
    for line in _logical(text):
        name, equals, value = line.partition("=")
        if equals:
            found[name.strip()] = value.strip()
    return found


def _logical(text: str) -> list[str]:
    """Return lines without comments, each with the indented lines that continue it."""
    logical: list[str] = []
    for line in lines_of(text):
        if not line.strip() or line.lstrip().startswith("#"):
            continue
        if line[0].isspace() and logical:
            logical[-1] += f" {line.strip()}"
        else:
            logical.append(line.strip())
    return logical


@dataclass(slots=True)
class _MainCf:
    """One main.cf: its parameters with their values in full, and what could not be read."""

    parameters: Mapping[str, str]
    files: Files
    notes: list[str] = field(default_factory=list)
    _room: int = _LONGEST_VALUE
    """Characters that may still be expanded for the value that is asked for."""

    def value(self, name: str, depth: int = 0) -> str:
        """Return a parameter in full; empty if nothing sets it."""
        self._room = self._room if depth else _LONGEST_VALUE
        if depth > _DEEPEST or self._room <= 0:
            return ""
        if name == "mydomain" and name not in self.parameters:
            return self.value("myhostname", depth).partition(".")[2] or "localdomain"
        if name == "config_directory":
            return str(self.files.folder)
        written = self.parameters.get(name, _DEFAULTS.get(name, ""))
        value = self._expand(written, depth + 1).strip()
        return value if self._room > 0 or "$" not in written else ""

    def _expand(self, text: str, depth: int) -> str:
        """Replace `$name`, `$(name)`, `${name}`, `${name?text}` and `${name:text}`."""
        self._room -= len(text) + 1
        done, at = "", 0
        while (dollar := text.find("$", at)) >= 0 and self._room > 0:
            done += text[at:dollar]
            if text[dollar + 1 : dollar + 2] == "$":
                done, at = f"{done}$", dollar + 2
                continue
            inside, at = _braced(text, dollar + 1)
            done += self._replaced(inside, depth)
        return done + text[at:]

    def _replaced(self, inside: str, depth: int) -> str:
        name = _NAME.match(inside)
        if name is None:
            self.notes.append(errors.unreadable(f"${{{inside}}}", "only Postfix can read it"))
            return ""
        value = self.value(name[0], depth)
        rest = inside[name.end() :]
        if rest[:1] not in {"?", ":"}:
            return value
        first, _, second = _alternatives(rest[1:])
        wanted = first if (rest[0] == "?") == bool(value) else second
        return self._expand(wanted, depth + 1) if wanted and depth < _DEEPEST else ""

    def items(self, name: str) -> list[str]:
        """Return a list's items, and the items of the files and tables that it names."""
        excluded: set[str] = set()
        found = list(dict.fromkeys(self._listed(name, self.value(name), excluded, 0)))
        return [each for each in found if each not in excluded]

    def _listed(self, name: str, text: str, excluded: set[str], depth: int) -> Iterator[str]:
        for item in _ITEM.findall(text):
            if item.startswith("!"):
                excluded.update(self._listed(name, item[1:], excluded, depth + 1))
            elif item.startswith("/") and depth < _DEEPEST:
                yield from self._listed(name, self._file(name, item), excluded, depth + 1)
            elif ":" in item and not item.startswith("[") and not _is_network(item):
                yield from self._keys(name, item)
            else:
                yield item

    def _file(self, name: str, path: str) -> str:
        try:
            text = self.files.text(path)
        except Absent as absent:
            self.notes.append(errors.unreadable(f"{name} = {path}", str(absent)))
            return ""
        return " ".join(line for line in lines_of(text) if not line.lstrip().startswith("#"))

    def _keys(self, name: str, item: str) -> list[str]:
        found = [key for key, _ in self.table(name, item)]
        if item.startswith("cidr:") and any(key[0] in "!ie" for key in found):  # `!`, if, endif
            self.notes.append(errors.unreadable(f"{name} = {item}", "it has conditions, which only Postfix can read"))
            return []
        return found

    def table(self, name: str, item: str) -> list[tuple[str, str]]:
        """Return the rows of a table in a file; note one that is elsewhere."""
        kind, _, path = item.removeprefix("proxy:").partition(":")
        if kind == "inline" and path.startswith("{"):
            pairs = [(braced or plain).partition("=") for braced, plain in _ROW.findall(path[1:-1])]
            return [(key.strip(), value.strip()) for key, _, value in pairs]
        if kind not in _TABLES:
            self.notes.append(errors.unreadable(f"{name} = {item}", "only Postfix can read it"))
            return []
        try:
            return rows(self.files.text(path))
        except Absent as absent:
            self.notes.append(errors.unreadable(f"{name} = {item}", str(absent)))
            return []


def _braced(text: str, at: int) -> tuple[str, int]:
    """Return the text within `{…}` or `(…)` at a place, or the name there, and where it ends."""
    if text[at : at + 1] not in {"{", "("}:
        name = _NAME.match(text, at)
        return (name[0], name.end()) if name else ("", at)
    depth, start = 0, at + 1
    for place in range(at, len(text)):
        depth += (text[place] in "{(") - (text[place] in "})")
        if depth == 0:
            return text[start:place], place + 1
    return text[start:], len(text)


def _alternatives(text: str) -> tuple[str, str, str]:
    """Split `{a}:{b}`; a text without braces is one alternative."""
    if not text.startswith("{"):
        return text, "", ""
    first, end = _braced(text, 0)
    rest = text[end:].lstrip().removeprefix(":").strip()
    return first, ":", _braced(rest, 0)[0] if rest.startswith("{") else rest


def _is_network(item: str) -> bool:
    try:
        return bool(read_networks(item.replace("[", "").replace("]", "")))
    except (Wrong, ValueError):
        return False


# ---------------------------------------------------------------- what it means


def read_main_cf(path: Path, own_name: str) -> Found:
    """Return what a main.cf says; `own_name` is used if it sets no myhostname.

    Raises:
        Absent: the file cannot be read.
    """
    parameters = {"myhostname": own_name, **_parameters(read_text(path))}
    main = _MainCf(parameters, Files(path.absolute().parent))
    local, relayed = _local_domains(main), _relayed_domains(main)
    hop, routes = _next_hop(main, local, relayed)
    name, size = main.value("myhostname"), main.value("message_size_limit")
    domains = sound_domains("main.cf", (*local, *relayed, *_own_names(main, local, relayed)), main.notes)
    chain = main.value("smtpd_tls_chain_files").replace(",", " ").split()
    return Found(
        server="Postfix",
        domains=domains,
        next_hop=hop,
        hostname=name,
        networks=_networks(main),
        routes=tuple(each for each in routes if each[0] in domains),
        largest=int(size) if size.isdecimal() and len(size) <= _MOST_DIGITS else None,
        certificate=main.value("smtpd_tls_cert_file") or (chain[-1] if chain else ""),
        key=main.value("smtpd_tls_key_file").replace("$smtpd_tls_cert_file", "") or (chain[0] if chain else ""),
        notes=tuple(dict.fromkeys(main.notes)),
    )


def _local_domains(main: _MainCf) -> tuple[str, ...]:
    """Return the domains that this Postfix delivers itself, without the machine's own names."""
    named = [
        *main.items("mydestination"),
        *(each for name in ("virtual_mailbox_domains", "virtual_alias_domains") for each in main.items(name)),
    ]
    return tuple(each.lower() for each in dict.fromkeys(named) if _is_domain(each) and not _is_own(main, each))


def _own_names(main: _MainCf, local: tuple[str, ...], relayed: tuple[str, ...]) -> tuple[str, ...]:
    """Return the machine's own name if mail for it is taken beside the mail of a domain, or alone."""
    own = main.value("myhostname").lower()
    wanted = own in {each.lower() for each in main.items("mydestination")}
    return (own,) if wanted and "." in own and (local or not relayed) else ()


def _relayed_domains(main: _MainCf) -> tuple[str, ...]:
    """Return relay_domains; by default each also matches its subdomains (postconf(5))."""
    subdomains = "relay_domains" in main.items("parent_domain_matches_subdomains")
    found: list[str] = []
    for item in main.items("relay_domains"):
        bare = item.lower().removeprefix(".")
        if not _is_domain(bare) or _is_own(main, bare):
            continue
        if not item.startswith("."):
            found.append(bare)
        if subdomains or item.startswith("."):
            found.append(f"*.{bare}")
    return tuple(dict.fromkeys(found))


def _is_domain(text: str) -> bool:
    return "@" not in text and "." in text and not text.startswith("[") and "/" not in text


def _is_own(main: _MainCf, domain: str) -> bool:
    lowered = domain.lower()
    return lowered == main.value("myhostname").lower() or lowered.startswith(("localhost.", "ip6-localhost"))


def _networks(main: _MainCf) -> tuple[str, ...]:
    """Return mynetworks as Ringback writes networks."""
    found: list[str] = []
    for item in main.items("mynetworks"):
        try:
            found += plain_networks(item.replace("[", "").replace("]", ""))
        except (Wrong, ValueError):
            main.notes.append(errors.unreadable(f"mynetworks has {item}", "it is not a network that may be trusted"))
    if any(item.startswith("!") for item in _ITEM.findall(main.value("mynetworks"))):
        main.notes.append(errors.not_excluded("mynetworks", "addresses with `!`"))
    return without_loopback("mynetworks", found, main.notes)


def _next_hop(
    main: _MainCf, local: tuple[str, ...], relayed: tuple[str, ...]
) -> tuple[str, tuple[tuple[str, str], ...]]:
    """Return where mail for the domains goes: to this Postfix if it delivers any of them, else where it sends them."""
    smarthost = _hop(main, main.value("relayhost"))
    if not local and relayed:
        rows_of = _transports(main, relayed)
        usual = rows_of.get("*") or _relayed_to(main, smarthost, tuple(rows_of.values()))
        routes = tuple(each for each in rows_of.items() if each[0] != "*" and each[1] != usual)
        if usual:
            return usual, routes
    elif smarthost:
        main.notes.append(errors.smarthost("Postfix", main.value("relayhost")))
    domains = ", ".join((local or relayed or (main.value("myhostname"),))[:3])
    main.notes.append(errors.looked_up("Postfix", domains))
    return _own_address(main), ()


def _relayed_to(main: _MainCf, smarthost: str, others: tuple[str, ...]) -> str:
    """Return the next hop of mail for relay_domains, unless a table says another; empty if it does not go by SMTP."""
    transport, _, where = main.value("relay_transport").partition(":")
    if transport not in _BY_SMTP:
        return ""
    return _hop(main, where) or smarthost or (others[0] if others else "")


def _own_address(main: _MainCf) -> str:
    """Return where this Postfix accepts mail: the first smtpd of master.cf that is not for submission."""
    try:
        lines = _logical(main.files.text("master.cf"))
    except Absent:
        lines = []
    for line in lines:
        fields = line.split()
        if len(fields) < 8 or fields[1] != "inet" or fields[7] not in {"smtpd", "postscreen"}:
            continue
        host, _, service = fields[0].rpartition(":")
        if service in {"smtp", "25"} or (_port(service) and _port(service) not in _SUBMISSION):
            return f"{host if host and host not in _EVERYWHERE else _interface(main)}:{_port(service)}"
    return f"{_interface(main)}:25"


def _interface(main: _MainCf) -> str:
    """Return the address at which this machine reaches its Postfix: loopback, unless Postfix does not listen there."""
    named = [each.strip("[]") for each in main.items("inet_interfaces")]
    addresses = [each for each in named if is_address(each)]
    if len(addresses) < max(1, len(named)) or any(each.startswith("127.") for each in addresses):
        return OWN_ADDRESS.partition(":")[0]
    return f"[{addresses[0]}]" if ":" in addresses[0] else addresses[0]


def _transports(main: _MainCf, relayed: tuple[str, ...]) -> dict[str, str]:
    """Return the next hops that transport_maps has for the domains, and for `*`. The first row of a domain counts."""
    found: dict[str, str] = {}
    for item in _ITEM.findall(main.value("transport_maps")):
        for key, value in main.table("transport_maps", item):
            transport, _, where = value.partition(":")
            domain = f"*{key}".lower() if key.startswith(".") else key.lower()
            if domain not in relayed and domain != "*":
                continue
            hop = _hop(main, where) if transport in _BY_SMTP else ""
            if hop:
                found.setdefault(domain, hop)
            elif transport not in _BY_SMTP:
                main.notes.append(errors.not_by_smtp("Postfix", domain, value))
    return found


def _hop(main: _MainCf, text: str) -> str:
    """Return `[host]:port` as Ringback writes it; empty if it is not a host."""
    first = text.replace(",", " ").split()[:1]
    parts = _HOP.fullmatch(first[0]) if first else None
    if parts is None:
        return ""
    host, port = parts["inside"] or parts["bare"], parts["port"] or parts["service"] or ""
    host = host.removeprefix("ipv6:").removeprefix("IPv6:")
    if parts["bare"] and not host.replace(".", "").isdecimal():
        main.notes.append(errors.by_exchangers(host))
    number = _port(port)
    written = f"[{host}]" if ":" in host else host
    try:
        return read_next_hop(f"{written}:{number}" if number else written)[0]
    except Wrong:
        return ""


def _port(name: str) -> str:
    """Return the number of a port, which may be a service's name."""
    if not name or name.isdecimal():
        return name
    try:
        return str(socket.getservbyname(name, "tcp"))
    except OSError:
        return ""
