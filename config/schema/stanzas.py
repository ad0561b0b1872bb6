"""Interpret a stanza's head, in either dialect: its type, its instance, and whether it is passive.

Validate validate/smtp_cbv smtp_cbv passive { … }     2.2: class, path, instance, optional `passive`
smtp_cbv "smtp_cbv1" { enabled = false }              3.x and 4.x: type and instance
"""

from __future__ import annotations

from dataclasses import dataclass

from config import errors, naming
from config.diagnostics import Span
from config.findings import Findings
from config.language.nodes import Option, Scalar, Stanza, Word
from config.language.parser import MODULE_CLASSES
from config.schema.declared import all_names
from config.schema.momentum import PLACEHOLDERS, catalogue
from config.schema.readers import is_off
from config.schema.specs import ModuleSpec, Schema
from config.spelling import as_in_the_manual

ENABLED = ("enabled", "enable")
"""The switch that every module has."""


@dataclass(frozen=True, slots=True)
class ModuleHead:
    """A module's stanza: what it loads, its name, and whether its head makes it passive."""

    spec: ModuleSpec
    name: str
    passive: bool
    span: Span
    is_line: bool = False
    """Whether it is a 2.2 line."""


def is_module_line(stanza: Stanza) -> bool:
    """Return whether a head is a 2.2 module line."""
    return stanza.head[0].text.lower() in MODULE_CLASSES and len(stanza.head) > 1


def read_module_head(stanza: Stanza, schema: Schema, findings: Findings) -> ModuleHead | None:
    """Return the module that a stanza loads; None if it is not ours. Unknown modules are reported."""
    if is_module_line(stanza):
        return _from_line(stanza, schema, findings)
    spec = schema.by_type.get(stanza.head[0].text.lower())
    if spec is None:
        return None
    words = list(stanza.head[1:])
    passive = take_passive(words)
    name = words.pop(0).text if words else spec.type
    for extra in words[:1]:
        findings.add(naming.extra_in_head(extra.text, extra.span, f'write {spec.type} "{name}" {{'))
    return ModuleHead(spec, name, passive, stanza.head_span)


def _from_line(stanza: Stanza, schema: Schema, findings: Findings) -> ModuleHead | None:
    kind, path = stanza.head[:2]
    known = schema.by_path.get(path.text)
    if known is not None and (other := other_module(stanza, known[1])) is not None:
        findings.add(naming.not_acted_on("module", other.text, other.span, _effect_of(other.text.lower(), stanza)))
        return None
    if known is None:
        _report_unknown_path(path, stanza, schema, findings)
        return None
    right, spec = known
    if kind.text.lower() != right.lower():
        findings.add(naming.wrong_class(kind.text, f"{right} {path.text}", kind.span))
    words = list(stanza.head[2:])
    passive = take_passive(words)
    name = words.pop(0).text if words else path.text.rpartition("/")[2]
    for extra in words[:1]:
        hint = f"a module line is: {right} {path.text} {name} [passive] {{"
        findings.add(naming.extra_in_head(extra.text, extra.span, hint))
    return ModuleHead(spec, name, passive, stanza.head_span, is_line=True)


def other_module(stanza: Stanza, spec: ModuleSpec) -> Scalar | None:
    """Return the module that Momentum loads from a path with several: `Validate validate/spf senderid { … }`."""
    path, *words = stanza.head[1:]
    if not words or path.text.lower() not in catalogue().lines:
        return None
    name = words[0].text.lower()
    return words[0] if name != spec.type and name in catalogue().modules else None


def _effect_of(module: str, stanza: Stanza) -> str:
    return catalogue().modules[module] if _is_active(stanza) else ""


def report_attributes(stanza: Stanza, findings: Findings) -> None:
    """Warn that a head's attributes have no effect."""
    for entry in stanza.attributes.entries if stanza.attributes is not None else ():
        findings.add(naming.not_acted_on("attribute", entry.key.text, entry.key.span))


def take_passive(words: list[Scalar]) -> bool:
    """Remove the bare word `passive` from the end of a head."""
    if words and isinstance(words[-1], Word) and words[-1].text.lower() == "passive":
        words.pop()
        return True
    return False


def _report_unknown_path(path: Scalar, stanza: Stanza, schema: Schema, findings: Findings) -> None:
    module = catalogue().module_at(path.text)
    if module is not None:
        findings.add(naming.not_acted_on("module", path.text, path.span, _effect_of(module, stanza)))
    else:
        others = [line.path for line in catalogue().lines.values() if line.module not in PLACEHOLDERS]
        lines = [f"{kind} {each}" for each, (kind, _) in schema.by_path.items()]
        findings.add(naming.unknown_module(path.text, lines, others, path.span))


def report_unknown_stanza(stanza: Stanza, schema: Schema, findings: Findings) -> None:
    """Report an unsupported stanza at the top of the file: a warning if Momentum has it, else an error."""
    first = stanza.head[0]
    momentum, name = catalogue(), first.text.lower()
    if name in momentum.modules or name in momentum.stanzas:
        report_not_acted_on(stanza, findings)
    elif name in all_names([schema.core]) or name in momentum.options:
        findings.add(naming.option_written_as_stanza(first.text, first.span))
    elif len(stanza.head) > 1 and (kind := _class_meant(name)):
        findings.add(naming.unknown("stanza", first.text, [kind], first.span))
    else:
        known = [*schema.by_type, *momentum.modules, *map(as_in_the_manual, momentum.stanzas)]
        findings.add(naming.unknown_stanza(first.text, known, list(schema.by_type), first.span))


def report_not_acted_on(stanza: Stanza, findings: Findings) -> None:
    """Warn about a stanza of Momentum that has no effect here."""
    momentum, name = catalogue(), stanza.head[0].text
    known = momentum.modules if name.lower() in momentum.modules else momentum.scope_effects
    effect = known.get(name.lower(), "") if _is_active(stanza) else ""
    what = "module" if known is momentum.modules else "stanza"
    findings.add(naming.not_acted_on(what, name, stanza.head_span, effect))


def _is_active(stanza: Stanza) -> bool:
    """Return whether a stanza enforces anything in Momentum: a module that is switched off or passive does not."""
    if take_passive(list(stanza.head)):
        return False
    return not any(
        isinstance(statement, Option) and statement.name.text.lower() in ENABLED and is_off(statement.value)
        for statement in stanza.body
    )


def _class_meant(name: str) -> str | None:
    return errors.closest(name, [as_in_the_manual(each) for each in sorted(MODULE_CLASSES)])
