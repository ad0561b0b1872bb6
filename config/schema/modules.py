"""Collect what modules' stanzas set, in both dialects, including scripts and hooks."""

from __future__ import annotations

from dataclasses import dataclass, field

from config import naming
from config.diagnostics import Source, Span
from config.findings import Findings
from config.language.nodes import Dictionary, Include, Option, Stanza, Statement, Word
from config.language.parser import parse
from config.schema.binding import Gathered
from config.schema.declared import names_of
from config.schema.readers import ReadContext, Unreadable, reader_for
from config.schema.specs import ModuleSpec
from config.schema.stanzas import ENABLED, ModuleHead

_SCRIPT_FORMS = ("script", "hook")
_SOURCES = ("source", "script")
"""How 3.x and 2.2 call the file of a hook."""
_OF_HOOKS = frozenset({"async", "pool", "return"})
"""What Momentum's hooks have besides."""


@dataclass(slots=True)
class GatheredModule:
    """A module's stanza, merged with later stanzas of the same type and name."""

    spec: ModuleSpec
    name: str
    passive: bool
    span: Span
    options: Gathered
    texts: dict[str, str] = field(default_factory=dict)
    """Option → the text that is used in place of its file's."""


def gather_module(
    stanza: Stanza, head: ModuleHead, before: GatheredModule | None, findings: Findings
) -> GatheredModule:
    """Collect a module's stanza, merging it into an earlier one of the same type and name."""
    spec = head.spec
    ignored = {name.lower(): spec.effects.get(name, "") for name in spec.ignored}
    options = Gathered(spec.options, f" in {spec.type}", ignored=ignored)
    module = before or GatheredModule(spec, head.name, passive=False, span=head.span, options=options)
    if before is None and head.is_line:
        for default in spec.line_defaults:
            for option in parse(Source("<2.2>", default), findings).statements:
                _take(option, module, findings)
    if head.passive:
        module.passive = True
    for statement in stanza.body:
        _take(statement, module, findings)
    return module


def _take(statement: Statement, module: GatheredModule, findings: Findings) -> None:
    if isinstance(statement, Stanza):
        _script(statement, module.options, findings)
    elif isinstance(statement, Include):  # already replaced by its content
        return
    elif statement.name.text.lower() in ENABLED and "enabled" not in names_of(module.spec.options):
        try:
            module.passive = not reader_for(bool).read(statement.value, ReadContext(statement.name.text, findings))
        except Unreadable as wrong:
            wrong.report(findings)
    elif statement.name.text.lower().startswith("hook:") and isinstance(statement.value, Dictionary):
        _hook(statement.name, statement.value, module.options, findings)
    else:
        module.options.add(statement, findings)


def _hook(name: Word, value: Dictionary, into: Gathered, findings: Findings) -> None:
    """Bind `hook:core_x [ source = "…" ]`, the older form of a `hook` stanza."""
    entries = tuple(Option(Word(each.key.text, each.key.span), each.value, each.span) for each in value.entries)
    _source_of(name, entries, name.span, into, findings)


def _script(stanza: Stanza, into: Gathered, findings: Findings) -> None:
    """Bind `script mailfrom_phase1 { source = "…" }` and `hook "name" { source = "…" }` to its option."""
    form, *rest = stanza.head
    kind = form.text.lower()
    if kind not in _SCRIPT_FORMS or not rest:
        if kind in names_of(into.model):
            findings.add(naming.option_written_as_stanza(form.text, form.span))
        elif kind in into.ignored:
            findings.add(naming.not_acted_on("stanza", form.text, form.span, into.ignored[kind]))
        else:
            findings.add(naming.unknown("stanza", form.text, _SCRIPT_FORMS, form.span, into.where))
        return
    name = Word(f"hook:{rest[0].text}" if kind == "hook" else rest[0].text, rest[0].span)
    _source_of(name, stanza.body, stanza.head_span, into, findings)


def _source_of(name: Word, body: tuple[Statement, ...], head: Span, into: Gathered, findings: Findings) -> None:
    """Set the option `name` to the source in a script's or hook's body."""
    source = None
    for statement in body:
        if isinstance(statement, Option) and statement.name.text.lower() in _SOURCES:
            source = statement
        elif isinstance(statement, Option):
            _report(statement.name, f" in {name.text}", findings)
    if source is None:
        findings.add(naming.source_is_missing(name.text, head))
    else:
        into.add(Option(name, source.value, head), findings)


def _report(name: Word, where: str, findings: Findings) -> None:
    """Report an option beside a script's source: one of Momentum's hooks, or a mistake."""
    if name.text.lower() in _OF_HOOKS:
        findings.add(naming.not_acted_on("option", name.text, name.span))
    else:
        findings.add(naming.unknown_option(name.text, where, [*_SOURCES, *_OF_HOOKS], name.span))
