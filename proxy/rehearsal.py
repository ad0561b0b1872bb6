"""The rehearsal of a configuration: everything that `serve` builds is built once, and what cannot be is a diagnostic.

It runs in a child, since what it reads may hang. Nothing is bound or written. What a text or a file says by itself is
told before (`checks`); here belongs what only making the thing shows.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from functools import partial
from typing import TypeVar

import uvloop

from config import Settings
from config.diagnostics import Diagnostic, Severity, Span
from proxy.apart import Tell
from proxy.dns import DnsUnavailable, NoSuchDomain, Resolver
from proxy.modules.base import Services
from proxy.settings import OutboundOptions
from proxy.tasks import TaskOwner, spawn
from proxy.upstream.routes import Router, context_of
from proxy.worker import Assembly, Worker

T = TypeVar("T")

_TLS_OPTIONS = {"tls_ca": "TLS_CA", "tls_certificate": "TLS_Certificate", "tls_ciphers": "TLS_Ciphers"}
"""What a context towards the MTA behind is made of, and how the operator writes it."""

NETWORK_SECONDS = 5.0
"""For everything that is asked of the network together."""


def rehearse(assembly: Assembly, tell: Tell) -> tuple[Diagnostic, ...]:
    """Build what serves, and look whether the network knows what it names; the latter gives warnings only."""
    rehearsal = _Rehearsal(assembly, tell)
    runner = asyncio.Runner(loop_factory=uvloop.new_event_loop)  # never closed: the process ends
    runner.run(rehearsal.run())
    return tuple(rehearsal.found)


class _Rehearsal:
    """One configuration's rehearsal. What it found grows."""

    def __init__(self, assembly: Assembly, tell: Tell) -> None:
        self._assembly, self._tell = assembly, tell
        self.found: list[Diagnostic] = []

    async def run(self) -> None:
        core, settings = self._assembly.core, self._assembly.settings
        self._tell("the resolver")
        for each in core.nameservers:
            self._made(
                f"`{each}` cannot be asked",
                settings.core_origin("nameservers"),
                partial(Resolver, [str(each)]),
                hint="write the IP address of a DNS server, `192.0.2.53` or `[2001:db8::53]:53`",
            )
        if self.found:
            return  # all that follows would fail by it
        resolver = Resolver([str(each) for each in core.nameservers])
        self._tell("TLS towards the MTA behind")
        self._outbound_tls()
        self._tell("the modules")
        self._modules(Services(core, settings, resolver))
        if self.found:
            return
        self._tell("the server")
        self._made("the server cannot be built", None, Worker(self._assembly).build)
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
        """Make a context of each option alone, so that the one that is wrong is named; then the whole."""
        settings = self._assembly.settings
        for upstream in Router(settings).named():
            policy = upstream.policy
            if policy.tls == "no":
                continue
            before = len(self.found)
            for option, name in _TLS_OPTIONS.items():
                if value := getattr(policy, option):
                    others = {other: OutboundOptions.model_fields[other].default for other in _TLS_OPTIONS}
                    alone = policy.model_copy(update={**others, option: value})
                    origin = _origin(settings, option, value)
                    self._made(f"{name} {value} cannot be used for TLS", origin, partial(context_of, alone))
            if len(self.found) == before:
                origin = _origin(settings, "tls", policy.tls)
                self._made(f"TLS cannot be spoken with {upstream.name}", origin, partial(context_of, policy))

    def _modules(self, services: Services) -> None:
        for loaded, each in zip(self._assembly.settings.modules, self._assembly.prepared, strict=True):
            problem = f"the module {loaded.type} cannot be built"
            self._made(problem, loaded.span, partial(each.offer, services))
            self._made(problem, loaded.span, partial(each.validator, services))


def _origin(settings: Settings, option: str, value: object) -> Span | None:
    """Return where an option has this value; None if that is its default."""
    for place in ((), *settings.scopes.places):
        setting = settings.scopes.get(option, place)
        if setting is not None and setting.value == value:
            return setting.origin
    return None


async def _network(settings: Settings, resolver: Resolver) -> list[Diagnostic]:
    """Look up the hosts behind, all together, and say which have no address, or none in time."""
    owner = TaskOwner("rehearsal")
    named = {
        (route.host, route.by_mx): _origin(settings, "gateway", route)
        for upstream in Router(settings).named()
        for route in upstream.routes
        if not route.is_socket
    }
    looking = {
        spawn(_looked_up(host, resolver, by_mx=by_mx), name=f"look up {host}", owner=owner): (host, origin)
        for (host, by_mx), origin in named.items()
    }
    await owner.wait(NETWORK_SECONDS)
    found = []
    for task, (host, origin) in looking.items():
        problem = task.result() if task.done() else f"no answer within {NETWORK_SECONDS:g} seconds"
        if problem:
            found.append(
                Diagnostic(
                    f"{host} cannot be looked up now: {problem}",
                    origin or settings.core_origin("routes"),
                    hint="mail for it is deferred until it can be; see that Nameservers know it",
                    severity=Severity.WARNING,
                )
            )
    return found


async def _looked_up(host: str, resolver: Resolver, *, by_mx: bool) -> str:
    """Return what is wrong with a host behind; empty if it has an address."""
    try:
        if by_mx:
            await resolver.exchangers(host)
        else:
            await resolver.host_addresses(host)
    except NoSuchDomain:
        return "there is no such host"
    except DnsUnavailable as error:
        return str(error)
    return ""
