"""Listeners in both dialects: addresses with backlog, concurrency and attributes.

Esmtp_Listener = ( 127.0.0.1:25,200~20 <status="disabled"> *:587 )        2.2: address[,backlog][~concurrency]
ESMTP_Listener { Listen ":25" { listen_backlog = 200 } }                  3.x and 4.x
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Annotated, TypeAlias

from config import errors
from config.diagnostics import Span
from config.nodes import Attributes, Dictionary, List, Option, Scalar, Stanza, Value
from config.readers import Reader, Reading, Unreadable, described

DEFAULT_PORT = 25
DEFAULT_BACKLOG = 500
"""As in 4.x; 2.2 had 5, which a burst of connections overflows."""

_HIGHEST_PORT = 65535
_ADDRESS = re.compile(
    r"(?:\[(?P<six>[0-9A-Fa-f:.%\w]+)\]|(?P<host>[^\s:\[\],~/]*))(?::(?P<port>\d{1,5}))?"
    r"(?:,(?P<backlog>\d{1,6}))?(?:~(?P<concurrency>\d{1,6}))?"
)
_OFF = frozenset({"off", "false", "disabled", "0", "no"})


@dataclass(frozen=True, slots=True)
class Listener:
    """One address to listen on.

    `address` is an IP address, a host name, or `*` for every address; `concurrency` 0 is no limit; `attributes` are
    those of `<…>` or the options of `Listen`, names in lower case.
    """

    address: str
    port: int
    backlog: int = DEFAULT_BACKLOG
    concurrency: int = 0
    enabled: bool = True
    attributes: Mapping[str, str] = field(default_factory=dict)
    span: Span | None = field(default=None, compare=False, repr=False)


def _address(node: Scalar, attributes: Mapping[str, str]) -> Listener:
    found = _ADDRESS.fullmatch(node.text)
    if not node.text or found is None or int(found["port"] or 1) > _HIGHEST_PORT:
        raise Unreadable(
            errors.not_a("an address to listen on", node.text, node.span, "write address:port, *:25 or [::1]:25")
        )
    state = attributes.get("status", attributes.get("enable", "true"))
    backlog = found["backlog"] or attributes.get("listen_backlog", "")
    concurrency = found["concurrency"] or attributes.get("concurrency", "")
    return Listener(
        address=found["six"] or found["host"] or "*",
        port=int(found["port"]) if found["port"] else DEFAULT_PORT,
        backlog=int(backlog) if backlog.isdecimal() else DEFAULT_BACKLOG,
        concurrency=int(concurrency) if concurrency.isdecimal() else 0,
        enabled=state.lower() not in _OFF,
        attributes=attributes,
        span=node.span,
    )


def _read_list(value: Value, reading: Reading) -> tuple[Listener, ...]:
    """Read the 2.2 form: each address is followed by its attributes and its rules."""
    if isinstance(value, Dictionary | Attributes):
        raise Unreadable(errors.wrong_kind(reading.name, "a list of addresses", described(value), value.span))
    items: list[Value] = list(value.items) if isinstance(value, List) else [value]
    found: list[Listener] = []
    failed = False
    for index, item in enumerate(items):
        if isinstance(item, Attributes):
            continue
        if isinstance(item, Dictionary | List):
            reading.findings.add(errors.not_acted_on("the rules of", reading.name, item.span))
            continue
        following = items[index + 1] if index + 1 < len(items) else None
        try:
            found.append(_address(item, _attributes(following if isinstance(following, Attributes) else None)))
        except Unreadable as wrong:
            failed = True
            if wrong.diagnostic is not None:
                reading.findings.add(wrong.diagnostic)
    if failed:
        raise Unreadable
    return tuple(found)


def _attributes(node: Attributes | None) -> dict[str, str]:
    entries = node.entries if node is not None else ()
    return {entry.key.text.lower(): entry.value.text for entry in entries if not isinstance(entry.value, _BRACKETED)}


def _read_stanza(stanza: Stanza, reading: Reading) -> tuple[Listener, ...]:
    """Read the 3.x and 4.x form: `Listen` stanzas, with the listener's own options as their fallback."""
    shared = _options(stanza)
    found: list[Listener] = []
    for statement in stanza.body:
        if not isinstance(statement, Stanza):
            continue
        kind = statement.head[0]
        if kind.text.lower() != "listen" or len(statement.head) < 2:  # noqa: PLR2004  # Listen ADDRESS
            reading.findings.add(errors.not_acted_on("stanza", kind.text, statement.head_span))
            continue
        try:
            found.append(_address(statement.head[1], {**shared, **_options(statement)}))
        except Unreadable as wrong:
            if wrong.diagnostic is not None:
                reading.findings.add(wrong.diagnostic)
    return tuple(found)


def _options(stanza: Stanza) -> dict[str, str]:
    return {
        statement.name.text.lower(): statement.value.text
        for statement in stanza.body
        if isinstance(statement, Option) and not isinstance(statement.value, _BRACKETED)
    }


_BRACKETED = (List, Dictionary, Attributes)
LISTENERS = Reader(_read_list, "a list of addresses to listen on", _read_stanza)

Listeners: TypeAlias = Annotated[tuple[Listener, ...], LISTENERS]
"""Addresses to listen on, in both forms."""
