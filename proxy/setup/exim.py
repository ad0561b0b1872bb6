"""Reads an Exim configuration: domain and host lists, names, limits, and where mail for the domains goes.

Debian's `update-exim4.conf.conf` is read as well. Macros, `.ifdef` and `.include` are followed as chapter 6 of
Exim's specification says; a list item that Exim would expand or look up is left to the administrator, with a note.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from proxy.setup import errors
from proxy.setup.answers import (
    OWN_ADDRESS,
    Found,
    Wrong,
    plain_networks,
    read_next_hop,
    sound_domains,
    without_loopback,
)
from proxy.setup.tables import Absent, Files, lines_of, read_text, rows

_DEEPEST = 20
_LONGEST_LINE = 1 << 20
"""Characters of a line after macros are replaced: macros that name each other many times could make it endless."""

_LOCAL, _RELAYED, _CLIENTS = "local_domains", "relay_to_domains", "relay_from_hosts"
"""The lists of Exim's default configuration, which sites keep."""

_MACRO = re.compile(r"([A-Z][A-Za-z0-9_]*)\s*==?\s*(.*)")
_LIST = re.compile(r"(domain|host)list(?:_cache)?\s+(\w+)\s*=\s*(.*)")
_OPTION = re.compile(r"(?:hide\s+)?(\w+)\s*=\s*(.*)")
_CONDITION = re.compile(r"\.(ifdef|ifndef|elifdef|elifndef|else|endif)\b\s*(\S*)")
_FILE_LOOKUP = re.compile(r"(?:partial\d*-)?(n?wildlsearch|lsearch|iplsearch|dbm|cdb)\*?\s*;\s*(/.+)")
_FOLDER_LOOKUP = re.compile(r"dsearch[^;]*;\s*(/.+)")
_DEBIAN = re.compile(r"^(dc_\w+)=(?:'([^']*)'|\"([^\"]*)\"|(\S*))", re.MULTILINE)


@dataclass(slots=True)
class _Exim:
    """What a configuration defines."""

    files: Files
    own_name: str
    macros: dict[str, str] = field(default_factory=dict)
    options: dict[str, str] = field(default_factory=dict)
    domainlists: dict[str, str] = field(default_factory=dict)
    hostlists: dict[str, str] = field(default_factory=dict)
    routers: list[dict[str, str]] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)

    def items(self, lists: Mapping[str, str], name: str, seen: frozenset[str] = frozenset()) -> list[str]:
        """Return the items of a named list, and of lists within it, without items that begin with `!`."""
        found: list[str] = []
        for item in _split(lists.get(name, "")):
            if item.startswith("!"):
                self.notes.append(errors.not_excluded(name, item[1:].strip()))
            elif item.startswith("+"):
                inner = item[1:]
                found += self.items(lists, inner, seen | {name}) if inner not in seen else []
            else:
                found += self._of_item(name, item)
        return list(dict.fromkeys(found))

    def _of_item(self, name: str, item: str) -> list[str]:
        lookup = _FILE_LOOKUP.fullmatch(item)
        if item in {"@", "@[]", "localhost", ""}:
            return [item] if item else []
        if lookup or item.startswith("/"):
            return self._of_file(name, lookup[2] if lookup else item, keys=bool(lookup))
        if folder := _FOLDER_LOOKUP.fullmatch(item):
            return self._of_folder(name, folder[1])
        if item[0] in "^@$" or ";" in item or "${" in item:
            self.notes.append(errors.unreadable(f"{name} has {item}", "only Exim can read it"))
            return []
        return [item]

    def _of_file(self, name: str, path: str, *, keys: bool) -> list[str]:
        try:
            text = self.files.text(path)
        except Absent as absent:
            self.notes.append(errors.unreadable(f"{name} has {path}", str(absent)))
            return []
        if keys:
            return [key.rstrip(":").strip('"') for key, _ in rows(text)]
        return [line.partition("#")[0].strip() for line in lines_of(text) if line.partition("#")[0].strip()]

    def _of_folder(self, name: str, path: str) -> list[str]:
        try:
            return self.files.names(path)
        except Absent as absent:
            self.notes.append(errors.unreadable(f"{name} has {path}", str(absent)))
            return []


# ---------------------------------------------------------------- the text


def read_exim(path: Path, own_name: str) -> Found:
    """Return what an Exim configuration says; `own_name` is used if it sets no primary_hostname.

    Raises:
        Absent: the file cannot be read.
    """
    text = read_text(path)
    exim = _Exim(Files(path.absolute().parent), own_name)
    if _is_debian(text):
        _take_debian(exim, text)
    else:
        _take(exim, _lines(exim, text, 0))
    return _found(exim)


def _is_debian(text: str) -> bool:
    return "dc_eximconfig_configtype" in text and "\nbegin " not in text


