"""`load(path, schema)` reads a file and its includes, and returns typed settings or all errors.

Loading binds, opens and starts nothing: a file with errors has no effect.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from config import naming
from config.diagnostics import Diagnostic, Source, Span, in_order
from config.findings import Findings
from config.language.includes import Files
from config.language.nodes import Option, Stanza, Statement, Word
from config.language.parser import parse
from config.overlay import CONSOLE, LISTENER, Change
from config.schema.binding import GLOBAL, Gathered
from config.schema.declared import Declared, bind, declared, names_of
from config.schema.modules import GatheredModule, gather_module
from config.schema.momentum import catalogue
from config.schema.options import Options
from config.schema.readers import ReadContext
from config.schema.specs import Schema
from config.schema.stanzas import is_module_line, read_module_head, report_attributes, report_unknown_stanza
from config.scopes import listeners  # noqa: F401 - importing it declares how listeners are read
from config.scopes.changing import NoSuchScope, merged, without
from config.scopes.gathering import GatheredScopes
from config.scopes.listener import PATHWAY, Listener
from config.scopes.places import KINDS, ScopeStep
from config.scopes.scopes import Scopes
from config.settings import ModuleSettings, Settings

_FLATTENED = frozenset({"rfc2822"})
"""Stanzas of 2.2 that 4.x writes as options, with the stanza's name as prefix."""


@dataclass(frozen=True, slots=True)
class Loaded:
    """The result of loading: settings unless there are errors, all diagnostics in order, and the files read."""

    settings: Settings | None
    diagnostics: tuple[Diagnostic, ...]
    sources: tuple[Source, ...]
    statements: tuple[Statement, ...] = ()
    """What the files say, for `bound`."""


def load(path: Path, schema: Schema, search: Sequence[Path] = ()) -> Loaded:
    """Load a configuration file.

    Relative includes are searched in the including file's folder, then in `search`. A missing file is reported as a
    diagnostic.
    """
    findings = Findings()
    files = Files(findings, search)
    statements = files.read(path)
    # nothing is known of a file that was not read
    settings = _bound(statements, schema, findings, ()) if files.sources else None
    return Loaded(settings, tuple(in_order(findings)), tuple(files.sources), statements)


def bound(
    statements: Sequence[Statement], schema: Schema, changes: Sequence[Change]
) -> tuple[Settings | None, tuple[Diagnostic, ...]]:
    """Return the settings of files that were read before, with the console's changes; None if anything is wrong.

    The diagnostics are all errors, and the changes' warnings.
    """
    findings = Findings()
    settings = _bound(statements, schema, findings, changes)
    told = [each for each in findings if each.is_error or (each.span is not None and each.span.source.name == CONSOLE)]
    return settings, tuple(in_order(told))


def _bound(
    statements: Sequence[Statement], schema: Schema, findings: Findings, changes: Sequence[Change]
) -> Settings | None:
    loading = _Loading(schema, findings)
    for statement in statements:
        if findings.full:
            break
        loading.take(statement)
    for change in changes:
        loading.change(change)
    return loading.finish()


