"""Scopes and fallback: find the value of an option in force for a binding, a domain or a host, and its origin.

If an outbound option is set in several places, the first of these decides:

    binding_group :: binding :: domain        binding :: domain        binding_group :: domain
    binding                                   its binding_group        domain                     global

So a binding's value takes precedence over a domain at the top of the file. In one container an exact domain name comes
before regular expressions (`Domain "/[.]example[.]com$/"`, unanchored), which are tried in written order. A host's
options are looked up first, in the same containers. Inbound, the order is pathway, pathway_group, global; for what
comes before the pathway, see `config.scopes.listeners`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass

from config.base.domains import normal_domain
from config.diagnostics import Span
from config.schema.declared import names_of
from config.schema.options import Options
from config.scopes.places import Place, ScopeStep, Setting, normal_name, searcher

_GROUPED = ("binding", "pathway")


@dataclass(frozen=True, slots=True)
class Query:
    """What an option is looked up for."""

    binding_group: str | None = None
    binding: str | None = None
    domain: str | None = None
    host: str | None = None
    pathway_group: str | None = None
    pathway: str | None = None


class Scopes:
    """The scopes of one configuration, except its listener scopes; immutable once loaded."""

    def __init__(
        self, core: Options, origins: Mapping[str, Span], set_at: Mapping[Place, Mapping[str, Setting]]
    ) -> None:
        """Take the global options, their origins, and what every scope sets."""
        self._core = core
        self._origins = origins
        self._set_at = dict(set_at)
        self._group_of: dict[ScopeStep, ScopeStep] = {}
        self._patterns: dict[Place, list[tuple[Callable[[str], object], ScopeStep]]] = {}
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
        """Return what one scope sets itself, without fallback; None if it does not.

        Raises:
            KeyError: there is no option of this name.
        """
        option = names_of(type(self._core))[name.lower()]
        if place:
            return self.at(tuple(ScopeStep(kind, normal_name(kind, named)) for kind, named in place)).get(option)
        return Setting(getattr(self._core, option), self._origins[option]) if option in self._origins else None

    def _fallback(self, query: Query) -> Iterator[Place]:
        """Every scope that may set an option, highest precedence first."""
        both, binding, group = self._grouped("binding", query.binding, query.binding_group)
        if query.host:
            host = ScopeStep("host", normal_domain(query.host))
            yield from ((*container, host) for container in (both, group, binding) if container)
            yield (host,)
        if query.domain:
            for container in (both, binding, group):
                if container:
                    yield from self._domains(container, normal_domain(query.domain))
        yield from (container for container in (both, binding, group) if container)
        if query.domain:
            yield from self._domains((), normal_domain(query.domain))
        yield from (place for place in self._grouped("pathway", query.pathway, query.pathway_group) if place)

    def _grouped(self, kind: str, name: str | None, group_name: str | None) -> tuple[Place, Place, Place]:
        """Return a binding or pathway inside its group, on its own, and the group; empty if none is named."""
        own: Place = (ScopeStep(kind, name),) if name else ()
        group: Place = (ScopeStep(f"{kind}_group", group_name),) if group_name else ()
        if own and not group and own[0] in self._group_of:
            group = (self._group_of[own[0]],)
        return ((*group, *own) if group and own else ()), own, group

    def pathway_layers(self, name: str) -> tuple[Mapping[str, Setting], ...]:
        """Return the options of a pathway and of its group, in this order."""
        return tuple(self.at(place) for place in self._grouped("pathway", name, None) if place)

    def has(self, kind: str, name: str) -> bool:
        """Return whether the file defines a scope of this kind and name."""
        return any(place[-1] == (kind, name) for place in self._set_at)

    def _domains(self, container: Place, domain: str) -> Iterator[Place]:
        yield (*container, ScopeStep("domain", domain))
        for search, step in self._patterns.get(container, ()):
            if search(domain):
                yield (*container, step)
