"""The rehearsal of a configuration: everything that `serve` builds is built once, and what cannot be is a diagnostic.

It runs in a child, since what it reads may hang. Nothing is bound or written. What a text or a file says by itself is
told before (`checks`); here belongs what only making the thing shows.
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
from proxy.dns.resolver import DnsUnavailable, NoSuchDomain, Resolver
from proxy.modules.base import CallbackMaker
from proxy.modules.services import Callbacks, NoCallbacks, Services
from proxy.options.core import CoreOptions
from proxy.server.assembly import Assembly
from proxy.upstream.routes import Router
from proxy.upstream.tls import context_of

T = TypeVar("T")

NETWORK_SECONDS = 5.0
"""For everything that is asked of the network together."""

_MOST_EXCHANGERS = 3
"""Of a host that is asked for by its MX, so many are looked up."""


def rehearse(assembly: Assembly, tell: Tell, build: Callable[[], None]) -> tuple[Diagnostic, ...]:
    """Build what serves, the whole by `build`, and look whether the network knows what it names.

    The latter gives warnings only.
    """
    rehearsal = _Rehearsal(assembly, tell, build)
    runner = asyncio.Runner(loop_factory=uvloop.new_event_loop)  # never closed: the process ends
    runner.run(rehearsal.run())
    return tuple(rehearsal.found)


class _Rehearsal:
    """One configuration's rehearsal. What it found grows."""

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
            return  # all that follows would fail by it
        resolver = Resolver([str(each) for each in core.nameservers])
        self._tell("TLS towards the MTA behind")
        self._outbound_tls()
        self._tell("the modules")
        self._modules(resolver)
        if self.found:
            return
        self._tell("the server")
        self._made("the server cannot be built", None, self._build)
        if not self.found:
            self._tell("the network")
            self.found += await _network(settings, resolver)

    def _made(self, problem: str, origin: Span | None, make: Callable[[], T], hint: str | None = None) -> T | None:
        """Return what `make` makes; None if it fails, which is an error at `origin`."""
        try:
            return make()
        except Exception as error:  # noqa: BLE001 — whatever it is, the worker would end by it
            reason = str(error.args[-1]) if error.args else type(error).__name__  # (number, text), as in OSError
            self.found.append(Diagnostic(f"{problem}: {reason}", origin, hint))
            return None

    def _outbound_tls(self) -> None:
        """Make each context whole: what is wrong with one of its options alone was found before."""
        settings = self._assembly.settings
        for upstream in Router(settings).named():
            if upstream.policy.tls != "no":
                origin = origin_of(settings, "tls", upstream.policy.tls)
                problem = f"TLS cannot be spoken with {upstream.name}"
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
    return f"the module {loaded.type} cannot be built"


async def _network(settings: Settings, resolver: Resolver) -> list[Diagnostic]:
    """Look up the hosts behind, all together, and say which have no address, none in time, or one of ours.

    That a host cannot be looked up is a warning: it may be tomorrow. That it is ourselves is a mistake.
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
                    f"{way.route.host} cannot be looked up now: {problem}",
                    way.origin or settings.core_origin("routes"),
                    hint="mail for it is deferred until it can be; see that Nameservers know it",
                    severity=Severity.WARNING,
                )
            )
        if not is_address(way.route.host):  # or it was said before
            found += loops(way, addresses, cast(CoreOptions, settings.core).esmtp_listener)
    return list(once(found))


async def _looked_up(host: str, resolver: Resolver, *, by_mx: bool) -> tuple[list[str], str]:
    """Return the addresses of a host behind, and what is wrong with it; the latter is empty if it has some."""
    try:
        hosts = [host]
        if by_mx:
            hosts = [each.host for each in await resolver.exchangers(host) if each.host][:_MOST_EXCHANGERS] or hosts
        return [address for each in hosts for address in await resolver.host_addresses(each)], ""
    except NoSuchDomain:
        return [], "there is no such host"
    except DnsUnavailable as error:
        return [], str(error)
