"""A `CallbackVerifier` and all around it, made for a test on a store and a clock of ours, or from a configuration.

By default, there are no limits, every address is probed, and loopback is allowed. `Callbacks(...)` has settings for the
rest. `verifying` runs one before a scripted exchanger that takes the mail of sender.test, other.test and third.test.
`asking` runs the service of a configuration, as an operator writes it.
"""

from __future__ import annotations

import contextlib
import ssl
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from ipaddress import ip_network
from pathlib import Path
from socket import AddressFamily
from typing import cast

from config.schema.values import DomainPatterns, Network
from proxy.app import load
from proxy.callback.around import Around, CallbackLimits, Spared
from proxy.callback.cache import CallbackCache
from proxy.callback.classify import Classifier
from proxy.callback.limits.budgets import Breakers, Budgets, Neighbour, Storms
from proxy.callback.lives import Lives
from proxy.callback.manner import ProbeSettings
from proxy.callback.question import Question
from proxy.callback.resolve import ExchangerFinder
from proxy.callback.service import CallbackService
from proxy.callback.verdict import CallbackVerdict, Status
from proxy.callback.verifier import CallbackVerifier
from proxy.modules.smtp_cbv.making import callbacks_of
from proxy.modules.smtp_cbv.options import SmtpCbvOptions
from proxy.options.throttle import NO_THROTTLE, Throttle
from proxy.store.base import Store
from proxy.store.memory import MemoryStore
from tests.support.exchanger import Exchanger
from tests.support.waiting import eventually
from tests.support.worker import LOOPBACK, Names, resolver

ALICE = "alice@sender.test"
HELO = "ringback.test"
DOMAINS = ("sender.test", "other.test", "third.test")


class Clock:
    """A clock that the test moves."""

    def __init__(self, now: float = 1_000_000.0) -> None:
        self.now = now

    def __call__(self) -> float:
        return self.now


def names_of(*addresses: str) -> Names:
    """Return DNS in which all three domains have exchangers at these addresses, in this order."""
    hosts = {f"mx{number}.test" if number > 1 else "mx.test": [each] for number, each in enumerate(addresses, 1)}
    return Names(mx={domain: [(at, host) for at, host in enumerate(hosts, 1)] for domain in DOMAINS}, hosts=hosts)


def question(address: str = ALICE, sender: str = "") -> Question:
    """Return a question about an address."""
    local_part, _, domain = address.rpartition("@")
    return Question(local_part, domain, sender)


def budgets(
    *,
    per_domain: Throttle = NO_THROTTLE,
    per_exchanger: Throttle = NO_THROTTLE,
    unknown_users: Throttle = NO_THROTTLE,
    per_client: Throttle = NO_THROTTLE,
    share: int = 100,
) -> Budgets:
    """Return budgets without a limit but for those that are named."""
    return Budgets(per_domain, per_exchanger, unknown_users, per_client, share)


def spared(domains: tuple[str, ...] = (), exchangers: tuple[str, ...] = (), networks: tuple[str, ...] = ()) -> Spared:
    """Return who is not to be probed."""
    return Spared(DomainPatterns(domains), DomainPatterns(exchangers), tuple(ip_network(each) for each in networks))


@dataclass
class OpenGate:
    """A `probe.Gate` that admits everybody who has no refusal here, and remembers what it was told."""

    refusals: Mapping[str, str] = field(default_factory=dict)
    asked: list[str] = field(default_factory=list)
    taken: list[str] = field(default_factory=list)
    """Places that were taken, by address, and `done` behind each that was given back."""
    verdicts: list[CallbackVerdict] = field(default_factory=list)
    unknown: int = 0
    """How many users were reported as unknown to an exchanger."""

    async def admits(self, address: str, *, paid: bool) -> str | None:  # noqa: ARG002 — the gate's signature
        self.asked.append(address)
        return self.refusals.get(address)

    @contextlib.asynccontextmanager
    async def place(self, address: str) -> AsyncIterator[None]:
        self.taken.append(address)
        yield
        self.taken.append("done")

    async def heard(self, verdict: CallbackVerdict | None, address: str, admitted: Sequence[str], unknown: int) -> None:
        assert set(admitted) <= set(self.asked)
        self.unknown += unknown
        assert address or not unknown
        if verdict is not None:
            self.verdicts.append(verdict)


