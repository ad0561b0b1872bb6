"""The parts that a verifier uses, and the limits that it enforces."""

from __future__ import annotations

from dataclasses import dataclass, field

from config.base.ip import any_holds
from config.schema.values import DomainPatterns, Network
from proxy.callback.cache import CallbackCache
from proxy.callback.limits.budgets import Breakers, Neighbour, Storms
from proxy.callback.manner import ProbeSettings
from proxy.callback.resolve import ExchangerFinder, ExchangerHost
from proxy.store.base import Store


@dataclass(frozen=True, slots=True)
class CallbackLimits:
    """Waiting times in seconds, and how many probes may run."""

    timeout: float
    """For a whole probe."""
    wait: float
    """For the caller."""
    most_probes: int
    most_probes_per_exchanger: int


@dataclass(frozen=True, slots=True)
class Spared:
    """Domains, exchangers and networks that the operator exempts from probes."""

    domains: DomainPatterns = field(default_factory=DomainPatterns)
    exchangers: DomainPatterns = field(default_factory=DomainPatterns)
    networks: tuple[Network, ...] = ()

    def holds(self, host: ExchangerHost) -> bool:
        """Whether an exchanger is exempt."""
        return self.exchangers.matches(host.name) or any(
            any_holds(self.networks, address) for address in host.addresses
        )


@dataclass(frozen=True, slots=True)
class Around:
    """What the verifier works with."""

    finder: ExchangerFinder
    manner: ProbeSettings
    cache: CallbackCache
    store: Store
    neighbour: Neighbour
    breakers: Breakers
    storms: Storms
    spared: Spared = field(default_factory=Spared)
    leases: bool = True
    """Whether other processes ask by the same store, so that each probe needs a lock there. If one of them dies, its
    questions wait until its locks expire."""
