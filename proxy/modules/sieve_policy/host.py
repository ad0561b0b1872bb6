"""A script's view of a live session: `sieve.World` over the session, its transaction and the worker's services."""

from __future__ import annotations

import asyncio
import secrets
import time
from collections.abc import Awaitable, Callable, Mapping, MutableMapping, Sequence
from types import CoroutineType

from proxy.base.log import get_logger, printable
from proxy.callback.verdict import CallbackVerdict
from proxy.counting.base import CountingUnavailable
from proxy.lists.entries import Entry
from proxy.mail.message import Message
from proxy.mail.session import Letter, Session
from proxy.metrics.book import BOOK
from proxy.modules.services import Services, monitors_of
from proxy.modules.sieve_policy.counters import ScriptCounters, SessionCounters
from proxy.modules.sieve_policy.datasources import ScriptDatasources
from proxy.modules.sieve_policy.effects import ONE_RECIPIENT, NoDuplicates, SessionControl, SessionEnvelope, SessionMail
from proxy.modules.sieve_policy.lists import SessionLists
from proxy.smtp.listed import tell
from sieve.host import CallbackAnswer, ConnectionEnd, DnsAnswer
from sieve.message.bounces import joined
from sieve.phases import Phase
from sieve.run import reasons
from sieve.run.values import ScriptError
from sieve.settings import BounceRules
from sieve.shared import Datasources, Duplicates, Soon

log = get_logger()

LONGEST_LOG = 1972
"""Characters of ec_log's text that are written, as in the manual."""


def counters_of(services: Services) -> ScriptCounters:
    """Return what a worker's scripts count with."""
    return ScriptCounters(services.counting, services.settings, monitors_of(services.configuration))


class SessionHost:
    """One phase of one session. Its only state is the letters of a run; the session has the rest."""

    __slots__ = ("_asking", "_counters", "_duplicates", "_phase", "_services", "_session", "letters")

    def __init__(
        self,
        session: Session,
        services: Services,
        phase: Phase,
        duplicates: Callable[[Session], Duplicates] | None = None,
        counters: ScriptCounters | None = None,
    ) -> None:
        """Look at the session in a phase. Without `duplicates` no message came before."""
        self._counters = counters
        self._asking: SessionCounters | None = None
        self._session, self._services, self._phase, self._duplicates = session, services, phase, duplicates
        self.letters: list[Letter] = []

    # ------------------------------------------------------------ what is known

    @property
    def sender(self) -> str:
        """The reverse-path, empty for the null sender."""
        return self._session.transaction.reverse_path.text

    @property
    def recipients(self) -> Sequence[str]:
        """The current recipient, or all accepted so far."""
        current = self._session.current_recipient
        if self._phase in ONE_RECIPIENT and current is not None:
            return (current.destination.text,)
        return [path.text for path in self._session.transaction.destinations]

    @property
    def message(self) -> Message | None:
        """The header section, from the data phase on."""
        return self._session.transaction.message

    @property
    def content(self) -> Message | None:
        """The whole message, if a script declares that it reads it."""
        return self._session.transaction.message

    @property
    def edits(self) -> Message:
        """Changes to the message. Scripts that make them run only when there is one."""
        message = self._session.transaction.message
        if message is None:
            raise RuntimeError("no message yet: the phases of this function forbid it")
        return message

    @property
    def vctx_conn(self) -> MutableMapping[str, str]:
        """The connection's context."""
        return self._session.context

    @property
    def vctx_mess(self) -> MutableMapping[str, str]:
        """The message's context."""
        return self._session.transaction.context

    @property
    def connection(self) -> SessionConnection:
        """The connection."""
        return SessionConnection(self._session, self._services)

    @property
    def transaction(self) -> SessionTransaction:
        """The transaction."""
        return SessionTransaction(self._session)

    def now(self) -> float:
        """Return the wall clock, in seconds since 1970."""
        return time.time()

    def random(self, below: int) -> int:
        """Return an unpredictable random integer."""
        return secrets.randbelow(below)

    # ------------------------------------------------------------ what is done

    @property
    def envelope(self) -> SessionEnvelope:
        """Changes to the envelope."""
        return SessionEnvelope(self._session, one=self._phase in ONE_RECIPIENT)

    @property
    def mail(self) -> SessionMail:
        """Messages that the script makes."""
        return SessionMail(self._session, self.letters)

    @property
    def duplicates(self) -> Duplicates:
        """The messages that `duplicate` knows."""
        return NoDuplicates() if self._duplicates is None else self._duplicates(self._session)

    @property
    def datasources(self) -> Datasources:
        """The databases and directories."""
        return ScriptDatasources(self._services.datasources)

    @property
    def lists(self) -> SessionLists:
        """Lists of networks."""
        lists = self._services.lists
        if lists is None:
            raise ScriptError("there are no lists here")
        return SessionLists(lists, self._listed)

    async def bounce_rules(self) -> BounceRules:
        """Return the rules of the stanzas of bounce_classifier, in their order."""
        found = [await each() for each in self._services.given.get("bounce_classifier", ())]
        return found[0] if len(found) == 1 else joined(found)

    async def listed_links(self) -> Mapping[str, Sequence[str]]:
        """Return what the stanzas of url_ripper find."""
        found: dict[str, list[str]] = {}
        for each in self._services.given.get("url_ripper", ()):
            for key, names in (await each(self._session)).items():
                found.setdefault(key, []).extend(names)
        return found

    def _listed(self, entry: Entry) -> None:
        tell(self._session.id, entry)

    @property
    def counters(self) -> SessionCounters:
        """What scripts count together."""
        if self._asking is None:
            self._asking = self._counting()
        return self._asking

    def _counting(self) -> SessionCounters:
        return SessionCounters(self._session, self._counters or counters_of(self._services), self._phase)

    @property
    def control(self) -> SessionControl:
        """The session and the server."""
        return SessionControl(self._session, self._services.configuration)

    def callback(self, address: str, sender: str | None) -> CallbackAnswer | Awaitable[CallbackAnswer]:
        """Ask about an address. The loader has checked that smtp_cbv is loaded."""
        callbacks = self._services.callbacks
        asking = callbacks.ask_for_recipient if self._phase in ONE_RECIPIENT else callbacks.ask
        verdict = asking(self._session, address, sender)
        if isinstance(verdict, CallbackVerdict):
            return CallbackAnswer(str(verdict.status), verdict.message)
        return _awaited(verdict)

    async def resolve(self, name: str, record: str, server: str | None) -> DnsAnswer:
        """Look records up."""
        transaction, began = self._session.transaction, time.monotonic()
        status, records = await self._services.resolver.lookup(name, record.upper(), server)
        transaction.dns_seconds += time.monotonic() - began
        return DnsAnswer(status, tuple(records))

    def greylisted(self, name: str) -> Soon[float]:
        """Count an attempt in a `greylist` stanza; return the seconds that the mail must wait."""
        session, known = self._session, self._services.greylists
        if name not in known:
            raise ScriptError(reasons.unknown_greylist(name, known))
        current = session.current_recipient
        paths = [each.path for each in session.transaction.recipients] if current is None else [current.path]
        greylist, ahead = known[name], self.counters.ahead
        ahead.will_look(name, greylist.look)
        wait = greylist.wait_for(session, paths, ahead)
        return _counted(wait) if isinstance(wait, CoroutineType) else wait

    async def tarpit(self, seconds: float) -> None:
        """Delay the session. It ends if the client leaves."""
        await asyncio.sleep(seconds)

    def log(self, text: str) -> None:
        """Write what ec_log says."""
        log.info("script", session=self._session.id, phase=self._phase.value, text=printable(text, LONGEST_LOG))

    def count(self, counter: str, code: int) -> None:
        """Record that a script's action counted."""
        BOOK.count_for_script(printable(counter))
        log.info("counter", session=self._session.id, phase=self._phase.value, counter=printable(counter), code=code)

    def script_failed(self, script: str, line: int, reason: str) -> None:
        """Record a run-time error with its place."""
        log.error(
            "script_failed", session=self._session.id, script=printable(script), line=line, reason=printable(reason)
        )