class _Loading:
    """Collects the statements of one configuration and turns them into settings."""

    def __init__(self, schema: Schema, findings: Findings) -> None:
        self._schema = schema
        self._findings = findings
        self._core = Gathered(schema.core, "", GLOBAL, modules=schema.modules)
        self._scopes = GatheredScopes(schema.core, findings)
        self._modules: dict[tuple[str, str], GatheredModule] = {}
        self._added: dict[str, tuple[object, ...]] = {}
        self._listener_changes: list[Change] = []

    def take(self, statement: Statement) -> None:
        """Sort one statement of the global scope."""
        if isinstance(statement, Option):
            self._core.add(statement, self._findings)
        elif isinstance(statement, Stanza):
            self._stanza(statement)

    def _stanza(self, stanza: Stanza) -> None:
        first = stanza.head[0]
        core = self._core_stanza(stanza)
        if core is not None and core.reader.stanza is not None:
            more = core.reader.stanza(stanza, ReadContext(first.text, self._findings, self._schema.core))
            self._added[core.name] = (*self._added.get(core.name, ()), *more)
            return
        if first.text.lower() in KINDS:
            self._scopes.take(stanza)
            return
        if first.text.lower() in _FLATTENED:
            self._flatten(stanza)
            return
        head = read_module_head(stanza, self._schema, self._findings)
        if head is not None:
            key = (head.spec.type, head.name)
            report_attributes(stanza, self._findings)
            self._modules[key] = gather_module(stanza, head, self._modules.get(key), self._findings)
        elif not is_module_line(stanza):
            report_unknown_stanza(stanza, self._schema, self._findings)

    def _flatten(self, stanza: Stanza) -> None:
        """Take `RFC2822 { date_header = x }` of 2.2 as `RFC2822_date_header = x`."""
        prefix = stanza.head[0].text
        for statement in stanza.body:
            if isinstance(statement, Option):
                name = Word(f"{prefix}_{statement.name.text}", statement.name.span)
                self._core.add(Option(name, statement.value, statement.span), self._findings)
            elif isinstance(statement, Stanza):
                head = statement.head[0]
                self._findings.add(naming.unknown("stanza", head.text, (), head.span, f" in {prefix}"))

    def _core_stanza(self, stanza: Stanza) -> Declared | None:
        """Return the global option that a stanza sets, such as `ESMTP_Listener { … }`; in 2.2, it may be a module."""
        kinds = [stanza.head[0].text.lower()]
        if is_module_line(stanza):  # 2.2: `Module datasource/ds_core ds_core { … }`
            path = stanza.head[1].text
            kinds = [path.rpartition("/")[2].lower(), catalogue().module_at(path) or ""]
        name = next((name for kind in kinds if (name := names_of(self._schema.core).get(kind)) is not None), None)
        return declared(self._schema.core)[name] if name is not None else None

    # ------------------------------------------------------------ settings from the console

    def change(self, change: Change) -> None:
        """Apply one change; what is wrong with it is reported."""
        if change.place and change.place[0][0] == LISTENER:
            self._listener_changes.append(change)
        elif change.sets:
            for statement in parse(change.source, self._findings).statements:
                self.take(statement)
            if change.text is not None and (module := self._module_at(change)) is not None:
                module.texts[change.option] = change.text
        else:
            self._unset(change)

    def _module_at(self, change: Change) -> GatheredModule | None:
        return self._modules.get(change.place[0]) if len(change.place) == 1 else None

    def _unset(self, change: Change) -> None:
        module = self._module_at(change)
        place = tuple(ScopeStep(*step) for step in change.place)
        gathered = module.options if module is not None else self._scopes.at(place) if place else self._core
        names = [change.option] if change.option else list(gathered.written if gathered is not None else ())
        if gathered is None or not names or not all(name in gathered.written for name in names):
            self._findings.add(naming.not_set(change.option, str(place[-1]) if place else ""))
            return
        for name in names:
            del gathered.written[name]
            if module is not None:
                module.texts.pop(name, None)

    def _changed_listeners(self, known: Any) -> Any:
        reader = declared(self._schema.core)[LISTENER].reader
        for change in self._listener_changes:
            stanzas = parse(change.source_for([str(each) for each in known]), self._findings).statements
            if reader.stanza is None or len(stanzas) != 1 or not isinstance(stanzas[0], Stanza):
                continue
            more: Any = reader.stanza(stanzas[0], ReadContext(LISTENER, self._findings, self._schema.core))
            try:
                kind = change.place[-1][0]
                known = merged(known, more) if change.sets else without(known, more, change.option, kind)
            except NoSuchScope as missing:
                self._findings.add(naming.no_such_scope(str(missing), change.option, kind))
        return known

    def finish(self) -> Settings | None:
        """Bind everything; None if anything is wrong."""
        core = bind(
            self._schema.core,
            self._core.written,
            where="",
            head=None,
            findings=self._findings,
            added=self._added,
            adjusted={LISTENER: self._changed_listeners} if self._listener_changes else {},
        )
        modules = []
        for module in self._modules.values():
            gathered = module.options
            options = bind(
                module.spec.options, gathered.written, where=gathered.where, head=module.span, findings=self._findings
            )
            if options is not None:
                modules.append(
                    ModuleSettings(
                        module.spec.type,
                        module.name,
                        module.passive,
                        options,
                        module.span,
                        _origins(gathered),
                        dict(module.texts),
                    )
                )
        set_at = self._scopes.read()
        if core is None:
            return None
        origins = _origins(self._core)
        scopes = Scopes(core, origins, set_at)
        self._check_pathways(core, scopes)
        return None if self._findings.errors else Settings(core, tuple(modules), scopes, origins)

    def _check_pathways(self, core: Options, scopes: Scopes) -> None:
        """Report each listener, address or network that names an undefined pathway."""
        known = [place[-1].name for place in scopes.places if place[-1].kind == PATHWAY]
        for name in declared(type(core)):
            value = getattr(core, name)
            for listener in value if isinstance(value, tuple) else ():
                layers = listener.every_layer() if isinstance(listener, Listener) else ()
                for joined in (layer[PATHWAY] for layer in layers if PATHWAY in layer):
                    if joined.value not in known:
                        self._findings.add(naming.unknown("pathway", str(joined.value), known, joined.origin))


def _origins(gathered: Gathered) -> dict[str, Span]:
    return {name: statement.value.span for name, statement in gathered.written.items()}
