"""The `Services` that a worker gives its modules, each a protocol.

No service is ever None. If no module makes callbacks, or there is no outbox, an object reports that.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

from config.settings import Settings
from proxy.base.tasks import TaskOwner
from proxy.callback.verdict import CallbackVerdict, Status
from proxy.counting.base import Counting
from proxy.counting.memory import MemoryCounting
from proxy.counting.operations import Greylist, Seen
from proxy.datasource.sources import Datasources
from proxy.dns.answers import Value
from proxy.dns.remembered import Remembered
from proxy.lists.listed import Lists
from proxy.mail.session import Path, Session
from proxy.options.core import CoreOptions
from proxy.options.store import StoreUrl
from proxy.smtp.ports import Outbox, OutboxUnavailable
from proxy.store.base import Store
from sieve.shared import Soon


class Names(Protocol):
    """Looks names up."""

    async def lookup(self, name: str, record_type: str, server: str | None = None) -> tuple[str, list[str]]:
        """Return the status (SUCCESS, the name of an RCODE, or TIMEOUT) and the records in text form."""
        ...

    async def records(self, name: str, record_type: str) -> Sequence[Value]:
        """Return the data of the records of one type. Raises NoSuchDomain or DnsUnavailable."""
        ...

    async def name_of(self, address: str) -> str | None:
        """Return a host name of an address that leads back to it, or None."""
        ...


class Callbacks(Protocol):
    """Asks mail exchangers whether addresses exist. Never raises: a failure is a verdict."""

    @property
    def most_probes(self) -> int:
        """Concurrent conversations, each of which holds a socket."""
        ...

    def ask(
        self, session: Session, address: str, sender: str | None = None
    ) -> CallbackVerdict | Awaitable[CallbackVerdict]:
        """Return the verdict for a session, at once if it is at hand; set its transaction's context variables."""
        ...

    def ask_for_recipient(
        self, session: Session, address: str, sender: str | None = None
    ) -> CallbackVerdict | Awaitable[CallbackVerdict]:
        """Do the same for the current recipient."""
        ...

    async def close(self) -> None:
        """End what is under way."""
        ...


class Looked(Protocol):
    """What a phase has asked before."""

    def seen(self, attempt: Greylist) -> Seen | None:
        """Return what a look has found about an attempt; None if there was no look, or no answer yet."""
        ...


class Greylisting(Protocol):
    """Decides about first attempts."""

    def wait_for(self, session: Session, recipients: Sequence[Path], ahead: Looked | None = None) -> Soon[float]:
        """Return for how many seconds mail for the recipients is deferred; 0 if it passes. Each counts as an attempt.

        `ahead` knows what was asked before.

        Raises:
            CountingUnavailable: no answer, and `on_store_error = defer`. A coroutine raises it, too.
        """
        ...

    def look(self, session: Session) -> Greylist | None:
        """Return a question whether the current recipient's mail would pass, which does not count; None: not needed.

        A script asks it together with its earlier questions.
        """
        ...


class NoCallbacks:
    """The callbacks if no loaded module asks exchangers."""

    most_probes = 0

    def ask(self, *_asked: object) -> CallbackVerdict:
        """Return an error: callbacks are not available."""
        return CallbackVerdict(Status.ERROR, "not_loaded", "smtp_cbv is not loaded")

    ask_for_recipient = ask

    async def close(self) -> None:
        """Nothing is under way."""


class NoOutbox:
    """Stores nothing: there is no server to deliver it."""

    async def commit(self, *_kept: object) -> None:
        """Refuse. Raises OutboxUnavailable."""
        raise OutboxUnavailable

    async def hold(self, *_kept: object) -> None:
        """Refuse. Raises OutboxUnavailable."""
        raise OutboxUnavailable

    async def release(self, session: Session) -> None:
        """Nothing was held."""

    def drop(self, session: Session) -> None:
        """Nothing was held."""


class Stores:
    """The stores of one worker's modules.

    Each is opened once, at its first use, even if a setting of the console makes the modules again.
    """

    __slots__ = ("_opened",)

    def __init__(self) -> None:
        """Open nothing yet."""
        self._opened: dict[StoreUrl, Store] = {}

    def of(self, url: StoreUrl, open_one: Callable[[StoreUrl], Store]) -> Store:
        """Return the store of a URL, opened if it is not yet."""
        if url not in self._opened:
            self._opened[url] = open_one(url)
        return self._opened[url]

    async def close(self) -> None:
        """Close them all."""
        for each in self._opened.values():
            await each.close()
        self._opened.clear()


class Background:
    """What the modules of one worker do in the background, even if a setting rebuilds the modules."""

    __slots__ = ("_is_serving", "_lookups", "_waiting", "owner")

    def __init__(self) -> None:
        """Nothing runs before the worker serves."""
        self.owner = TaskOwner("modules")
        """Of the modules' tasks."""
        self._lookups: Remembered | None = None
        self._waiting: list[Callable[[], None]] = []
        self._is_serving = False

    def lookups(self, resolver: Names) -> Remembered:
        """Return the memory of look-ups."""
        if self._lookups is None:
            self._lookups = Remembered(resolver)
        return self._lookups

    @property
    def remembered(self) -> Remembered | None:
        """The memory of look-ups, if a module uses it."""
        return self._lookups

    def when_serving(self, begin: Callable[[], None]) -> None:
        """Call `begin` when the worker serves: a rehearsal builds modules, too, and must not ask strangers."""
        if self._is_serving:
            begin()
        else:
            self._waiting.append(begin)

    def start(self) -> None:
        """The worker serves."""
        self._is_serving = True
        waiting, self._waiting = self._waiting, []
        for begin in waiting:
            begin()

    async def close(self) -> None:
        """Cancel all tasks."""
        await self.owner.cancel()
        if self._lookups is not None:
            await self._lookups.close()


@dataclass(frozen=True, slots=True)
class Services:
    """What the modules of one worker are built with."""

    settings: CoreOptions
    configuration: Settings
    resolver: Names
    callbacks: Callbacks = field(default_factory=NoCallbacks)
    outbox: Outbox = field(default_factory=NoOutbox)
    stores: Stores = field(default_factory=Stores)
    """What the modules keep in stores. The worker closes them when it has stopped."""
    counting: Counting = field(default_factory=MemoryCounting)
    datasources: Datasources = field(default_factory=Datasources)
    background: Background = field(default_factory=Background)
    """What the modules do in the background. The worker starts and ends it."""
    lists: Lists | None = None
    """The lists of networks that scripts ask."""
    greylists: dict[str, Greylisting] = field(default_factory=dict)
    """The `greylist` stanzas by name, for scripts."""

    given: dict[str, list[Any]] = field(default_factory=dict)
    """What modules give to the functions of scripts: the name of a type of stanza → one object for each."""

    @property
    def lookups(self) -> Remembered:
        """The resolver with a memory, for checks of mail."""
        return self.background.lookups(self.resolver)


def monitors_of(configuration: Settings) -> list[tuple[int, int]]:
    """Return seconds and number of the windows of the last `inbound_audit` stanza."""
    found = [each.options for each in configuration.modules if each.type == "inbound_audit"]
    return [(each.interval, each.number) for each in getattr(found[-1], "monitors", ())] if found else []
