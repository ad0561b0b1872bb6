"""Collects the stanzas of outbound scopes for `Scopes`."""

from __future__ import annotations

import re

from config import naming
from config.findings import Findings
from config.language.nodes import Option, Stanza, String, Word
from config.schema.binding import Gathered
from config.schema.declared import declared, read_option
from config.schema.momentum import catalogue
from config.schema.options import Options
from config.schema.readers import Unreadable
from config.schema.stanzas import report_attributes, report_not_acted_on
from config.scopes.places import KINDS, Place, ScopeStep, Setting, normal_name, searcher

_GROUP = "binding_group"


class GatheredScopes:
    """The stanzas of outbound scopes on their way to `Scopes`."""

    def __init__(self, model: type[Options], findings: Findings) -> None:
        """Accept the options of `model`; report to `findings`."""
        self._model = model
        self._findings = findings
        self._gathered: dict[Place, Gathered] = {}

    def take(self, stanza: Stanza) -> None:
        """Collect a scope's stanza and the stanzas inside it."""
        pending: list[tuple[Stanza, Place]] = [(stanza, ())]
        while pending:
            current, outer = pending.pop()
            place = self._place(current, outer)
            if place is None:
                continue
            report_attributes(current, self._findings)
            gathered = self._gathered.setdefault(
                place, Gathered(self._model, f" in {place[-1].kind}", frozenset({place[-1].kind}))
            )
            inner = []
            for statement in current.body:
                if isinstance(statement, Option) and place[-1].kind == "binding" and _is_group(statement):
                    continue  # it is in the place
                if isinstance(statement, Option):
                    gathered.add(statement, self._findings)
                elif isinstance(statement, Stanza):
                    inner.append((statement, place))
            pending.extend(reversed(inner))

    def _place(self, stanza: Stanza, outer: Place) -> Place | None:
        """Return a stanza's place; None if it is not allowed there or has no name."""
        first = stanza.head[0]
        kind, above = first.text.lower(), outer[-1].kind if outer else "global"
        if kind not in KINDS:
            self._report_other(stanza, above)
            return None
        if above not in catalogue().scopes[kind]:
            legal = sorted(catalogue().scopes[kind])
            self._findings.add(naming.not_in_this_scope(first.text, f" in {above}", legal, stanza.head_span))
            return None
        if len(stanza.head) != 2:  # kind and name
            self._findings.add(naming.name_is_missing(first.text, stanza.head_span))
            return None
        step = ScopeStep(kind, self._checked_name(kind, stanza))
        group = _group_named(stanza) if kind == "binding" and not outer else None
        return (*outer, step) if group is None else (ScopeStep(_GROUP, group), step)

    def _checked_name(self, kind: str, stanza: Stanza) -> str:
        node = stanza.head[1]
        if kind == "domain":
            try:
                if searcher(node.text) is None and "*" in node.text:
                    self._findings.add(naming.star_in_domain_scope(node.text, node.span))
                elif node.text.startswith("/") and not node.text.isascii():
                    self._findings.add(naming.u_label_in_expression(node.text, node.span))
            except re.error as refused:
                self._findings.add(naming.bad_expression(node.text, str(refused), node.span))
                return ""
        return normal_name(kind, node.text)

    def _report_other(self, stanza: Stanza, above: str) -> None:
        name = stanza.head[0]
        if name.text.lower() in catalogue().scopes or name.text.lower() in catalogue().modules:
            report_not_acted_on(stanza, self._findings)
        else:
            self._findings.add(naming.unknown("stanza", name.text, KINDS, name.span, f" in {above}"))

    def at(self, place: Place) -> Gathered | None:
        """Return what a scope sets so far; None if no stanza opens it."""
        return self._gathered.get(place)

    def read(self) -> dict[Place, dict[str, Setting]]:
        """Read every value and report errors."""
        by_place: dict[Place, dict[str, Setting]] = {}
        for place, gathered in self._gathered.items():
            settings = by_place.setdefault(place, {})
            for name, statement in gathered.written.items():
                setting = read_setting(self._model, name, statement, place, self._findings)
                if setting is not None:
                    settings[name] = setting
        return by_place


def _is_group(statement: Option) -> bool:
    return statement.name.text.lower() == _GROUP and isinstance(statement.value, Word | String)


def _group_named(stanza: Stanza) -> str | None:
    """Return the group that a binding names in its body: `Binding_Group = "g"` puts the binding into that group."""
    for statement in stanza.body:
        if isinstance(statement, Option) and _is_group(statement) and isinstance(statement.value, Word | String):
            return statement.value.text
    return None


def read_setting(
    model: type[Options], name: str, statement: Option, place: Place, findings: Findings
) -> Setting | None:
    """Read one option of a scope; None if its value is wrong, which is reported."""
    try:
        return Setting(read_option(declared(model)[name], statement, findings), statement.value.span, place)
    except Unreadable as wrong:
        wrong.report(findings)
        return None