async def _counted(wait: Awaitable[float]) -> float:
    try:
        return await wait
    except CountingUnavailable:
        raise ScriptError(reasons.STORE_IS_DOWN) from None


async def _awaited(verdict: Awaitable[CallbackVerdict]) -> CallbackAnswer:
    found = await verdict
    return CallbackAnswer(str(found.status), found.message)


class SessionConnection:
    """Both ends of the connection, and the client's EHLO name."""

    __slots__ = ("_services", "_session")

    def __init__(self, session: Session, services: Services) -> None:
        """Look at a session."""
        self._session, self._services = session, services

    @property
    def client(self) -> ConnectionEnd:
        """The client's end."""
        return ConnectionEnd(*self._session.peer_address)

    @property
    def local(self) -> ConnectionEnd:
        """Our end."""
        return ConnectionEnd(*self._session.local)

    @property
    def ehlo(self) -> str:
        """The client's argument to EHLO or HELO; empty before it."""
        return self._session.host_name or ""

    @property
    def hostname(self) -> str:
        """Our own name."""
        return self._session.options.hostname

    async def client_name(self) -> str:
        """Return the client's validated host name, or `unknown`. Looked up once per session."""
        session = self._session
        if session.client_name is None:
            session.client_name = await self._services.resolver.name_of(session.client_ip) or "unknown"
        return session.client_name


class SessionTransaction:
    """The transaction's id and age."""

    __slots__ = ("_session",)

    def __init__(self, session: Session) -> None:
        """Look at a session."""
        self._session = session

    @property
    def id(self) -> str:
        """The id, which is also in our Received field."""
        return self._session.transaction_id

    @property
    def created(self) -> float:
        """When it began, in seconds since 1970."""
        return self._session.transaction.created
