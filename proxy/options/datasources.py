"""`Datasource` stanzas: databases and directories that scripts, lists and logins query.

    Datasource "users" { uri = ( "pgsql:host=db1;dbname=mail" "pgsql:host=db2;dbname=mail" )  cache_life = 60 }

Momentum 2.2 writes them inside its module: `Module datasource/ds_core ds_core { users [ uri = "…" uri2 = "…" ] }`. Its
drivers are modules as well; ours need no loading, so these lines do nothing.
"""

from __future__ import annotations

import codecs
from collections.abc import Iterator
from typing import Annotated, Any, Literal

from pydantic import AfterValidator

from config import naming
from config.diagnostics import Span
from config.language.nodes import Dictionary, List, Option, Scalar, Stanza, String, Value, Word
from config.schema.declared import bind, names_of
from config.schema.options import Options, option
from config.schema.readers import ReadContext, Unreadable, ValueReader
from config.schema.values import Seconds
from config.spelling import in_quotes
from config.tools.writing import written
from proxy.options.datasource_uris import SourceUri, UriValue
from proxy.options.named_entries import named_entries

LONGEST_QUERY = 10.0
"""Seconds that a query may take at most, connecting included."""

_CORE = "ds_core"
DRIVER_MODULES = ("ds_sqlite", "ds_pgsql", "ds_mysql", "ds_ldap", "ds_redis")
"""Momentum's modules of drivers that we have."""

_OF_MODULES = frozenset({"enabled", "enable", "debug_level"})
"""Options of every module of Momentum, which mean nothing for these."""

_OF_DRIVERS = frozenset({"connection_cache_size", "connection_cache_life"})
_IGNORED = frozenset({"serialized", "pool"})
_WHERE = " in Datasource"


def _charset(name: str) -> str:
    try:
        codecs.lookup(name)
    except LookupError:
        raise ValueError(f"`{name}` is not a character set: write ISO-8859-1, or a name that IANA has") from None
    return name


class DatasourceOptions(Options):
    """One datasource."""

    name: str = option(doc="Its name in scripts, in lists and in authentication schemes.")
    uri: tuple[UriValue, ...] = option(
        doc="Where its servers are. With several, queries take turns, and a server that fails is skipped for a while."
    )
    cache_life: Seconds = option(3600.0, zero="off", doc="How long a result is reused.", unit="seconds")
    cache_size: int = option(1000, zero="off", doc="Most results that each worker keeps.", ge=0, le=1_000_000)
    no_cache: bool = option(False, doc="Do not use the cache.")
    max_rows: int = option(
        100, zero="refused", doc="How many rows of a result are read; -1 for all.", ge=-1, le=100_000_000
    )
    assume_charset: Annotated[str, AfterValidator(_charset)] = option(
        "ISO-8859-1", doc="Character set of values that are not UTF-8."
    )
    datasource_error: Literal["text", "flag"] = option(
        "text",
        doc="What a failed query puts into the context variable `datasource_error`: the reason, as in Momentum 3, "
        'or "true", as in 2.2. Default: `flag` for what `ds_core` of 2.2 declares.',
    )
    timeout: Seconds = option(
        LONGEST_QUERY,
        zero="refused",
        doc="How long a query may take, including the time to connect.",
        unit="seconds",
        le=LONGEST_QUERY,
    )
    connections: int = option(
        4, zero="refused", doc="Most connections to each server, per worker. For LDAP each is a process.", ge=1, le=64
    )

    @property
    def keeps(self) -> bool:
        """Whether results are kept."""
        return not self.no_cache and self.cache_life > 0 and self.cache_size > 0

    def __str__(self) -> str:
        """Return it as a list's item of the configuration, without passwords."""
        parts = [
            f"{name} = {_written(getattr(self, name))}" for name in self.__class__.model_fields if name in self._set
        ]
        return f"[ {' '.join(parts)} ]"

    @property
    def _set(self) -> set[str]:
        return self.model_fields_set


def _written(value: object) -> str:
    if isinstance(value, tuple):
        return "( " + " ".join(in_quotes(str(each)) for each in value) + " )"
    return written(value)


# ---------------------------------------------------------------- stanzas


def _read_stanza(stanza: Stanza, reading: ReadContext) -> tuple[DatasourceOptions, ...]:
    kind = stanza.head[0].text.lower()
    line = kind not in {"datasource", _CORE, *DRIVER_MODULES}  # `Module datasource/ds_core ds_core` of 2.2
    if line:
        kind = stanza.head[1].text.rpartition("/")[2].lower()
    if kind in DRIVER_MODULES:
        _check_driver(stanza, kind, reading)
        return ()
    if kind == _CORE:
        return tuple(_of_core(stanza, reading, is_22=line))
    if len(stanza.head) != 2:
        reading.findings.add(naming.name_is_missing(stanza.head[0].text, stanza.head_span))
        return ()
    found = _source(stanza.head[1], _options(stanza, reading), stanza.head_span, reading)
    return () if found is None else (found,)


