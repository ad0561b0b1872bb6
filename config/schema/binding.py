"""From statements to options: gathering what each stanza sets, the global scope included.

A stanza that is opened again adds to what it set before; a later option wins. Nothing is read from values here (that is
`config.schema.options`), so that an option set twice is read once.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field

from config import naming
from config.findings import Findings
from config.language.nodes import Dictionary, List, Option, Value
from config.schema.declared import Declared, declared, names_of
from config.schema.momentum import catalogue
from config.schema.options import Options
from config.schema.readers import PATH_WANTED
from config.schema.specs import ModuleSpec
from config.spelling import as_in_the_manual

GLOBAL = frozenset({"global"})
_HOOK = "hook:"
_SECRET_NAME = re.compile(r"passw(?:or)?d|passphrase|(?:^|_)(?:pass|pw|secret)$", re.IGNORECASE)


@dataclass(slots=True)
class Gathered:
    """What one stanza, or the global scope, sets so far.

    `where` is how messages name the stanza, " in smtp_cbv", empty for the global scope. `kinds` are the scopes that the
    stanza counts as, None for a module, whose options are all its own. `modules` serve hints only.
    """

    model: type[Options]
    where: str
    kinds: frozenset[str] | None = None
    ignored: frozenset[str] = frozenset()
    modules: tuple[ModuleSpec, ...] = ()
    written: dict[str, Option] = field(default_factory=dict)

    def add(self, statement: Option, findings: Findings) -> None:
        """Keep an option that may stand here; report any other. What is a secret is never shown from here on."""
        name = names_of(self.model).get(statement.name.text.lower())
        if _is_secret(statement.name.text, declared(self.model)[name] if name is not None else None):
            statement.value.span.source.hide(statement.value.span.start, statement.value.span.end)
        if name is None:
            self._report_unknown(statement, findings)
        elif not self._may_stand_here(declared(self.model)[name]):
            legal = sorted(scopes_of(declared(self.model)[name]) | GLOBAL)
            findings.add(naming.not_in_this_scope(statement.name.text, self.where, legal, statement.name.span))
        else:
            self._set(name, statement, findings)

    def _may_stand_here(self, one: Declared) -> bool:
        return self.kinds is None or self.kinds == GLOBAL or bool(self.kinds & scopes_of(one))

    def _known(self) -> list[str]:
        """Return every name that can be meant here, Momentum's included."""
        options = declared(self.model)
        ours = [name for name, each in names_of(self.model).items() if self._may_stand_here(options[each])]
        if self.kinds is None:
            return ours
        theirs = [option.name for option in catalogue().options.values() if option.scopes & self.kinds]
        return [as_in_the_manual(each) for each in (*ours, *theirs)]

    def _set(self, name: str, statement: Option, findings: Findings) -> None:
        """Set an option; warn when one stanza of one file sets it twice to different values."""
        before = self.written.get(name)
        if before is not None and before.value != statement.value and self._side_by_side(before, statement):
            findings.add(naming.already_set(statement.name.text, statement.name.span, before.name.span))
        self.written[name] = statement

    def _side_by_side(self, before: Option, statement: Option) -> bool:
        """Tell whether two statements stand between the same braces: a stanza opened again means to override."""
        source = statement.span.source
        if before.span.source is not source:
            return False
        return not self.where or "}" not in source.text[before.span.end : statement.span.start]

    def _is_momentums(self, lower: str, value: Value) -> bool:
        """Tell whether Momentum has an option of this name here, or a stanza that 2.2 writes with brackets."""
        if lower in self.ignored or lower.startswith(_HOOK):
            return True
        bracketed = isinstance(value, List | Dictionary)
        return bool(self.kinds) and (lower in catalogue().options or (bracketed and lower in catalogue().stanzas))

    def _report_unknown(self, statement: Option, findings: Findings) -> None:
        name, lower = statement.name, statement.name.text.lower()
        known_stanzas = {*(spec.type.lower() for spec in self.modules), *catalogue().stanzas}
        if self._is_momentums(lower, statement.value):
            findings.add(naming.not_acted_on("option", name.text, name.span))
        elif self.kinds == GLOBAL and lower in known_stanzas:
            findings.add(naming.stanza_written_as_option(name.text, name.span))
        else:
            owners = [spec.type for spec in self.modules if lower in names_of(spec.options)]
            outside = self.kinds is None and lower in catalogue().options
            findings.add(
                naming.unknown_option(name.text, self.where, self._known(), name.span, owners, outside=outside)
            )


def _is_secret(name: str, one: Declared | None) -> bool:
    """Tell whether a value is a secret: as declared, unless it is a file's path; of others' options, by their names."""
    if one is None:
        return _SECRET_NAME.search(name) is not None
    return one.secret and not one.reader.wanted.startswith(PATH_WANTED)


def scopes_of(one: Declared) -> frozenset[str]:
    """Return the scopes besides the global one where an option may stand: as declared, else as Momentum has it.

    What is declared for an address may be set in the pathway that the address joins.
    """
    if one.scopes is not None:
        return one.scopes | {"pathway", "pathway_group"} if "listen" in one.scopes else one.scopes
    options = catalogue().options
    return frozenset[str]().union(*(options[name].scopes for name in (one.name, *one.aliases) if name in options))