@dataclass
class Callbacks:
    """What a verifier is made of. Two with the same `store` and `shared` are two workers, or two machines."""

    port: int = 25
    names: Names = field(default_factory=lambda: names_of("127.0.0.1"))
    clock: Clock = field(default_factory=Clock)
    store: Store | None = None
    """A `MemoryStore` by the clock, unless another is given."""
    shared: bool = False
    secret: bytes = b""
    lives: Lives = field(default_factory=Lives)
    most_remembered: int = 1000

    routes: Mapping[str, str] = field(default_factory=dict)
    allowed: tuple[Network, ...] = (LOOPBACK,)
    unroutable: Status = Status.FAIL
    is_us: Callable[[str], bool] = lambda address: False  # noqa: ARG005 - no address is

    helo: str = HELO
    sender: str = ""
    fallback: str = ""
    null_refused: Status = Status.ERROR
    tls: ssl.SSLContext | None = None
    bind: Mapping[AddressFamily, str] = field(default_factory=dict)
    catchall: bool = False
    classifier: Classifier = field(default_factory=Classifier)

    timeout: float = 10.0
    wait: float = 10.0
    most_probes: int = 1000
    most_probes_per_exchanger: int = 1000
    budgets: Budgets = field(default_factory=budgets)
    breaker_time: float = 0.0
    storm: Throttle = NO_THROTTLE
    spared: Spared = field(default_factory=Spared)

    def around(self) -> Around:
        """Return what a verifier works with; each call makes another worker's."""
        if self.store is None:
            self.store = MemoryStore(self.clock)
        return Around(
            finder=ExchangerFinder(
                resolver(self.names), self.routes, self.allowed, unroutable=self.unroutable, is_us=self.is_us
            ),
            manner=self.manner(),
            cache=self.cache(self.store),
            store=self.store,
            neighbour=Neighbour(self.budgets, self.store),
            breakers=Breakers(self.breaker_time, self.clock),
            storms=Storms(self.storm, self.clock),
            spared=self.spared,
        )

    def manner(self) -> ProbeSettings:
        """Return how everybody is asked."""
        return ProbeSettings(
            helo=self.helo,
            port=self.port,
            classifier=self.classifier,
            tls=self.tls,
            bind=self.bind,
            fallback=self.fallback,
            null_refused=self.null_refused,
            catchall=self.catchall,
        )

    def cache(self, store: Store) -> CallbackCache:
        """Return one worker's cache on a store."""
        return CallbackCache(
            self.lives, store, most=self.most_remembered, shared=self.shared, secret=self.secret, clock=self.clock
        )

    def verifier(self) -> CallbackVerifier:
        """Return a worker's verifier; whoever asks for it closes it."""
        limits = CallbackLimits(self.timeout, self.wait, self.most_probes, self.most_probes_per_exchanger)
        return CallbackVerifier(self.around(), limits, sender=self.sender)


@contextlib.asynccontextmanager
async def running(callbacks: Callbacks) -> AsyncIterator[CallbackVerifier]:
    """Close it at the end."""
    verifier = callbacks.verifier()
    try:
        yield verifier
    finally:
        await verifier.close()


@contextlib.asynccontextmanager
async def verifying(exchanger: Exchanger, **given: object) -> AsyncIterator[CallbackVerifier]:
    """Run a verifier whose domains are all served by one exchanger; `given` are fields of `Callbacks`."""
    settings: dict[str, object] = {"port": exchanger.port, "names": names_of(exchanger.address), **given}
    async with running(Callbacks(**settings)) as verifier:  # type: ignore[arg-type]  # by the names of its fields
        yield verifier


# ---------------------------------------------------------------- from a configuration


@contextlib.asynccontextmanager
async def asking(
    folder: Path,
    *,
    port: int,
    nameserver: str,
    options: Sequence[str] = (),
    listener: str = "127.0.0.1:0",
    allowed: str = "127.0.0.0/8",
) -> AsyncIterator[CallbackService]:
    """Yield what asks exchangers on a port, by further options of `smtp_cbv`; all its connections end with it."""
    others = _connections(port)
    configuration = folder / "ecelerity.conf"
    lines = [
        f"ESMTP_Listener = ( {listener} )",
        'Hostname = "ringback.test"',
        'Gateway = "127.0.0.1"',
        "Relay_Domains = ( recipient.test )",
        f'Nameservers = ( "{nameserver}" )',
        'smtp_cbv "smtp_cbv" {',
        f"  port = {port}",
        f"  allow_networks = ( {allowed} )",
        '  store = "memory"',
        *(f"  {option}" for option in options),
        "}",
    ]
    configuration.write_text("\n".join(lines) + "\n", "utf-8")
    assembly, warnings = load(configuration)
    assert warnings == ()
    (stanza,) = assembly.settings.modules
    callbacks = callbacks_of(cast(SmtpCbvOptions, stanza.options), assembly.core)
    try:
        yield callbacks
    finally:
        await callbacks.close()
        await eventually(lambda: _connections(port) <= others, "its connections are closed")


def _connections(port: int) -> int:
    """Return how many sockets of this machine are connected to a port, or about to be; proc(5) says what is where."""
    lines = [line.split() for name in ("tcp", "tcp6") for line in Path("/proc/net", name).read_text().splitlines()[1:]]
    return sum(fields[2].endswith(f":{port:04X}") and fields[9] != "0" for fields in lines)
