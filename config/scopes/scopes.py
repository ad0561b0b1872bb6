"""Scopes and fallback: which value of an option is in force for a binding, a domain or a host, and where it was set.

An outbound option that is set in several places is taken from the first of

    binding_group :: binding :: domain        binding :: domain        binding_group :: domain
    binding                                   its binding_group        domain                     global

so that a binding's value beats that of a domain at the top of the file. In one container a domain that is named exactly
comes before those that are regular expressions (`Domain "/[.]example[.]com$/"`, unanchored), tried in written order.
A host's options are looked for in the same containers before everything else. Inbound, a pathway's value comes before
its pathway_group's and that before the global one; what comes before the pathway: `config.scopes.listeners`.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import NamedTuple

import re2

from config import naming
from config.base.domains import normal_domain
from config.diagnostics import Span
from config.findings import Findings
from config.language.nodes import Option, Stanza
from config.schema.binding import Gathered
from config.schema.momentum import catalogue
from config.schema.options import Options, declared, names_of, read_option
from config.schema.readers import Unreadable
from config.schema.stanzas import report_attributes

KINDS = ("binding_group", "binding", "pathway_group", "pathway", "domain", "host")
"""The scopes that a stanza opens, beside those of listeners; `global` is the file itself."""

_GROUPED = ("binding", "pathway")


class Step(NamedTuple):
    """One scope on the way from the global one: its kind and its name."""

    kind: str
    name: str

    def __str__(self) -> str:
        """Return the scope as the console names it."""
        return f'{self.kind} "{self.name}"' if self.name else self.kind


Place = tuple[Step, ...]
"""A scope, as the steps that lead to it; the global scope is the empty one."""


@dataclass(frozen=True, slots=True)
class Setting:
    """A value in force: where its text stands (None: it is the default) and the scope that sets it."""

    value: object
    origin: Span | None = field(default=None, compare=False)
    place: Place = field(default=(), compare=False)


@dataclass(frozen=True, slots=True)
class Query:
    """What an option is asked for."""

    binding_group: str | None = None
    binding: str | None = None
    domain: str | None = None
    host: str | None = None
    pathway_group: str | None = None
    pathway: str | None = None


class Scopes:
    """The scopes of one configuration beside those of its listeners; immutable once loaded."""

    def __init__(
        self, core: Options, origins: Mapping[str, Span], set_at: Mapping[Place, Mapping[str, Setting]]
    ) -> None:
        """Take the global options, where they were set, and what every scope sets."""
        self._core = core
        self._origins = origins
        self._set_at = dict(set_at)
        self._group_of: dict[Step, Step] = {}
        self._patterns: dict[Place, list[tuple[Callable[[str], object], Step]]] = {}
        for place in self._set_at:
            self._index(place)

    def _index(self, place: Place) -> None:
        for index, step in enumerate(place):
            if step.kind in _GROUPED and index:
                self._group_of.setdefault(step, place[index - 1])
        last = place[-1]
        if last.kind == "domain" and (search := searcher(last.name)) is not None:
            self._patterns.setdefault(place[:-1], []).append((search, last))

    @property
    def places(self) -> tuple[Place, ...]:
        """Every scope that the file opens, as written."""
        return tuple(self._set_at)

    def at(self, place: Place) -> Mapping[str, Setting]:
        """Return what one scope sets itself."""
        return self._set_at.get(place, {})

    def eval(
        self,
        name: str,
        *,
        binding_group: str | None = None,
        binding: str | None = None,
        domain: str | None = None,
        host: str | None = None,
        pathway_group: str | None = None,
        pathway: str | None = None,
    ) -> Setting:
        """Return the value in force, with fallback.

        Raises:
            KeyError: there is no option of this name.
        """
        option = names_of(type(self._core))[name.lower()]
        if self._set_at:
            for place in self._fallback(Query(binding_group, binding, domain, host, pathway_group, pathway)):
                setting = self._set_at.get(place, {}).get(option)
                if setting is not None:
                    return setting
        return Setting(getattr(self._core, option), self._origins.get(option))

    def get(self, name: str, place: Place = ()) -> Setting | None:
        """Return what one scope sets itself, without fallback; None when it does not.

        Raises:
            KeyError: there is no option of this name.
        """
        option = names_of(type(self._core))[name.lower()]
        if place:
            return self.at(tuple(Step(kind, normal_name(kind, named)) for kind, named in place)).get(option)
        return Setting(getattr(self._core, option), self._origins[option]) if option in self._origins else None

    def _fallback(self, query: Query) -> Iterator[Place]:
        """Every scope that may set an option, the one that decides first."""
        both, binding, group = self._grouped("binding", query.binding, query.binding_group)
        if query.host:
            host = Step("host", normal_domain(query.host))
            yield from ((*container, host) for container in (both, group, binding) if container)
            yield (host,)
        if query.domain:
            for container in (both, binding, group):
                if container:
                    yield from self._domains(container, normal_domain(query.domain))
        yield from (container for container in (both, binding, group) if container)
        if query.domain:
            yield from self._domains((), normal_domain(query.domain))
        yield from (each for each in self._grouped("pathway", query.pathway, query.pathway_group) if each)

    def _grouped(self, kind: str, name: str | None, group_name: str | None) -> tuple[Place, Place, Place]:
        """Return a binding or pathway inside its group, by itself, and the group; empty where none is named."""
        own: Place = (Step(kind, name),) if name else ()
        group: Place = (Step(f"{kind}_group", group_name),) if group_name else ()
        if own and not group and own[0] in self._group_of:
            group = (self._group_of[own[0]],)
        return ((*group, *own) if group and own else ()), own, group

    def pathway_layers(self, name: str) -> tuple[Mapping[str, Setting], ...]:
        """Return what a pathway and its group set, the pathway first."""
        return tuple(self.at(place) for place in self._grouped("pathway", name, None) if place)

    def has(self, kind: str, name: str) -> bool:
        """Tell whether the file opens a scope of this kind and name anywhere."""
        return any(place[-1] == (kind, name) for place in self._set_at)

    def _domains(self, container: Place, domain: str) -> Iterator[Place]:
        yield (*container, Step("domain", domain))
        for search, step in self._patterns.get(container, ()):
            if search(domain):
                yield (*container, step)


def searcher(pattern: str) -> Callable[[str], object] | None:
    """Return the search of a domain that is written as `/regular expression/`; None for a plain name.

    RE2 first: a stranger chooses the domain, and a backtracking engine can be made to take exponential time. What only
    such an engine understands is left to it.

    Raises:
        re.error: neither engine understands it.
    """
    if len(pattern) < 2 or not (pattern.startswith("/") and pattern.endswith("/")):  # the two slashes
        return None
    quiet = re2.Options()
    quiet.log_errors = False
    quiet.case_sensitive = False
    try:
        found: Callable[[str], object] = re2.compile(pattern[1:-1], quiet).search
    except re2.error:
        found = re.compile(pattern[1:-1], re.IGNORECASE).search
    return found


class GatheredScopes:
    """The stanzas of outbound scopes on their way to `Scopes`."""

    def __init__(self, model: type[Options], findings: Findings) -> None:
        """Take options that `model` declares; report to `findings`."""
        self._model = model
        self._findings = findings
        self._gathered: dict[Place, Gathered] = {}

    def take(self, stanza: Stanza) -> None:
        """Gather a scope's stanza and those inside it."""
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
                if isinstance(statement, Option):
                    gathered.add(statement, self._findings)
                elif isinstance(statement, Stanza):
                    inner.append((statement, place))
            pending.extend(reversed(inner))

    def _place(self, stanza: Stanza, outer: Place) -> Place | None:
        """Return where a stanza stands, None when it cannot stand there or has no name."""
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
        return (*outer, Step(kind, self._checked_name(kind, stanza)))

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
            self._findings.add(naming.not_acted_on("stanza", name.text, stanza.head_span))
        else:
            self._findings.add(naming.unknown("stanza", name.text, KINDS, name.span, f" in {above}"))

    def read(self) -> dict[Place, dict[str, Setting]]:
        """Read every value, reporting those that are wrong."""
        found: dict[Place, dict[str, Setting]] = {}
        for place, gathered in self._gathered.items():
            settings = found.setdefault(place, {})
            for name, statement in gathered.written.items():
                setting = read_setting(self._model, name, statement, place, self._findings)
                if setting is not None:
                    settings[name] = setting
        return found


def read_setting(
    model: type[Options], name: str, statement: Option, place: Place, findings: Findings
) -> Setting | None:
    """Read one option of a scope; None when its value is wrong, which is reported."""
    try:
        return Setting(read_option(declared(model)[name], statement, findings), statement.value.span, place)
    except Unreadable as wrong:
        wrong.report(findings)
        return None


def normal_name(kind: str, name: str) -> str:
    """Return a scope's name as it is compared: bindings keep their case, domains and hosts have none."""
    if kind == "host" or (kind == "domain" and not name.startswith("/")):
        return normal_domain(name)
    return name
