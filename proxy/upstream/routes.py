"""Which upstream takes a recipient's mail: Gateway or Routes, with the option values for the recipient's domain.

An `Upstream` holds the whole answer: hosts in order of preference, how to talk to them, and the limits. Domains with
equal answers share one object, so their recipients share a transaction, and its connections are pooled.
"""

from __future__ import annotations

import re
from functools import lru_cache
from typing import Any, cast

from cachetools import LRUCache

from config.settings import Settings
from proxy.base.log import get_logger
from proxy.options.core import CoreOptions
from proxy.options.outbound import OutboundOptions
from proxy.options.route import Route
from proxy.upstream.patience import patient
from proxy.upstream.upstream import Upstream

log = get_logger()

_DOMAINS_REMEMBERED = 4096
_DETOURS_REMEMBERED = 256
"""Gateways that scripts named; a script may take the name from a message, so their number is limited."""

DEFAULT_BINDING = "default"
"""Momentum's binding of mail for which no script has chosen another."""

_GATEWAY = re.compile(r"(?:\[(?P<six>[0-9A-Fa-f:.]+)\]|(?P<host>[^\[\]:]+))(?::(?P<port>\d{1,5}))?")


class Router:
    """Finds the upstream of a domain, and caches it; equal answers are one object."""

    def __init__(self, settings: Settings) -> None:
        """Read the configuration's scopes."""
        self._scopes = settings.scopes
        self._has_scopes = bool(settings.scopes.places)
        self._core = cast(CoreOptions, settings.core)
        self._usual_binding = DEFAULT_BINDING if settings.scopes.has("binding", DEFAULT_BINDING) else None
        self._known: dict[tuple[object, ...], Upstream] = {}
        self._detours: LRUCache[tuple[str, Upstream], Upstream] = LRUCache(_DETOURS_REMEMBERED)
        self.default = self._upstream(None)
        """The upstream of domains without settings of their own."""
        self._of_domain = lru_cache(maxsize=_DOMAINS_REMEMBERED)(self._upstream)
        self._bound = lru_cache(maxsize=_DOMAINS_REMEMBERED)(self._upstream)

    def of_domain(self, domain: str) -> Upstream:
        """Return the upstream of a recipient's domain; `domain` is empty for a recipient without one."""
        return self._of_domain(domain) if self._has_scopes else self.default

    def of_recipient(self, domain: str, binding: str, gateway: str) -> Upstream:
        """Return the upstream of a recipient. A script may have named its binding and gateway."""
        if binding:
            upstream = self.bound(binding, domain)
        else:
            upstream = self._of_domain(domain) if self._has_scopes else self.default  # for each message: one call less
        return self.by_way_of(gateway, upstream) if gateway else upstream

    def bound(self, binding: str, domain: str) -> Upstream:
        """Return the upstream of a recipient's domain by way of a binding."""
        return self._bound(domain, binding)

    def _is_nearer(self, name: str, other: str, domain: str | None, binding: str | None) -> bool:
        """Whether a scope of its own sets one option while the other comes from the top level of the file."""
        place = self._scopes.eval(name, domain=domain or None, binding=binding).place
        return bool(place) and not self._scopes.eval(other, domain=domain or None, binding=binding).place

    def by_way_of(self, gateway: str, upstream: Upstream) -> Upstream:
        """Return the upstream with its host replaced by a gateway: `host`, `host:port`, `[::1]:port`."""
        key = (gateway, upstream)
        found = self._detours.get(key)
        if found is None:
            written = _GATEWAY.fullmatch(gateway)
            host, port = (written["six"] or written["host"], written["port"]) if written else (gateway, None)
            routes = (Route(host, int(port) if port else None),)
            found = self._detours[key] = Upstream(routes, upstream.policy, upstream.helo, upstream.binding)
        return found

    def named(self) -> list[Upstream]:
        """Return the upstreams that the configuration names; those for regular expressions are found in use."""
        for place in self._scopes.places:
            if place[-1].kind == "domain" and not place[-1].name.startswith("/"):
                binding = place[-2].name if len(place) > 1 and place[-2].kind == "binding" else ""
                if binding and binding != DEFAULT_BINDING:
                    self.bound(binding, place[-1].name)
                else:
                    self.of_domain(place[-1].name)
            elif place[-1].kind == "binding" and place[-1].name != DEFAULT_BINDING:
                self.bound(place[-1].name, "")
        return list(self._known.values())

    def _upstream(self, domain: str | None, binding: str = "") -> Upstream:
        within = binding or self._usual_binding
        values: dict[str, Any] = {
            name: self._scopes.eval(name, domain=domain or None, binding=within).value
            for name in OutboundOptions.model_fields
        }
        policy = patient(OutboundOptions.model_construct(**values))
        helo = policy.ehlo_hostname or self._core.hostname
        routes = policy.routes
        if policy.gateway is not None and not (routes and self._is_nearer("routes", "gateway", domain, within)):
            routes = (policy.gateway,)
        return self._known.setdefault((routes, policy, helo, binding), Upstream(routes, policy, helo, binding))
