"""Collect the options that each stanza sets, including the global scope.

A stanza that is opened again adds to its earlier options; a later option wins. Values are read later, in
`config.schema.declared`, so an option that is set twice is read once.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field

from config import naming
from config.findings import Findings
from config.language.errors import quoted_name
from config.language.nodes import Dictionary, List, Option, Value
from config.schema.declared import Declared, declared, names_of
from config.schema.momentum import catalogue
from config.schema.options import Options
from config.schema.readers import PATH_WANTED, is_off
from config.schema.specs import ModuleSpec
from config.spelling import as_in_the_manual

GLOBAL = frozenset({"global"})
OF_EVERY_MODULE = frozenset({"debug_level"})
"""Options that every module of Momentum has, besides the switch that enables it."""

_HOOK = "hook:"
_SECRET_NAME = re.compile(r"passw(?:or)?d|passphrase|(?:^|_)(?:pass|pw|secret)$", re.IGNORECASE)


@dataclass(slots=True)
class Gathered:
    """The options that one stanza, or the global scope, has set so far.

    `where` names the stanza in messages, such as " in smtp_cbv", and is empty for the global scope. `kinds` are the
    scopes that the stanza counts as, None for a module, which has only options of its own. `ignored` are names without
    effect here, with what they do in Momentum. `modules` is for hints.
    """

    model: type[Options]
    where: str
    kinds: frozenset[str] | None = None
    ignored: Mapping[str, str] = field(default_factory=dict)
    modules: tuple[ModuleSpec, ...] = ()
    written: dict[str, Option] = field(default_factory=dict)

    def add(self, statement: Option, findings: Findings) -> None:
        """Keep an option that is allowed here; report any other. Mask secrets from here on."""
        if statement.quoted:
            findings.add(quoted_name(statement.name.text, statement.name.span))
        name = names_of(self.model).get(statement.name.text.lower())
        if _is_secret(statement.name.text, declared(self.model)[name] if name is not None else None):
            statement.value.span.source.hide(statement.value.span.start, statement.value.span.end)
        if name is None:
            self._report_unknown(statement, findings)
        elif self._stands_here_in_momentum(name, statement):
            effect = self._effect(statement.name.text.lower(), statement.value)
            findings.add(naming.not_acted_on("option", statement.name.text, statement.name.span, effect))
        elif not self._may_stand_here(declared(self.model)[name]):
            legal = sorted(scopes_of(declared(self.model)[name]) | GLOBAL)
            findings.add(naming.not_in_this_scope(statement.name.text, self.where, legal, statement.name.span))
        else:
            self._set(name, statement, findings)

    def _may_stand_here(self, one: Declared) -> bool:
        return self.kinds is None or self.kinds == GLOBAL or bool(self.kinds & scopes_of(one))

    def _stands_here_in_momentum(self, name: str, statement: Option) -> bool:
        """Return whether Momentum allows an option here, and we only elsewhere."""
        if self.kinds is None or self._may_stand_here(declared(self.model)[name]):
            return False
        theirs = catalogue().options.get(statement.name.text.lower())
        return theirs is not None and bool(self.kinds & theirs.scopes)

    def _known(self) -> list[str]:
        """Return every name that may be meant here, including Momentum's."""
        options = declared(self.model)
        ours = [name for name, own in names_of(self.model).items() if self._may_stand_here(options[own])]
        if self.kinds is None:
            return ours
        theirs = [option.name for option in catalogue().options.values() if option.scopes & self.kinds]
        return [as_in_the_manual(name) for name in (*ours, *theirs)]

    def _set(self, name: str, statement: Option, findings: Findings) -> None:
        """Set an option; warn if one stanza of one file sets it twice to different values."""
        before = self.written.get(name)
        if before is not None and declared(self.model)[name].repeats and self._side_by_side(before, statement):
            statement = Option(statement.name, _joined(before.value, statement.value), statement.span)
        elif before is not None and before.value != statement.value and self._side_by_side(before, statement):
            findings.add(naming.already_set(statement.name.text, statement.name.span, before.name.span))
        self.written[name] = statement

    def _side_by_side(self, before: Option, statement: Option) -> bool:
        """Return whether two statements are inside the same braces. A stanza opened again overrides on purpose."""
        source = statement.span.source
        if before.span.source is not source:
            return False
        return not self.where or "}" not in source.text[before.span.end : statement.span.start]

    def _is_momentums(self, lower: str, value: Value) -> bool:
        """Return whether Momentum has an option of this name here, or a stanza that 2.2 writes with brackets."""
        if lower in self.ignored:
            return True
        if self.kinds is None:
            return lower in OF_EVERY_MODULE
        bracketed = isinstance(value, List | Dictionary)
        option = catalogue().options.get(lower)
        return (option is not None and bool(option.scopes & self.kinds)) or (bracketed and lower in catalogue().stanzas)

    def _effect(self, lower: str, value: Value) -> str:
        """Return what a name of Momentum does there."""
        if is_off(value):
            return ""
        if lower in self.ignored:
            return self.ignored[lower]
        option = catalogue().options.get(lower) if self.kinds is not None else None
        return option.effect if option is not None else catalogue().scope_effects.get(lower, "")

    def _report_unknown(self, statement: Option, findings: Findings) -> None:
        name, lower = statement.name, statement.name.text.lower()
        owners = [spec.type for spec in self.modules if lower in names_of(spec.options)]
        known_stanzas = {*(spec.type.lower() for spec in self.modules), *catalogue().stanzas}
        if lower.startswith(_HOOK):
            findings.add(naming.no_such_hook(name.text[len(_HOOK) :], name.span))
        elif self._is_momentums(lower, statement.value):
            findings.add(naming.not_acted_on("option", name.text, name.span, self._effect(lower, statement.value)))
        elif self.kinds == GLOBAL and lower in known_stanzas:
            findings.add(naming.stanza_written_as_option(name.text, name.span))
        elif not owners and self.kinds is not None and lower in catalogue().options:
            scopes = sorted(catalogue().options[lower].scopes)
            findings.add(naming.not_in_this_scope(name.text, self.where or " at the top", scopes, name.span))
        else:
            outside = self.kinds is None and lower in catalogue().options
            findings.add(
                naming.unknown_option(name.text, self.where, self._known(), name.span, owners, outside=outside)
            )


def _is_secret(name: str, one: Declared | None) -> bool:
    """Return whether a value is secret: if declared so and not a path; for undeclared options, by name."""
    if one is None:
        return _SECRET_NAME.search(name) is not None
    return one.secret and not one.reader.wanted.startswith(PATH_WANTED)


def scopes_of(one: Declared) -> frozenset[str]:
    """Return the scopes, besides the global one, that allow an option: as declared, else as in Momentum.

    An option of an address may also be set in the pathway that the address names.
    """
    if one.scopes is not None:
        return one.scopes | {"pathway", "pathway_group"} if "listen" in one.scopes else one.scopes
    options = catalogue().options
    return frozenset[str]().union(*(options[name].scopes for name in (one.name, *one.aliases) if name in options))


def _joined(*values: Value) -> List:
    """Return the items of several values as one list."""
    items = [item for value in values for item in (value.items if isinstance(value, List) else (value,))]
    return List(tuple(items), values[-1].span)
