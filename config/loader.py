"""`load(path, schema)` reads a file and its includes, and returns typed settings or all errors.

Loading binds, opens and starts nothing: a file with errors has no effect.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from config import naming
from config.diagnostics import Diagnostic, Source, Span, in_order
from config.findings import Findings
from config.language.includes import Files
from config.language.nodes import Option, Stanza, Statement, Word
from config.schema.binding import GLOBAL, Gathered
from config.schema.declared import Declared, bind, declared, names_of
from config.schema.modules import GatheredModule, gather_module
from config.schema.options import Options
from config.schema.readers import ReadContext
from config.schema.specs import Schema
from config.schema.stanzas import is_module_line, read_module_head, report_attributes, report_unknown_stanza
from config.scopes import listeners  # noqa: F401 - importing it declares how listeners are read
from config.scopes.gathering import GatheredScopes
from config.scopes.listener import PATHWAY, Listener
from config.scopes.places import KINDS
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


def load(path: Path, schema: Schema, search: Sequence[Path] = ()) -> Loaded:
    """Load a configuration file.

    Relative includes are searched in the including file's folder, then in `search`. A missing file is reported as a
    diagnostic.
    """
    findings = Findings()
    files = Files(findings, search)
    loading = _Loading(schema, findings)
    for statement in files.read(path):
        if findings.full:
            break
        loading.take(statement)
    settings = loading.finish() if files.sources else None  # nothing is known of a file that was not read
    return Loaded(settings, tuple(in_order(findings)), tuple(files.sources))


class _Loading:
    """Collects the statements of one configuration and turns them into settings."""

    def __init__(self, schema: Schema, findings: Findings) -> None:
        self._schema = schema
        self._findings = findings
        self._core = Gathered(schema.core, "", GLOBAL, modules=schema.modules)
        self._scopes = GatheredScopes(schema.core, findings)
        self._modules: dict[tuple[str, str], GatheredModule] = {}
        self._added: dict[str, tuple[object, ...]] = {}

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
        """Return the global option that a stanza sets, such as `ESMTP_Listener { … }`."""
        name = names_of(self._schema.core).get(stanza.head[0].text.lower())
        return declared(self._schema.core)[name] if name is not None else None

    def finish(self) -> Settings | None:
        """Bind everything; None if anything is wrong."""
        core = bind(
            self._schema.core, self._core.written, where="", head=None, findings=self._findings, added=self._added
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
                        module.spec.type, module.name, module.passive, options, module.span, _origins(gathered)
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
