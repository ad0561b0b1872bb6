"""One worker: an event loop that serves the listeners, with a resolver, a pool of next-hop connections and the modules.

Starting binds first and serves last. Stopping goes in reverse: no new clients, 421 to those between commands, the
others finish, then the rest are closed.
"""

from __future__ import annotations

import asyncio
import socket
from array import array
from collections.abc import Callable, Coroutine, Mapping, Sequence
from functools import partial
from typing import Any, Protocol, TypeAlias, cast

from config.scopes.listener import Listener
from proxy.base.log import get_logger
from proxy.base.tasks import TaskOwner, spawn
from proxy.callback.service import CallbackService
from proxy.callback.verifier import CallbackVerifier
from proxy.counting.leases import Leases
from proxy.counting.memory import MemoryCounting
from proxy.datasource.sources import Datasources
from proxy.dns.resolver import Resolver
from proxy.history.asked import noted
from proxy.history.settings import is_on
from proxy.keeper.door import Calling, Doors
from proxy.keeper.only import OnlyCounting, counts_itself
from proxy.lists.listed import Lists
from proxy.metrics.book import BOOK
from proxy.metrics.table import CONNECTIONS, LETTERS, OLDEST, OPEN_SESSIONS, TRACKED
from proxy.modules.services import Background, Services, Stores
from proxy.modules.sieve_policy.lists import rows_of
from proxy.options.throttle import Buckets
from proxy.outbox.deliver import Deliverer
from proxy.outbox.file import Bounds, exists
from proxy.outbox.outbox import SessionOutbox
from proxy.outbox.store import OutboxStore
from proxy.server.assembly import Assembly
from proxy.server.sockets import OWN_FILES, bind, compare_open_files
from proxy.smtp.commands.verbs import VERBS
from proxy.smtp.counting import know_stanzas
from proxy.smtp.entrance import Entrance
from proxy.smtp.guesses import Guesses
from proxy.smtp.hooks import hooks_of
from proxy.smtp.pipeline import PhasePipeline
from proxy.smtp.ports import Front
from proxy.smtp.protocol import SmtpProtocol
from proxy.smtp.running import Sessions
from proxy.smtp.said import Allowance
from proxy.smtp.shared import SharedLimits
from proxy.upstream.credentials import CredentialChecker
from proxy.upstream.pools import Pools
from proxy.upstream.relay import UpstreamRelay
from proxy.upstream.routes import Router

log = get_logger()

WARM_SECONDS = 2.0
"""Longest wait for the next hops' EHLO replies before clients are accepted; our EHLO offers what theirs do."""

CHANGE_SECONDS = 1.0
"""The same before new sessions are served under a setting of the console that names another next hop."""

DRAIN_SECONDS = 20.0
"""Seconds for sessions to finish their command when Ringback stops. Clients that stall in a message are cut."""

DRAIN_GRACE = 5.0
"""Seconds after the longest wait for the next hop until a session that has not ended is closed."""


class Tenured(Protocol):
    """What makes the only worker the keeper: `proxy.keeper.tenure.Tenure`."""

    async def begin(self) -> None:
        """Take over, and answer."""
        ...

    def retire(self) -> None:
        """Leave the doors to others."""
        ...

    async def end(self) -> None:
        """Answer no more."""
        ...


Tenures: TypeAlias = Callable[[Doors, OnlyCounting, CallbackVerifier | None], Tenured]


