"""With History_Answers: what a script asks outside itself, and the answers, in order.

With these answers and the session, a script can be run again later with the same result.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping

from proxy.history.asked import asked_by
from proxy.mail.session import Session
from proxy.modules.services import Services
from proxy.modules.sieve_policy.counters import ScriptCounters, SessionCounters
from proxy.modules.sieve_policy.datasources import RecordedDatasources, ScriptDatasources
from proxy.modules.sieve_policy.host import SessionConnection, SessionHost, counters_of
from proxy.modules.sieve_policy.lists import SessionLists
from sieve.host import CallbackAnswer
from sieve.phases import Phase
from sieve.shared import Datasources, Duplicates


class RecordingHost(SessionHost):
    """A host that notes its answers. Each is the kind of question, its arguments, and the answer's parts.

    The resolver notes its answers itself.
    """

    __slots__ = ("_asked",)

    def __init__(
        self,
        session: Session,
        services: Services,
        phase: Phase,
        duplicates: Callable[[Session], Duplicates] | None = None,
        counters: ScriptCounters | None = None,
    ) -> None:
        """Begin with no answers."""
        super().__init__(session, services, phase, duplicates, counters)
        self._asked = asked_by(session, phase)

    def note(self, *answer: str | float | None) -> None:
        """Keep an answer, or count it."""
        self._asked.note(*answer)

    def tell(self) -> None:
        """Log the answers since the last time."""
        self._asked.tell()

    def now(self) -> float:
        """Note the clock."""
        found = super().now()
        self.note("clock", found)
        return found

    def random(self, below: int) -> int:
        """Note a random number."""
        found = super().random(below)
        self.note("random", below, found)
        return found

    def callback(self, address: str, sender: str | None) -> CallbackAnswer | Awaitable[CallbackAnswer]:
        """Note a callback's answer, in the order in which answers come."""
        found = super().callback(address, sender)
        if isinstance(found, CallbackAnswer):
            self.note("callback", address, sender, found.status, found.message)
            return found
        return self._called(address, sender, found)

    async def _called(self, address: str, sender: str | None, awaited: Awaitable[CallbackAnswer]) -> CallbackAnswer:
        found = await awaited
        self.note("callback", address, sender, found.status, found.message)
        return found

    def _counting(self) -> SessionCounters:
        """Note what was counted."""
        return SessionCounters(self._session, self._counters or counters_of(self._services), self._phase, self.note)

    @property
    def duplicates(self) -> Duplicates:
        """Note whether a message came before."""
        return _RecordedDuplicates(super().duplicates, self)

    @property
    def datasources(self) -> Datasources:
        """Note what queries find."""
        return RecordedDatasources(ScriptDatasources(self._services.datasources), self.note)

    @property
    def lists(self) -> SessionLists:
        """Note what lists answer."""
        return _RecordedLists(super().lists, self)

    @property
    def connection(self) -> SessionConnection:
        """Note the client's name, which comes from DNS."""
        return _RecordedConnection(self._session, self._services, self)


class _RecordedDuplicates:
    __slots__ = ("_duplicates", "_host")

    def __init__(self, duplicates: Duplicates, host: RecordingHost) -> None:
        self._duplicates, self._host = duplicates, host

    async def is_known(self, digest: str) -> bool:
        known = await self._duplicates.is_known(digest)
        self._host.note("duplicate", digest, known)
        return known

    def remember(self, digests: Mapping[str, float]) -> None:
        self._duplicates.remember(digests)

    async def renew(self, digest: str, seconds: float) -> None:
        await self._duplicates.renew(digest, seconds)


class _RecordedLists(SessionLists):
    __slots__ = ("_host",)

    def __init__(self, lists: SessionLists, host: RecordingHost) -> None:
        super().__init__(lists.all, lists.found)
        self._host = host

    def holds(self, name: str, address: str) -> bool:
        found = super().holds(name, address)
        self._host.note("list", name, address, found)
        return found

    def value(self, name: str, address: str) -> str:
        found = super().value(name, address)
        self._host.note("list", name, address, found)
        return found

    def reason(self, name: str, address: str) -> str:
        found = super().reason(name, address)
        self._host.note("list", name, address, found)
        return found


class _RecordedConnection(SessionConnection):
    __slots__ = ("_host",)

    def __init__(self, session: Session, services: Services, host: RecordingHost) -> None:
        super().__init__(session, services)
        self._host = host

    async def client_name(self) -> str:
        found = await super().client_name()
        self._host.note("client_name", found)
        return found