def _take_debian(exim: _Exim, text: str) -> None:
    """Take the answers that Debian's package asked for."""
    said = {found[1]: found[2] or found[3] or found[4] or "" for found in _DEBIAN.finditer(text)}
    exim.domainlists[_LOCAL] = f"@:localhost:{said.get('dc_other_hostnames', '').replace(';', ':')}"
    exim.domainlists[_RELAYED] = said.get("dc_relay_domains", "").replace(";", ":")
    exim.hostlists[_CLIENTS] = f"<; 127.0.0.1 ; ::1 ; {said.get('dc_relay_nets', '').replace(':', ';')}"
    if "::" in said.get("dc_relay_nets", ""):
        exim.hostlists[_CLIENTS] = f"<; 127.0.0.1 ; ::1 ; {said['dc_relay_nets']}"
    if said.get("dc_smarthost"):
        exim.routers.append({"driver": "manualroute", "route_list": f"* {said['dc_smarthost']}"})


def _lines(exim: _Exim, text: str, depth: int) -> Iterator[str]:
    """Yield logical lines: comments out, continued ones joined, conditions and includes followed, macros replaced."""
    conditions: list[tuple[bool, bool]] = []
    for line in _joined(text):
        condition = _CONDITION.match(line)
        if condition:
            _follow(condition, conditions, exim.macros)
        elif not all(now for now, _ in conditions):
            continue
        elif line.startswith(".include"):
            yield from _included(exim, line, depth)
        elif macro := _MACRO.fullmatch(line):
            exim.macros[macro[1]] = _replaced(macro[2], exim.macros)
        else:
            yield _replaced(line, exim.macros)


def _joined(text: str) -> Iterator[str]:
    """Yield lines without comments; a backslash at the end continues a line, comments within it are left out."""
    whole = ""
    for line in lines_of(text):
        stripped = line.strip()
        if stripped.startswith("#") or not (stripped or whole):
            continue
        if stripped.endswith("\\"):
            whole += stripped[:-1]
            continue
        if whole + stripped:
            yield whole + stripped
        whole = ""
    if whole:
        yield whole


def _follow(condition: re.Match[str], conditions: list[tuple[bool, bool]], macros: Mapping[str, str]) -> None:
    """Follow `.ifdef` and its like. Each condition is (holds now, an earlier branch held)."""
    word, name = condition[1], condition[2]
    defined = (name in macros) != word.endswith("ndef")
    if word in {"ifdef", "ifndef"}:
        conditions.append((defined, defined))
    elif word == "endif" and conditions:
        conditions.pop()
    elif conditions:
        before = conditions[-1][1]
        now = not before and (word == "else" or defined)
        conditions[-1] = (now, before or now)


def _included(exim: _Exim, line: str, depth: int) -> Iterator[str]:
    path = line.partition(" ")[2].strip().strip('"')
    if depth > _DEEPEST:
        return
    try:
        yield from _lines(exim, exim.files.text(path), depth + 1)
    except Absent as absent:
        if not line.startswith(".include_if_exists"):
            exim.notes.append(errors.unreadable(line, str(absent)))


def _replaced(line: str, macros: Mapping[str, str]) -> str:
    """Replace macros, longer names first, in case one begins with another. A line that grows too long is empty."""
    for name in sorted(macros, key=len, reverse=True):
        if times := line.count(name):
            if len(line) + times * len(macros[name]) > _LONGEST_LINE:
                return ""
            line = line.replace(name, macros[name])
    return line


def _take(exim: _Exim, lines: Iterator[str]) -> None:
    """Sort the main part's options and lists, and the options of each router."""
    section = ""
    for line in lines:
        if line.startswith("begin "):
            section = line.split()[1]
        elif section == "routers":
            _take_router(exim, line)
        elif section == "" and (found := _LIST.fullmatch(line)):
            lists = exim.domainlists if found[1] == "domain" else exim.hostlists
            lists[found[2]] = found[3].strip().strip('"')
        elif section == "" and (option := _OPTION.fullmatch(line)):
            exim.options[option[1]] = option[2].strip('"')


def _take_router(exim: _Exim, line: str) -> None:
    if re.fullmatch(r"\w+:", line):
        exim.routers.append({})
    elif exim.routers and (option := _OPTION.fullmatch(line)):
        exim.routers[-1][option[1]] = option[2].strip().strip('"')


def _split(text: str) -> list[str]:
    """Split a list at `:`, where `::` is a colon, or at the separator that `<` names (chapter 6.21)."""
    text = text.strip()
    mark = re.match(r"<(\\n|\S)", text)
    sign, text = (mark[1], text[mark.end() :]) if mark else (":", text)
    parts = re.split(rf"(?<!{re.escape(sign)}){re.escape(sign)}(?!{re.escape(sign)})", text)
    if any(each == "" for each in parts) and sign * 4 in text:  # `::::1`: an address that begins with colons
        parts = text.replace(sign * 2, "\0").split(sign)
        return [each.replace("\0", sign).strip() for each in parts if each.strip()]
    return [each.replace(sign * 2, sign).strip() for each in parts if each.strip()]


# ---------------------------------------------------------------- what it means


def _found(exim: _Exim) -> Found:
    own = exim.options.get("primary_hostname", "") or exim.own_name
    local, relayed = _domains(exim, own)
    hop, routes = _next_hop(exim, local, relayed)
    size = exim.options.get("message_size_limit", "")
    return Found(
        server="Exim",
        domains=tuple(dict.fromkeys((*local, *relayed))),
        next_hop=hop,
        hostname=own,
        networks=_networks(exim),
        routes=routes,
        largest=_octets(size),
        certificate=exim.options.get("tls_certificate", ""),
        key=exim.options.get("tls_privatekey", ""),
        notes=tuple(dict.fromkeys(exim.notes)),
    )


