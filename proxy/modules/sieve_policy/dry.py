"""A script's view of a session in a dry run: it answers from what is at hand, and changes nothing."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

from proxy.callback.service import CallbackService, record
from proxy.counting.operations import Operation
from proxy.datasource.parameters import Parameters
from proxy.datasource.sources import Datasources
from proxy.lists.entries import Entry
from proxy.mail.session import Session
from proxy.modules.base import Verdicts
from proxy.modules.services import Services
from proxy.modules.sieve_policy.counters import ScriptCounters, SessionCounters
from proxy.modules.sieve_policy.datasources import ScriptDatasources
from proxy.modules.sieve_policy.effects import ONE_RECIPIENT, NoDuplicates, SessionControl
from proxy.modules.sieve_policy.host import SessionConnection, SessionHost, counters_of
from proxy.modules.sieve_policy.lists import SessionLists
from sieve.host import CallbackAnswer, DnsAnswer
from sieve.phases import Phase
from sieve.run.values import ScriptError
from sieve.shared import Found, ListDefinition

A = TypeVar("A")
T = TypeVar("T")


class DryControl(SessionControl):
    """A session's control that writes no file."""

    __slots__ = ()

    async def write_line(self, path: str, line: str) -> None:
        """Write nothing."""


class DryConnection(SessionConnection):
    """A connection whose client's name was not looked up."""

    __slots__ = ("_unknown",)

    def __init__(self, session: Session, services: Services, unknown: list[str]) -> None:
        """Note in `unknown` what was asked for."""
        super().__init__(session, services)
        self._unknown = unknown

    async def client_name(self) -> str:
        """Say that it is not known. Raises ScriptError."""
        raise _missing(self._unknown, "the client's host name: it is not looked up here")


class DryDuplicates(NoDuplicates):
    """The messages that `duplicate` remembers, in a run that looks nothing up."""

    def __init__(self, unknown: list[str]) -> None:
        """Note in `unknown` what was asked for."""
        self._unknown = unknown

    async def is_known(self, digest: str) -> bool:  # noqa: ARG002 — as always
        """Say that it is not known. Raises ScriptError."""
        raise _missing(self._unknown, "whether `duplicate` knows the message: the store is not asked here")


class DryCounters(SessionCounters):
    """What scripts count, in a run that counts nothing."""

    __slots__ = ("_unknown",)

    def __init__(self, session: Session, counters: ScriptCounters, unknown: list[str]) -> None:
        """Note in `unknown` what was asked for."""
        super().__init__(session, counters)
        self._unknown = unknown

    def _tell(self, operation: Operation[Any]) -> None:
        """Count nothing."""

    def _asked(self, operation: Operation[A], make: Callable[[A], T], *about: str) -> T:  # noqa: ARG002 — as always
        """Say that it is not known. Raises ScriptError."""
        raise _missing(self._unknown, f"what is counted ({' '.join(about) or 'a throttle'}): it is not looked up here")


class DryDatasources(ScriptDatasources):
    """Datasources that are not asked: only results that are kept answer."""

    __slots__ = ("_notes", "_unknown")

    def __init__(self, sources: Datasources, unknown: list[str], notes: list[str]) -> None:
        """Note in `unknown` what was asked for, and in `notes` what would be changed."""
        super().__init__(sources)
        self._unknown, self._notes = unknown, notes

    def fetch(self, name: str, query: str, parameters: Parameters) -> Found:
        """Return a result that is kept. Raises ScriptError if there is none."""
        found = self.kept(name, query, parameters)
        if found is None:
            raise _missing(self._unknown, f"what datasource {name} answers to {query}: it is not queried here")
        return found

    async def execute(self, name: str, query: str, parameters: Parameters) -> Found:
        """Change nothing."""
        self.kept(name, query, parameters)  # the datasource must exist
        self._notes.append(f"would execute at {name}: {query}")
        return Found()


