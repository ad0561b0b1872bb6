"""Momentum's `Cluster` stanza: which caches scripts may use, and what machines share. Here, Script_Store shares it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Annotated

from config import naming
from config.diagnostics import Diagnostic, Severity, Span
from config.errors import not_a
from config.language.nodes import Dictionary, Entry, List, Option, Stanza, Value
from config.schema.momentum import catalogue
from config.schema.readers import ReadContext, Unreadable, ValueReader
from config.spelling import quoted

_REPLICATE = "replicate"
_SHARED = frozenset({"cache", "inbound_cidr", "metrics", "shared_named_throttles"})
"""What is shared here, too."""
_OF_REPLICATE = frozenset(
    {"binding_group", "class", "max_delay", "max_pending", "max_size", "parameters", "replication_name", "type"}
)
_OTHERS = ("eccmgr_metrics", "obtc", "obtm")


@dataclass(frozen=True, slots=True)
class Replicated:
    """One `Replicate`: the kind of state, and the name of a cache."""

    kind: str
    name: str = ""


def _read_option(value: Value, reading: ReadContext) -> object:
    if isinstance(value, List) and not value.items:
        return ()
    hint = 'write Cluster { Replicate "cache" { replication_name = "c" } }'
    raise Unreadable(not_a("a stanza", reading.name, value.span, hint))


def _read_stanza(stanza: Stanza, reading: ReadContext) -> tuple[Replicated, ...]:
    return tuple(_replicated(stanza, reading))


def _replicated(stanza: Stanza, reading: ReadContext) -> Iterator[Replicated]:
    for statement in stanza.body:
        if isinstance(statement, Option) and statement.name.text.lower() == _REPLICATE:
            if isinstance(statement.value, Dictionary):
                yield from _one(_texts(statement.value.entries), statement.span, reading)
            else:
                reading.findings.add(naming.stanza_written_as_option(statement.name.text, statement.name.span))
        elif isinstance(statement, Stanza) and statement.head[0].text.lower() == _REPLICATE:
            options = [each for each in statement.body if isinstance(each, Option)]
            _report_unknown(options, reading)
            given = {each.name.text.lower(): getattr(each.value, "text", "") for each in options}
            kind = statement.head[1].text if len(statement.head) > 1 else ""
            yield from _one({"type": kind, **given}, statement.head_span, reading)
        elif isinstance(statement, Option | Stanza):
            _report(statement, reading)


def _report_unknown(options: Sequence[Option], reading: ReadContext) -> None:
    for each in options:
        if each.name.text.lower() not in _OF_REPLICATE:
            known = sorted(_OF_REPLICATE)
            reading.findings.add(naming.unknown_option(each.name.text, " in Replicate", known, each.name.span))


def _texts(entries: Sequence[Entry]) -> dict[str, str]:
    return {each.key.text.lower(): getattr(each.value, "text", "") for each in entries}


def _one(given: dict[str, str], span: Span, reading: ReadContext) -> Iterator[Replicated]:
    kind, name = given.get("type", "").lower(), given.get("replication_name", "")
    if not kind:
        reading.findings.add(Diagnostic("this Replicate has no type", span, f'write {_REPLICATE} "inbound_cidr" {{ }}'))
    elif kind == "cache" and not name:
        hint = 'write replication_name = "NAME"'
        reading.findings.add(Diagnostic("this cache has no name, so no script finds it", span, hint, Severity.WARNING))
    elif kind in _SHARED:
        yield Replicated(kind, name if kind == "cache" else "")
    elif kind in _OTHERS or kind.startswith("outbound_"):
        reading.findings.add(naming.not_acted_on("replication", kind, span))
    else:
        reading.findings.add(naming.unknown("replication", kind, sorted(_SHARED), span, " in Cluster"))


def _report(statement: Option | Stanza, reading: ReadContext) -> None:
    """Warn about what has no effect here: the topology, and how machines share addresses."""
    name = statement.name if isinstance(statement, Option) else statement.head[0]
    what = "option" if isinstance(statement, Option) else "stanza"
    options = catalogue().options
    if name.text.lower() in options or isinstance(statement, Stanza):
        reading.findings.add(naming.not_acted_on(what, name.text, name.span))
        return
    known = [each.name for each in options.values() if "cluster" in each.scopes]
    finding = naming.unknown(what, name.text, [*known, _REPLICATE], name.span, " in Cluster")
    reading.findings.add(Diagnostic(finding.message, finding.span, finding.hint, Severity.WARNING))


def _lines(replicated: Sequence[Replicated]) -> list[str]:
    """Return the stanza's lines. No list says the same."""
    return [
        f"replicate {quoted(each.kind)} {{" + (f" replication_name = {quoted(each.name)} " if each.name else "") + "}"
        for each in replicated
    ]


ClusterValue = Annotated[
    tuple[Replicated, ...],
    ValueReader(_read_option, "a stanza of what machines share", _read_stanza, body=_lines),
]
