"""The rehearsal of a configuration: builds once everything that `serve` builds, and reports what fails as diagnostics.

It runs in a child, because what it reads may hang. It binds and writes nothing. `checks` has reported errors in the
text and in single files before; the rehearsal finds those that only show when things are built.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from functools import partial
from typing import TypeVar, cast

import uvloop

from config.base.hosts import is_address
from config.diagnostics import Diagnostic, Severity, Span
from config.settings import ModuleSettings, Settings
from proxy.base.apart import Tell
from proxy.base.tasks import TaskOwner, spawn
from proxy.checks.network import loops, ways
from proxy.checks.places import once, origin_of, within
from proxy.datasource.sources import Datasources
from proxy.dns.resolver import DnsUnavailable, NoSuchDomain, Resolver
from proxy.modules.base import CallbackMaker
from proxy.modules.services import Callbacks, NoCallbacks, Services
from proxy.options.core import CoreOptions
from proxy.server.assembly import Assembly
from proxy.upstream.routes import Router
from proxy.upstream.tls import context_of

T = TypeVar("T")

NETWORK_SECONDS = 5.0
"""Time limit for all network lookups together."""

_MOST_EXCHANGERS = 3
"""How many exchangers to look up for a host that is routed by its MX."""


def rehearse(assembly: Assembly, tell: Tell, build: Callable[[], None]) -> tuple[Diagnostic, ...]:
    """Build everything that serves (`build` makes the whole), and look up the hosts that the configuration names.

    A host that cannot be looked up is only a warning.
    """
    rehearsal = _Rehearsal(assembly, tell, build)
    runner = asyncio.Runner(loop_factory=uvloop.new_event_loop)  # never closed: the process ends
    runner.run(rehearsal.run())
    return tuple(rehearsal.found)


class _Rehearsal:
    """One configuration's rehearsal. It collects diagnostics."""

    def __init__(self, assembly: Assembly, tell: Tell, build: Callable[[], None]) -> None:
        self._assembly, self._tell, self._build = assembly, tell, build
        self.found: list[Diagnostic] = []

    async def run(self) -> None:
        core, settings = self._assembly.core, self._assembly.settings
        self._tell("the resolver")
        for each in core.nameservers:
            self._made(
                f"`{each}` cannot be asked",
                within(settings.core_origin("nameservers"), str(each)),
                partial(Resolver, [str(each)]),
                hint="write the IP address of a DNS server, `192.0.2.53` or `[2001:db8::53]:53`",
            )
        if self.found:
            return  # everything after it would fail, too
        resolver = Resolver([str(each) for each in core.nameservers])
        self._tell("TLS towards the next hop")
        self._outbound_tls()
        self._tell("the modules")
        self._modules(resolver)
        if self.found:
            return
        self._tell("the server")
        self._made("cannot build the server", None, self._build)
        if not self.found:
            self._tell("the network")
            owner = TaskOwner("rehearsal of the network")
            hops = spawn(_network(settings, resolver), name="look up next hops", owner=owner)
            sources = spawn(_datasources(self._assembly.core, settings), name="try datasources", owner=owner)
            self.found += [*await hops, *await sources]

    def _made(self, problem: str, origin: Span | None, make: Callable[[], T], hint: str | None = None) -> T | None:
        """Return what `make` makes; None if it fails, which is an error at `origin`."""
        try:
            return make()
        except Exception as error:  # noqa: BLE001 — any exception would end the worker
            reason = str(error.args[-1]) if error.args else type(error).__name__  # (number, text), as in OSError
            self.found.append(Diagnostic(f"{problem}: {reason}", origin, hint))
            return None

    def _outbound_tls(self) -> None:
        """Build each complete context. Errors in single options were found before."""
        settings = self._assembly.settings
        for upstream in Router(settings).named():
            if upstream.policy.tls != "no":
                origin = origin_of(settings, "tls", upstream.policy.tls)
                problem = f"cannot use TLS with {upstream.name}"
                self._made(problem, origin, partial(context_of, upstream.policy))

    def _modules(self, resolver: Resolver) -> None:
        core, settings = self._assembly.core, self._assembly.settings
        stanzas = list(zip(settings.modules, self._assembly.prepared, strict=True))
        callbacks: Callbacks = NoCallbacks()
        for loaded, each in stanzas:
            if isinstance(each, CallbackMaker):
                make = partial(each.callbacks, core, lambda: False)
                callbacks = self._made(_unbuilt(loaded), loaded.span, make) or callbacks
        services = Services(core, settings, resolver, callbacks)
        for loaded, each in stanzas:
            self._made(_unbuilt(loaded), loaded.span, partial(each.validator, services))


def _unbuilt(loaded: ModuleSettings) -> str:
    return f"cannot build the module {loaded.type}"


async def _network(settings: Settings, resolver: Resolver) -> list[Diagnostic]:
    """Look up all next hops in parallel; report those without an address, without an answer in time, or that are us.

    A failed lookup is a warning, because it may work later. A next hop that is ourselves is an error.
    """
    owner = TaskOwner("rehearsal")
    named = [each for each in ways(settings) if not each.route.is_socket]
    hosts = dict.fromkeys((each.route.host, each.route.by_mx) for each in named)
    looking = {
        (host, by_mx): spawn(_looked_up(host, resolver, by_mx=by_mx), name=f"look up {host}", owner=owner)
        for host, by_mx in hosts
    }
    await owner.wait(NETWORK_SECONDS)
    found = []
    for way in named:
        task = looking[way.route.host, way.route.by_mx]
        late = f"no answer within {NETWORK_SECONDS:g} seconds"
        addresses, problem = task.result() if task.done() else ([], late)
        if problem:
            found.append(
                Diagnostic(
                    f"cannot look up {way.route.host}: {problem}",
                    way.origin or settings.core_origin("routes"),
                    hint="mail for it is deferred until the lookup works; check Nameservers",
                    severity=Severity.WARNING,
                )
            )
        if not is_address(way.route.host):  # otherwise it was reported before
            found += loops(way, addresses, cast(CoreOptions, settings.core).esmtp_listener)
    return list(once(found))


async def _datasources(core: CoreOptions, settings: Settings) -> list[Diagnostic]:
    """Connect to each server of a datasource; report those that do not answer. They may answer later."""
    if not core.datasource:
        return []
    sources = Datasources(core.datasource)
    return [
        Diagnostic(
            f"datasource `{name}`: {server} does not answer: {reason}",
            settings.core_origin("datasource"),
            hint="queries of it fail until it answers",
            severity=Severity.WARNING,
        )
        for name, server, reason in await sources.problems(NETWORK_SECONDS)
    ]


async def _looked_up(host: str, resolver: Resolver, *, by_mx: bool) -> tuple[list[str], str]:
    """Return the addresses of a next hop, and the problem; the problem is empty if there are addresses."""
    try:
        hosts = [host]
        if by_mx:
            hosts = [each.host for each in await resolver.exchangers(host) if each.host][:_MOST_EXCHANGERS] or hosts
        return [address for each in hosts for address in await resolver.host_addresses(each)], ""
    except NoSuchDomain:
        return [], "there is no such host"
    except DnsUnavailable as error:
        return [], str(error)