def _check_driver(stanza: Stanza, kind: str, reading: ReadContext) -> None:
    known = _OF_MODULES | _OF_DRIVERS
    for statement in stanza.body:
        name = statement.name if isinstance(statement, Option) else None
        if name is not None and name.text.lower() in _OF_DRIVERS:
            reading.findings.add(naming.not_acted_on("option", name.text, name.span))
        elif name is not None and name.text.lower() not in known:
            reading.findings.add(naming.unknown_option(name.text, f" in {kind}", sorted(known), name.span))


def _of_core(stanza: Stanza, reading: ReadContext, *, is_22: bool) -> Iterator[DatasourceOptions]:
    """Yield what `ds_core` declares: `NAME [ … ]` of 2.2, or stanzas."""
    for statement in stanza.body:
        found = None
        if isinstance(statement, Option) and isinstance(statement.value, Dictionary):
            inside = [
                Option(Word(each.key.text, each.key.span), each.value, each.span) for each in statement.value.entries
            ]
            found = _source(statement.name, inside, statement.span, reading, flag=True)
        elif (
            isinstance(statement, Stanza)
            and statement.head[0].text.lower() == "datasource"
            and len(statement.head) == 2
        ):
            inside = _options(statement, reading)
            found = _source(statement.head[1], inside, statement.head_span, reading, flag=is_22)
        elif isinstance(statement, Stanza):
            head = statement.head[0]
            reading.findings.add(naming.unknown("stanza", head.text, ("datasource",), head.span, f" in {_CORE}"))
        elif isinstance(statement, Option) and statement.name.text.lower() not in _OF_MODULES:
            name = statement.name
            reading.findings.add(naming.unknown_option(name.text, f" in {_CORE}", sorted(_OF_MODULES), name.span))
        if found is not None:
            yield found


def _options(stanza: Stanza, reading: ReadContext) -> list[Option]:
    for statement in stanza.body:
        if isinstance(statement, Stanza):
            head = statement.head[0]
            reading.findings.add(naming.unknown("stanza", head.text, (), head.span, _WHERE))
    return [each for each in stanza.body if isinstance(each, Option)]


def _source(
    name: Scalar, inside: list[Option], head: Span, reading: ReadContext, *, flag: bool = False
) -> DatasourceOptions | None:
    """Read one datasource; None if anything in it is wrong, which is reported."""
    written: dict[str, Option] = {"name": _set("name", String(name.text, '"', name.span))}
    uris: list[Value] = []
    for each in inside:
        lower = each.name.text.lower()
        if lower.startswith("uri"):  # 2.2 has uri, uri2, or any key that begins so
            uris += each.value.items if isinstance(each.value, List) else (each.value,)
        elif lower in _IGNORED:
            reading.findings.add(naming.not_acted_on("option", each.name.text, each.name.span))
        elif lower not in names_of(DatasourceOptions):
            reading.findings.add(
                naming.unknown_option(each.name.text, _WHERE, [*names_of(DatasourceOptions)], each.name.span)
            )
        else:
            written[lower] = each
    if uris:
        written["uri"] = _set("uri", List(tuple(uris), uris[0].span))
    if flag and "datasource_error" not in written:
        written["datasource_error"] = _set("datasource_error", Word("flag", head))
    return bind(DatasourceOptions, written, where=_WHERE, head=head, findings=reading.findings)


def _set(name: str, value: Value) -> Option:
    return Option(Word(name, value.span), value, value.span)


def _read_list(value: Value, reading: ReadContext) -> tuple[DatasourceOptions, ...]:
    """Read `( [ name = … uri = … ] … )`, as `config show` writes them."""
    found = []
    for named, others, span in named_entries(value, reading, "a datasource", 'Datasource "NAME" { uri = … }', _WHERE):
        source = _source(named, others, span, reading)
        if source is None:
            raise Unreadable
        found.append(source)
    return tuple(found)


def _shown(sources: Any) -> str:
    return f"( {' '.join(map(str, sources))} )" if sources else "()"


Datasources = Annotated[
    tuple[DatasourceOptions, ...],
    ValueReader(_read_list, "stanzas of datasources", _read_stanza, write=_shown),
]

__all__ = ["LONGEST_QUERY", "DatasourceOptions", "Datasources", "SourceUri"]
