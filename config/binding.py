"""From statements to options: gathering what each stanza sets, the global scope included.

A stanza that is opened again adds to what it set before; a later option wins. Nothing is read from values here (that is
`config.options`), so that an option set twice is read once.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from config import errors
from config.diagnostics import Span
from config.findings import Findings
from config.momentum import catalogue
from config.nodes import Include, Option, Stanza, Statement, Word
from config.options import Options, all_names, names_of
from config.readers import Reading, Unreadable, reader_for
from config.schema import ModuleSpec, Schema
from config.stanzas import ModuleHead

_SCRIPT_FORMS = frozenset({"script", "hook"})
_HOOK = "hook:"
_ENABLED = ("enabled", "enable")


@dataclass(slots=True)
class Gathered:
    """What one stanza, or the global scope, sets so far."""

    model: type[Options]
    where: str
    ignored: frozenset[str] = frozenset()
    written: dict[str, Option] = field(default_factory=dict)

    def set(self, name: str, statement: Option, findings: Findings) -> None:
        """Set an option; warn when the same file sets it twice to different values."""
        before = self.written.get(name)
        if (
            before is not None
            and before.value != statement.value
            and before.span.source is statement.span.source
            and self._same_stanza(before, statement)
        ):
            findings.add(errors.already_set(statement.name.text, statement.name.span, before.name.span))
        self.written[name] = statement

    def _same_stanza(self, before: Option, statement: Option) -> bool:
        """Tell whether no brace closes between two statements: a stanza opened again means to override."""
        return "}" not in statement.span.source.text[before.span.end : statement.span.start] if self.where else True


@dataclass(slots=True)
class GatheredModule:
    """A module's stanza, with everything that later stanzas of the same type and name added."""

    spec: ModuleSpec
    name: str
    passive: bool
    span: Span
    options: Gathered


class Gatherer:
    """Walks the statements of a stanza and sorts them into what is ours, what is Momentum's and what is nobody's."""

    def __init__(self, schema: Schema, findings: Findings) -> None:
        """Sort by `schema`; report to `findings`."""
        self._schema = schema
        self._findings = findings

    def option(self, statement: Option, into: Gathered) -> None:
        """Keep an option that is declared; report any other."""
        name = names_of(into.model).get(statement.name.text.lower())
        if name is not None:
            into.set(name, statement, self._findings)
        else:
            self._report_unknown(statement.name, into)

    def _report_unknown(self, name: Word, into: Gathered) -> None:
        lower = name.text.lower()
        if lower in into.ignored or lower.startswith(_HOOK) or (not into.where and lower in catalogue().options):
            self._findings.add(errors.not_acted_on("option", name.text, name.span))
        elif not into.where and lower in self._schema.by_type:
            self._findings.add(errors.stanza_written_as_option(name.text, name.span))
        else:
            known = all_names([into.model])
            owners = []
            if not into.where:
                owners = [spec.type for spec in self._schema.modules if lower in names_of(spec.options)]
                known += catalogue().options
            self._findings.add(errors.unknown_option(name.text, into.where, known, name.span, owners))

    def module(self, stanza: Stanza, head: ModuleHead, before: GatheredModule | None) -> GatheredModule:
        """Gather a module's stanza, adding to what an earlier one of the same type and name set."""
        spec = head.spec
        module = before or GatheredModule(
            spec,
            head.name,
            passive=False,
            span=head.span,
            options=Gathered(spec.options, f" in {spec.type}", frozenset(each.lower() for each in spec.ignored)),
        )
        if head.passive:
            module.passive = True
        for statement in stanza.body:
            self._module_statement(statement, module)
        return module

    def _module_statement(self, statement: Statement, module: GatheredModule) -> None:
        if isinstance(statement, Stanza):
            self._script(statement, module.options)
        elif isinstance(statement, Include):
            return
        elif statement.name.text.lower() in _ENABLED and "enabled" not in names_of(module.spec.options):
            try:
                enabled = reader_for(bool).read(statement.value, Reading(statement.name.text, self._findings))
            except Unreadable as wrong:
                if wrong.diagnostic is not None:
                    self._findings.add(wrong.diagnostic)
            else:
                module.passive = not enabled
        else:
            self.option(statement, module.options)

    def _script(self, stanza: Stanza, into: Gathered) -> None:
        """Bind `script mailfrom_phase1 { source = "…" }` and `hook "name" { source = "…" }` to the option they name."""
        form, *rest = stanza.head
        kind = form.text.lower()
        if kind not in _SCRIPT_FORMS or not rest:
            known = names_of(into.model)
            if kind in known:
                self._findings.add(errors.option_written_as_stanza(form.text, form.span))
            else:
                self._findings.add(errors.unknown_stanza(form.text, sorted(_SCRIPT_FORMS), form.span))
            return
        text = _HOOK + rest[0].text if kind == "hook" else rest[0].text
        name = Word(text, rest[0].span)
        source = None
        for statement in stanza.body:
            if isinstance(statement, Option) and statement.name.text.lower() == "source":
                source = statement
            elif isinstance(statement, Option):
                self._findings.add(errors.not_acted_on("option", statement.name.text, statement.name.span))
        if source is None:
            self._findings.add(errors.source_is_missing(text, stanza.head_span))
        else:
            self.option(Option(name, source.value, stanza.head_span), into)