class Worker:
    """Serves one assembly on the running event loop."""

    def __init__(
        self,
        assembly: Assembly,
        calling: Calling | None = None,
        generation: int = 0,
        tenures: Tenures | None = None,
    ) -> None:
        """Take the assembly, and the way to the keeper if there is one; nothing is bound or connected yet.

        `generation` numbers the configuration's file as it was loaded; `tenures` makes the only worker the keeper.
        """
        self.generation, self._tenures = generation, tenures
        self.assembly, self._calling = assembly, calling
        self._core = assembly.core
        self._bound: list[tuple[socket.socket, Listener]] = []
        self._servers: list[asyncio.Server] = []
        self._sessions = Sessions()
        self._stores, self.background = Stores(), Background()
        self._stopping = False

    @property
    def addresses(self) -> list[tuple[str, int]]:
        """The addresses listened on, with the real port if 0 was configured."""
        return [each.getsockname()[:2] for each, _ in self._bound]

    @property
    def descriptors_wanted(self) -> int:
        """Open files that the configured limits allow. Clients without a limit are not counted."""
        core = self._core
        upstream = core.max_outbound_connections * len(self.router.named())
        return (
            core.service_sessions
            + min(upstream, core.server_max_outbound_connections)
            + self.callbacks.most_probes
            + self.datasources.most_connections
            + OWN_FILES
        )

    async def start(self, bound: Sequence[tuple[socket.socket, Listener]] | None = None) -> None:
        """Bind, build, and serve. If `bound` is given, serve these sockets and bind none.

        Raises:
            CannotListen: an address cannot be bound.
        """
        if bound is None:
            self._bind()
        else:
            self._bound += bound
        self.build()
        await self.counting.start()
        self.background.start()
        await self.pools.warm(self.router.named(), WARM_SECONDS)
        if self._tenure is not None:
            await self._tenure.begin()
        loop = asyncio.get_running_loop()
        self.entrances = self._make_entrances(self.assembly)
        self.lists.declared = _lists_of(self.assembly, self.entrances)
        _load_certificates(self.entrances)
        for each, listener in self._bound:
            # create_server listens (maybe again), so it needs the backlog
            make = partial(SmtpProtocol, self.front, self.entrances[str(listener)])
            self._servers.append(await loop.create_server(make, sock=each, backlog=listener.backlog))
        if exists(self._core.state_directory):  # deliver what an earlier run left, even if the configuration changed
            self.deliverer.start()
        log.info(
            "listening",
            addresses=[f"{host}:{port}" for host, port in self.addresses],
            upstream=self.router.default.name,
        )

    def build(self) -> None:
        """Build everything that serves, on the running loop. Binds, connects and writes nothing."""
        core = self._core
        self._resolver = Resolver([str(each) for each in core.nameservers])
        self.router = Router(self.assembly.settings)
        self.counting = self.assembly.counting(self._calling)
        self.counts_itself = counts_itself(self.counting)
        self._rates = self.counts_itself.buckets if isinstance(self.counts_itself, MemoryCounting) else None
        sharing = None if self._rates is not None else self.counting
        self._limits = SharedLimits(self.counting)
        self._shared = None if sharing is None else self._limits
        self.pools = Pools(self._resolver, core.server_max_outbound_connections, sharing)
        self._open_outbox()
        self.callbacks = self.assembly.callbacks(self.pools.all_down, self._calling)
        self._tenure = self._make_tenure()
        self.datasources = Datasources(core.datasource)
        self.lists = Lists(core.state_directory, rows=rows_of(self.datasources))
        know_stanzas({each.name: each.type for each in self.assembly.settings.modules})
        services = self._services(self.assembly)
        self._credentials = CredentialChecker(self.router, self._resolver, self.datasources, core.login_schemes)
        self._authenticator = Guesses(self._credentials, shared=self._limits)
        self.front = self._front_for(self.assembly, self.router, services)
        self.pipeline = cast(PhasePipeline, self.front.pipeline)
        BOOK.sample(self._look)

    def _make_tenure(self) -> Tenured | None:
        """Make what the only worker has of a keeper."""
        doors = self._calling.doors if self._calling is not None else None
        if self._tenures is None or doors is None or not isinstance(self.counting, OnlyCounting):
            return None
        if self._rates is not None:
            self.counting.paused = lambda: self.front.share(self._limits)
            self.counting.resumed = lambda: self.front.count_alone(self._limits)
        verifier = self.callbacks.verifier if isinstance(self.callbacks, CallbackService) else None
        asks = verifier if isinstance(verifier, CallbackVerifier) else None
        return self._tenures(doors, self.counting, asks)

    def _elsewhere(self) -> Leases | None:
        """Return where the places of the workers before this one are, if it is the only one and follows them."""
        doors = self._calling.doors if self._calling is not None else None
        own = self.counts_itself
        return own.leases if doors is not None and doors.predecessor and isinstance(own, MemoryCounting) else None

    def _services(self, assembly: Assembly) -> Services:
        """Return what the modules of a configuration are built with. All but the configuration is the worker's."""
        return Services(
            assembly.core,
            assembly.settings,
            self._resolver,
            self.callbacks,
            self._outbox,
            self._stores,
            self.counting,
            background=self.background,
            lists=self.lists,
            datasources=self.datasources,
        )

    def _look(self) -> None:
        """Write what is true now into the gauges."""
        counts, front, totals = BOOK.counts, self.front, self.outbox_store.totals
        counts[CONNECTIONS.base] = front.connections
        counts[TRACKED.base] = len(front.rates)
        counts[LETTERS.base], counts[OLDEST.base] = totals.letters, int(totals.oldest)
        states = memoryview(bytes(8 * OPEN_SESSIONS.size)).cast("q").tolist()
        for live in front.live:
            dialogue = live.dialogue
            state = 2 if dialogue.content is not None else 1 if live.pending is not None else 0
            states[dialogue.entrance.number * 3 + state] += 1  # idle, busy, within a message
        counts[OPEN_SESSIONS.base : OPEN_SESSIONS.base + OPEN_SESSIONS.size] = memoryview(array("q", states))
        self.pools.look()

    def _make_entrances(self, assembly: Assembly, before: Mapping[str, Entrance] | None = None) -> dict[str, Entrance]:
        """Make the entrance of each address that is bound, by the address."""
        listeners = {str(each): each for each in assembly.core.esmtp_listener}
        names = dict.fromkeys(str(listener) for _, listener in self._bound)
        return {name: Entrance(listeners[name], assembly.settings, (before or {}).get(name)) for name in names}

    # ------------------------------------------------------------ settings from the console

    async def prepare(self, assembly: Assembly) -> Callable[[], None]:
        """Build what new sessions need under a changed configuration; return what turns to it, which cannot fail."""
        router = Router(assembly.settings)
        front = self._front_for(assembly, router, self._services(assembly))
        entrances = self._make_entrances(assembly, self.entrances)
        await asyncio.to_thread(_load_certificates, entrances)  # their files may be slow
        await self.pools.warm_new(router.named(), CHANGE_SECONDS)
        return partial(self._turn_to, assembly, router, front, entrances)

    def _turn_to(self, assembly: Assembly, router: Router, front: Front, entrances: Mapping[str, Entrance]) -> None:
        """Serve new sessions by a changed configuration. Running sessions keep the settings that they began with."""
        self.assembly, self._core, self.router = assembly, assembly.core, router
        pipeline = cast(PhasePipeline, front.pipeline)
        pipeline.operate_as(self.pipeline)
        self.pipeline = pipeline
        kept = {each: each.turn_to(entrances[name]) for name, each in self.entrances.items()}
        self.front.turn_to(front, kept)
        self.pools.name(router.named())
        self._credentials.turn_to(router, assembly.core.login_schemes)
        self.datasources.turn_to(assembly.core.datasource)
        self.deliverer.turn_to(router)
        assembly.govern(self.callbacks)
        self.lists.declared = _lists_of(assembly, entrances)

    def _bind(self) -> None:
        try:
            for listener in self._core.esmtp_listener:
                if listener.enabled:
                    self._bound += [(each, listener) for each in bind(listener)]
        except BaseException:
            self._close_sockets()
            raise

    def compare_open_files(self, most: int) -> None:
        """Log how many files the process may open, and how many the configured limits need."""
        compare_open_files(self.descriptors_wanted, most)

    def _open_outbox(self) -> None:
        """Make the outbox. Its file is opened or created with the first message."""
        core = self._core
        self.outbox_store = OutboxStore(
            core.state_directory, bounds=Bounds(core.outbox_size, core.outbox_letters), key_file=core.letter_key
        )
        self.deliverer = Deliverer(self.outbox_store, self.router, self.pools, core.hostname)
        self._outbox = SessionOutbox(self.outbox_store, self.deliverer.wake)

    def _front_for(self, assembly: Assembly, router: Router, services: Services) -> Front:
        core, pools = assembly.core, self.pools
        validators = [each for one in assembly.prepared if (each := one.validator(services)) is not None]
        return Front(
            settings=core,
            verbs=VERBS,
            pipeline=PhasePipeline(validators, noted if core.history_answers and is_on(core) else None),
            hooks=hooks_of(validators),
            open_relay=lambda session: UpstreamRelay(router, pools, session),
            capabilities=pools.capabilities,
            session_ended=pools.forget,
            authenticator=self._authenticator,
            sessions=self._sessions,
            outbox=self._outbox,
            lists=self.lists,
            dialogues=Allowance() if is_on(core) else None,
            counting=self.counting,
            shared=self._shared,
            elsewhere=self._elsewhere(),
            rates=Buckets() if self._rates is None else self._rates,
        )

    async def stop(self, *, now: bool = False, reloaded: bool = False) -> None:
        """Accept no more clients and end the sessions: those between commands now, the others when they are done.

        With `now`, cut them. In both cases, wait for a message whose final dot was sent to the next hop, unless `stop`
        is called a second time. `reloaded`: another worker has taken over, and clients are told so.
        """
        for server in self._servers:
            server.close()
        self._servers.clear()
        again, self._stopping = self._stopping, True
        for front in self.front.in_use:
            front.stopping, front.reloaded = True, reloaded
        log.info("stopping", sessions=len(self._sessions), now=now)
        for conversation in tuple(self.front.live):
            conversation.drain()
        if not again and not await self._sessions.wait(0.0 if now else DRAIN_SECONDS):
            # Sessions that have not sent our dot by now are cut: their clients keep the message.
            for conversation in tuple(self.front.live):
                conversation.cut()
            await self._sessions.wait(self._core.body_timeout + DRAIN_GRACE)
        await self._sessions.cancel()
        if again:
            return
        if self._tenure is not None:
            await self._tenure.end()
        await self.callbacks.close()
        await self.background.close()
        await self._stores.close()
        await self.lists.close()
        await self.datasources.close()
        await self.deliverer.stop()
        await self._outbox.close()
        await self.outbox_store.close()
        self._credentials.close()
        await self.pools.close()
        await self._limits.close()
        await self.counting.close()
        await self._resolver.close()
        self._close_sockets()
        self.front.checks.tell()
        log.info("stopped")

    async def finish(self, cut: Coroutine[Any, Any, object], *, reloaded: bool = False) -> None:
        """Stop, and wait for the remaining sessions. When `cut` returns, cut them."""
        if reloaded and self._tenure is not None:
            self._tenure.retire()
        owner = TaskOwner("finish")
        draining = spawn(self.stop(reloaded=reloaded), name="drain", owner=owner)
        cutting = spawn(cut, name="cut", owner=owner)
        await asyncio.wait((draining, cutting), return_when=asyncio.FIRST_COMPLETED)
        if not draining.done():
            await self.stop(now=True)
        cutting.cancel()
        await draining
        await owner.cancel()

    def _close_sockets(self) -> None:
        for each, _ in self._bound:
            each.close()
        self._bound.clear()


def _lists_of(assembly: Assembly, entrances: Mapping[str, Entrance]) -> frozenset[str]:
    """Return the names of lists that the configuration has."""
    every = [options.refuse_lists for entrance in entrances.values() for options in entrance.every_options()]
    return frozenset([*assembly.core.client_lists, *(name for names in every for name in names)])


def _load_certificates(entrances: Mapping[str, Entrance]) -> None:
    for each in entrances.values():
        each.load_certificates()