def _octets(text: str) -> int | None:
    found = re.fullmatch(r"(\d+)([KMG]?)", text, re.IGNORECASE)
    return int(found[1]) << {"": 0, "k": 10, "m": 20, "g": 30}[found[2].lower()] if found else None


def _domains(exim: _Exim, own: str) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Return the domains that are delivered here, and those that are relayed.

    A configuration without the usual lists has lists of other names: all of their domains count as delivered here.
    """
    usual = [name for name in (_LOCAL, _RELAYED) if name in exim.domainlists]
    local = [_LOCAL] if usual else list(exim.domainlists)
    here = [_named(each, own) for name in local for each in exim.items(exim.domainlists, name)]
    relayed = exim.items(exim.domainlists, _RELAYED) if usual else []
    return _sound(exim, here), _sound(exim, relayed)


def _named(item: str, own: str) -> str:
    return own if item == "@" else item


def _sound(exim: _Exim, items: list[str]) -> tuple[str, ...]:
    own = {"@[]", "localhost", "@"}
    named = [each.lower() for each in items if each not in own and not each.startswith("localhost.")]
    return sound_domains("a list of domains", named, exim.notes)


def _networks(exim: _Exim) -> tuple[str, ...]:
    found: list[str] = []
    for item in exim.items(exim.hostlists, _CLIENTS):
        if item == "localhost":
            found += ("127.0.0.1", "::1")
            continue
        try:
            found += plain_networks(item) if item not in {"@", "@[]"} else ()
        except (Wrong, ValueError):
            exim.notes.append(errors.unreadable(f"{_CLIENTS} has {item}", "it is not a network that may be trusted"))
    return without_loopback(_CLIENTS, found, exim.notes)


def _next_hop(exim: _Exim, local: tuple[str, ...], relayed: tuple[str, ...]) -> tuple[str, tuple[tuple[str, str], ...]]:
    """Return where mail for the domains goes: to this Exim if it delivers any of them, else where it sends them."""
    routes = [each for router in exim.routers if _is_manual(router) for each in _routes(router, relayed)]
    others = tuple(each for each in local if each != exim.options.get("primary_hostname", exim.own_name))
    if not others and relayed and routes:
        everything = [hop for pattern, hop in routes if pattern == "*"]
        usual = everything[0] if everything else routes[0][1]
        return usual, tuple(each for each in routes if each[0] in relayed and each[1] != usual)
    if routes:
        exim.notes.append(errors.smarthost("Exim", routes[0][1]))
    exim.notes.append(errors.looked_up("Exim", ", ".join((local or relayed)[:3]) or "your domains"))
    ports = [each for each in _split(exim.options.get("daemon_smtp_ports", "")) if each.isdecimal()]
    return (f"{OWN_ADDRESS.partition(':')[0]}:{ports[0]}" if ports else OWN_ADDRESS), ()


def _is_manual(router: Mapping[str, str]) -> bool:
    return router.get("driver") == "manualroute"


def _covered(router: Mapping[str, str], relayed: tuple[str, ...]) -> tuple[str, ...]:
    """Return the relayed domains that a router's condition lets in; `*` for all. The first item that fits decides."""
    last = "*"
    for item in _split(router.get("domains", "*")):
        last = item
        if item.lstrip("! ") in {f"+{_RELAYED}", "*"}:
            return () if item.startswith("!") else ("*",)
        if item.lower() in relayed:
            return tuple(each for each in relayed if each in {one.lower() for one in _split(router["domains"])})
    return ("*",) if last.startswith("!") else ()


def _routes(router: Mapping[str, str], relayed: tuple[str, ...]) -> Iterator[tuple[str, str]]:
    """Yield (domain, next hop) of a router, the first host of each rule."""
    covered = _covered(router, relayed)
    rules = [f"* {router['route_data']}"] if "route_data" in router else router.get("route_list", "").split(";")
    for rule in rules:
        words = re.sub(r"\s+:\s+", ":", re.sub(r"!\s+", "!", rule)).split()
        if len(words) < 2 or "$" in rule or not covered:
            continue
        if hop := _hop(words[1]):
            yield from ((each, hop) for each in (covered if words[0][0] in "*!+" else (words[0].lower(),)))


def _hop(text: str) -> str:
    """Return the first host of a rule: `host`, `host::port`, `[2001:db8::1]::port`."""
    found = re.match(r"\[(?P<six>[^\]]+)\](?:::?(?P<port6>\d+))?|(?P<host>[^:\s]+)(?:::(?P<port>\d+))?", text)
    if found is None:
        return ""
    host = f"[{found['six']}]" if found["six"] and ":" in found["six"] else found["six"] or found["host"]
    port = found["port6"] or found["port"]
    try:
        return read_next_hop(f"{host}:{port}" if port else host)[0]
    except Wrong:
        return ""
