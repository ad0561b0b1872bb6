"""Control_Listener and Authorization: who may use the console, in both dialects of Momentum.

Momentum's socket is wherever the file says, often at /tmp/2025 and open to all. Ours lies in a folder of the service,
so the address only says that there is one.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Annotated, Any, TypeAlias

import re2

from config import naming
from config.diagnostics import Diagnostic, Severity, Span
from config.errors import not_a
from config.language.nodes import Attributes, Dictionary, Entry, List, Option, Scalar, Stanza, String, Value, Word
from config.schema.momentum import catalogue
from config.schema.readers import ReadContext, Unreadable, ValueReader
from config.spelling import quoted
from config.tools.writing import written

_SAFE_MODES = frozenset({"0600", "0660", "600", "660"})
_OFF = frozenset({"false", "no", "off", "0", "disabled"})
_GROUPS = "groups://"
_USUAL = "/tmp/2025"  # noqa: S108 — Momentum's place, for options of a stanza that names none; nothing is opened there
_UNDERSTOOD = frozenset({"enable", "status", "enable_authentication", "enable_authorization", "timeout", "peer"})


@dataclass(frozen=True, slots=True)
class ControlPlace:
    """An address of Control_Listener."""

    address: str
    enabled: bool = True
    groups: str = ""
    """The file that says which users belong to which role."""

    @property
    def is_socket(self) -> bool:
        """Whether it is a Unix socket."""
        return "/" in self.address or ":" not in self.address


@dataclass(frozen=True, slots=True)
class RoleRules:
    """What a role, or a user of that name, may do: its commands match one of the patterns."""

    name: str
    allow: tuple[str, ...]

    def allows(self, line: str) -> bool:
        """Whether a command line matches. RE2 takes time linear in its length."""
        return any(_compiled(pattern).search(line) is not None for pattern in self.allow)


Written: TypeAlias = tuple[Scalar, list[Option]]
"""An address and its options."""


# ---------------------------------------------------------------- Control_Listener


def _read_list(value: Value, reading: ReadContext) -> tuple[ControlPlace, ...]:
    if isinstance(value, Dictionary | Attributes):
        raise Unreadable(not_a("a list of addresses", "[ … ]", value.span, "write ( /tmp/2025 ) or Listen stanzas"))
    items = value.items if isinstance(value, List) else (value,)
    return _places(_grouped(items), reading)


def _read_stanza(stanza: Stanza, reading: ReadContext) -> tuple[ControlPlace, ...]:
    shared = [each for each in stanza.body if isinstance(each, Option)]
    listens = [each for each in stanza.body if isinstance(each, Stanza)]
    found: list[Written] = [(each, shared) for each in stanza.head[1:]]
    if shared and not listens and not found:
        found = [(Word(_USUAL, stanza.head_span), shared)]
    for listen in listens:
        if listen.head[0].text.lower() != "listen" or len(listen.head) != 2:
            reading.findings.add(
                naming.unknown("stanza", listen.head[0].text, ("listen",), listen.head_span, " in Control_Listener")
            )
            continue
        found.append((listen.head[1], shared + [each for each in listen.body if isinstance(each, Option)]))
    return _places(found, reading)


def _grouped(items: Sequence[Value]) -> Iterator[Written]:
    """Yield each address of a 2.2 list with what follows it."""
    current: Scalar | None = None
    options: list[Option] = []
    for item in items:
        if isinstance(item, Word | String):
            if current is not None:
                yield current, options
            current, options = item, []
        elif isinstance(item, Attributes):
            options += [_as_option(entry) for entry in item.entries]
        elif isinstance(item, Dictionary):
            options += [option for entry in item.entries for option in _rule(entry)]
    if current is not None:
        yield current, options


def _as_option(entry: Entry) -> Option:
    return Option(Word(entry.key.text, entry.key.span), entry.value, entry.span)


def _rule(entry: Entry) -> Iterator[Option]:
    """Yield the authorization in the rule of a network: `0.0.0.0/0 = ( Authorization [ uri = … ] )`."""
    items = entry.value.items if isinstance(entry.value, List) else (entry.value,)
    for before, item in pairwise(items):
        if isinstance(before, Word | String) and isinstance(item, Dictionary):
            name = {"authorization": "authorizationparameters"}.get(before.text.lower(), "enable_authentication")
            yield Option(Word(name, before.span), item, before.span)


def _places(written: Iterator[Written] | list[Written], reading: ReadContext) -> tuple[ControlPlace, ...]:
    return tuple(_place(address, options, reading) for address, options in written)


def _place(address: Scalar, options: list[Option], reading: ReadContext) -> ControlPlace:
    enabled, groups = True, ""
    for option in options:
        name, text = option.name.text.lower(), getattr(option.value, "text", "")
        if name in {"enable", "status"}:
            enabled = text.lower() not in _OFF
        elif name == "file_mode":
            _check_mode(text, option.value.span, reading)
        elif name == "authorizationparameters":
            groups = _groups(option, reading)
        elif name not in _UNDERSTOOD and not (name.startswith("auth") and name in catalogue().options):
            _report(option, reading)
    place = ControlPlace(address.text, enabled, groups)
    if enabled:
        _warn_of_place(place, address.span, reading)
    return place


def _report(option: Option, reading: ReadContext) -> None:
    name, known = option.name.text.lower(), catalogue().options
    if name in known or name == "proto":
        reading.findings.add(naming.not_acted_on("option", option.name.text, option.name.span))
    else:
        kinds = {"control_listener", "listen", "peer"}
        names = [each.name for each in known.values() if each.scopes & kinds]
        reading.findings.add(
            naming.unknown("option", option.name.text, names, option.name.span, " in Control_Listener")
        )


def _check_mode(mode: str, span: Span, reading: ReadContext) -> None:
    if mode not in _SAFE_MODES:
        _warn(
            f"File_Mode {mode} is not used: it would open the console to every local user; its socket has mode 0660",
            span, "add the users to the group of the service", reading,
        )  # fmt: skip


def _warn_of_place(place: ControlPlace, span: Span, reading: ReadContext) -> None:
    if place.is_socket:
        _warn(
            f"the console is not at {place.address}: its socket is control.sock in the service's runtime folder or in "
            "State_Directory", span, "use `ringback console`, which finds it", reading,
        )  # fmt: skip
    else:
        _warn(
            f"{place.address} is not opened: the console is never on TCP without TLS", span,
            "log in with ssh, and use `ringback console` there", reading,
        )  # fmt: skip


def _warn(message: str, span: Span, hint: str, reading: ReadContext) -> None:
    reading.findings.add(Diagnostic(message, span, hint, Severity.WARNING))


def _groups(option: Option, reading: ReadContext) -> str:
    """Return the file of `uri = groups://FILE`; other stores are not supported."""
    for entry in option.value.entries if isinstance(option.value, Dictionary) else ():
        uri = getattr(entry.value, "text", "")
        if entry.key.text.lower() == "uri" and uri.startswith(_GROUPS):
            return str(uri.removeprefix(_GROUPS))
        if entry.key.text.lower() == "uri":
            _warn(
                f'"{uri}" is not used to find a user\'s roles', entry.value.span,
                'write uri = "groups:///FILE" with lines of group:user,user, or use the groups of the system', reading,
            )  # fmt: skip
    return ""


# ---------------------------------------------------------------- Authorization


def _read_option(value: Value, reading: ReadContext) -> object:
    if isinstance(value, List) and not value.items:
        return ()
    raise Unreadable(not_a("a stanza", reading.name, value.span, 'write Authorization { Role "x" { allow = ( … ) } }'))


def _read_roles(stanza: Stanza, reading: ReadContext) -> tuple[RoleRules, ...]:
    return tuple(_roles(stanza, reading))


def _roles(stanza: Stanza, reading: ReadContext) -> Iterator[RoleRules]:
    for statement in stanza.body:
        if isinstance(statement, Option) and isinstance(statement.value, Dictionary):  # 2.2: root [ allow = … ]
            allowed = [each.value for each in statement.value.entries if each.key.text.lower() == "allow"]
            yield RoleRules(statement.name.text, _patterns(allowed, reading))
        elif isinstance(statement, Stanza) and statement.head[0].text.lower() == "role" and len(statement.head) == 2:
            inside = [each for each in statement.body if isinstance(each, Option)]
            _report_others(inside, reading)
            allowed = [each.value for each in inside if each.name.text.lower() == "allow"]
            yield RoleRules(statement.head[1].text, _patterns(allowed, reading))
        elif isinstance(statement, Option | Stanza):
            name = statement.name if isinstance(statement, Option) else statement.head[0]
            kind = "option" if isinstance(statement, Option) else "stanza"
            reading.findings.add(naming.unknown(kind, name.text, ("role",), name.span, " in Authorization"))


def _report_others(inside: list[Option], reading: ReadContext) -> None:
    for each in inside:
        if each.name.text.lower() != "allow":
            reading.findings.add(naming.unknown_option(each.name.text, " in Role", ["allow"], each.name.span))


def _patterns(values: list[Value], reading: ReadContext) -> tuple[str, ...]:
    found = []
    for value in values:
        for item in value.items if isinstance(value, List) else (value,):
            text = getattr(item, "text", "")
            try:
                _compiled(text)
            except re2.error as refused:
                reading.findings.add(naming.bad_expression(text, str(refused), item.span))
            else:
                found.append(text)
    return tuple(found)


def _compiled(pattern: str) -> Any:
    quiet = re2.Options()
    quiet.log_errors = False
    return re2.compile(pattern, quiet)


def _written_places(places: Any) -> str:
    return f"( {' '.join(map(_written_place, places))} )" if places else "()"


def _written_place(place: ControlPlace) -> str:
    enabled = "" if place.enabled else " <enable=false>"
    groups = quoted(f"{_GROUPS}{place.groups}")
    rules = f" [ 0.0.0.0/0 = ( Authorization [ uri = {groups} ] ) ]" if place.groups else ""
    return f"{quoted(place.address)}{enabled}{rules}"


def _role_lines(roles: Sequence[RoleRules]) -> list[str]:
    """Return the stanza's lines. No list says the same."""
    return [
        line for role in roles for line in (f"role {quoted(role.name)} {{", f"  allow = {written(role.allow)}", "}")
    ]


ControlPlaces = Annotated[
    tuple[ControlPlace, ...],
    ValueReader(_read_list, "a list of addresses", _read_stanza, write=_written_places),
]
Roles = Annotated[
    tuple[RoleRules, ...],
    ValueReader(_read_option, "a stanza of roles", _read_roles, body=_role_lines),
]