class DryLists(SessionLists):
    """Lists, in a run that loads none."""

    __slots__ = ("_unknown",)

    def __init__(self, lists: SessionLists, unknown: list[str]) -> None:
        """Add to `unknown` what is not loaded."""
        super().__init__(lists.all, lists.found)
        self._unknown = unknown

    def define(self, given: ListDefinition) -> None:
        """Take a list that a session has defined before. Raises ScriptError."""
        name = given.get("cidrname", "")
        if name not in self.all.cidr:
            raise _missing(self._unknown, f"list {name}: no session has defined it yet")

    async def reload(self, name: str) -> None:
        """Load nothing."""


class DryHost(SessionHost):
    """Answers a script from what is at hand. `unknown` gets what is not."""

    __slots__ = ("_verdicts", "notes", "unknown")

    def __init__(self, session: Session, services: Services, phase: Phase, verdicts: Verdicts) -> None:
        """`verdicts` are those that the keeper has cached."""
        super().__init__(session, services, phase)
        self._verdicts = verdicts
        self.unknown: list[str] = []
        self.notes: list[str] = []

    @property
    def connection(self) -> DryConnection:
        """The connection."""
        return DryConnection(self._session, self._services, self.unknown)

    @property
    def duplicates(self) -> DryDuplicates:
        """The messages that `duplicate` knows."""
        return DryDuplicates(self.unknown)

    @property
    def datasources(self) -> DryDatasources:
        """The databases and directories."""
        return DryDatasources(self._services.datasources, self.unknown, self.notes)

    @property
    def counters(self) -> DryCounters:
        """What scripts count together."""
        return DryCounters(self._session, counters_of(self._services), self.unknown)

    @property
    def control(self) -> DryControl:
        """The session and the server."""
        return DryControl(self._session, self._services.configuration)

    def callback(self, address: str, sender: str | None) -> CallbackAnswer:
        """Answer from the caches. Raises ScriptError if they have nothing."""
        callbacks = self._services.callbacks
        found = None
        if isinstance(callbacks, CallbackService):
            found = callbacks.foretell(self._session, address, sender, recipient=self._phase in ONE_RECIPIENT)
            found = found or (self._verdicts.get(address) if sender is None else None)
        if found is None:
            raise _missing(self.unknown, f"the callback's verdict on {address}: not cached")
        told = callbacks.as_told(found) if isinstance(callbacks, CallbackService) else found
        record(self._session.transaction, told)
        self.notes.append(f"callback {address}: {told.status.value} ({told.reason})")
        return CallbackAnswer(str(told.status), told.message)

    async def resolve(self, name: str, record: str, server: str | None) -> DnsAnswer:  # noqa: ARG002 — no look-up
        """Look nothing up. Raises ScriptError."""
        raise _missing(self.unknown, f"DNS {record.upper()} {name}: not looked up here")

    async def greylisted(self, name: str) -> float:
        """Ask nothing, because that would be an attempt. Raises ScriptError."""
        raise _missing(self.unknown, f"the greylist {name}: a look would be an attempt")

    async def tarpit(self, seconds: float) -> None:
        """Note the delay."""
        self.notes.append(f"would wait {seconds:g} s")

    @property
    def lists(self) -> DryLists:
        """Lists, which are only asked."""
        return DryLists(super().lists, self.unknown)

    def _listed(self, entry: Entry) -> None:
        """Note the entry."""
        self.notes.append(f"{entry.network} is in list {entry.list}: {entry.reason}")

    def log(self, text: str) -> None:
        """Write nothing."""

    def count(self, counter: str, code: int) -> None:
        """Count nothing."""

    def script_failed(self, script: str, line: int, reason: str) -> None:
        """Note where the script failed, which may be because something is unknown."""
        self.notes.append(f"{script}:{line}: {reason}")


def _missing(unknown: list[str], what: str) -> ScriptError:
    unknown.append(what)
    return ScriptError(what)
