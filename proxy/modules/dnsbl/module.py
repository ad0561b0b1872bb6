"""The module: it begins to ask when the client connects, and judges where `reject_at` says, and then the message."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Iterator, Mapping, Sequence
from typing import cast
from weakref import WeakKeyDictionary

from config.diagnostics import Diagnostic, Severity
from config.schema.specs import ModuleSpec
from config.settings import ModuleSettings
from proxy.base.log import get_logger, printable
from proxy.base.tasks import spawn
from proxy.dns.remembered import Remembered
from proxy.dns.reverse import reverse
from proxy.mail.authentication_results import publish
from proxy.mail.evidence import Property, Result, report
from proxy.mail.exemptions import all_are_exempt, recipient_is_exempt
from proxy.mail.session import Session
from proxy.mail.validator import Hook, OnError, Uses, Validator
from proxy.mail.verdict import PASS, Verdict
from proxy.modules.base import Explained, Verdicts
from proxy.modules.dnsbl.lists import Hit, Lists, Score, scored
from proxy.modules.dnsbl.options import SPEC, DnsblOptions
from proxy.modules.dnsbl.ripping import GIVEN_AS, Ripper
from proxy.modules.dnsbl.subjects import subjects_of
from proxy.modules.dnsbl.words import defers, refuses
from proxy.modules.services import Services
from sieve.library import SieveFunction
from sieve.phases import Need, Phase

log = get_logger()

_GRACE_SECONDS = 1.0
"""Beyond the deadline that each look-up has of its own."""
_OF_THE_MESSAGE = ("header", "url")
_MOST_QUESTIONS = 200
"""Questions about one subject that is not the message: zones times names."""

Key = tuple[str, str]
"""A kind of subject, and the subject."""


class DnsblModule:
    """Prepares `dnsbl` stanzas."""

    spec: ModuleSpec = SPEC
    functions: Sequence[SieveFunction] = ()

    def prepare(self, loaded: ModuleSettings, present: frozenset[str]) -> PreparedZones:  # noqa: ARG002 - needs none
        """Read the stanza."""
        options = cast(DnsblOptions, loaded.options)
        return PreparedZones(loaded, options, tuple(_mistakes(loaded, options)))


class PreparedZones:
    """One stanza, of this module or of Momentum's."""

    def __init__(self, loaded: ModuleSettings, options: DnsblOptions, diagnostics: Sequence[Diagnostic]) -> None:
        """Keep its options, and what is wrong with them."""
        self._loaded, self._options, self.diagnostics = loaded, options, diagnostics

    @property
    def zone_names(self) -> Sequence[str]:
        """The zones, which have metrics of their own."""
        return [zone.name for zone in self._options.zones]

    @property
    def reads_body(self) -> bool:
        """Whether links are looked up."""
        return not self._loaded.passive and any("url" in zone.options.checks for zone in self._options.zones)

    def validator(self, services: Services) -> Validator | None:
        """Return the hooks."""
        serves_scripts = self._loaded.type == GIVEN_AS
        if not self._options.zones or (self._loaded.passive and not serves_scripts):
            return None
        background, lookups = services.background, services.lookups
        lists = Lists(self._options.zones, lookups, self._options.timeout, background.owner)
        background.when_serving(lists.health.start)
        if serves_scripts:
            services.given.setdefault(GIVEN_AS, []).append(Ripper(lists, self._options))
        if self._loaded.passive:
            return None
        return DnsblValidator(self._loaded.name, self._options, lists, lookups)


def _mistakes(loaded: ModuleSettings, options: DnsblOptions) -> Iterator[Diagnostic]:
    place = loaded.origin("zones") or loaded.span
    if not options.zones and not loaded.passive:
        yield Diagnostic(
            "no zones: nothing is looked up", place, hint="write zones = ( zen.example.org )", severity=Severity.WARNING
        )
    if options.reject_score and options.defer_score > options.reject_score:
        yield Diagnostic(
            f"defer_score = {options.defer_score} is above reject_score = {options.reject_score}: it never decides",
            loaded.origin("defer_score") or loaded.span,
            hint="write a smaller number",
            severity=Severity.WARNING,
        )


class _Asked:
    """What was asked for a session. Its validator owns it."""

    __slots__ = ("client", "looking", "told")

    def __init__(self, client: str) -> None:
        self.client = client
        self.looking: dict[Key, asyncio.Task[list[Hit]]] = {}
        self.told: set[str] = set()


class DnsblValidator:
    """Asks and judges."""

    on_error = OnError.ACCEPT
    """A blocklist that fails must not stop mail."""

    def __init__(self, name: str, options: DnsblOptions, lists: Lists, lookups: Remembered) -> None:
        """Take the options and the zones."""
        self.name, self.shadow = name, options.shadow
        self.deadline = 3 * (options.timeout + _GRACE_SECONDS)
        self._options, self.lists, self._lookups = options, lists, lookups
        self._exempt = frozenset(each.lower() for each in options.exempt_recipients)
        self._judges_at = Phase(options.reject_at)
        self._reads_message = any(lists.checks(kind) for kind in _OF_THE_MESSAGE)
        self._sessions: WeakKeyDictionary[Session, _Asked] = WeakKeyDictionary()
        self._owner = lists.owner
        self.authenticates = any(zone.options.allow for zone in lists.zones)
        keys = [name for zone in lists.zones for _, name in (*zone.options.bits, *zone.options.values)]
        self.uses = Uses(
            sets=frozenset({"dnsbl_status", "dnsbl_score", "dnsbl_zones", "dnswl", "authentication-results", *keys})
        )

    def hooks(self) -> Mapping[Phase, Hook]:
        """Ask as soon as something is known, and judge once."""
        hooks: dict[Phase, Hook] = {Phase.CONNECT: self._connected}
        if self.lists.checks("helo"):
            hooks[Phase.EHLO] = self._greeted
        if self.lists.checks("sender") or self._judges_at is Phase.MAILFROM:
            hooks[Phase.MAILFROM] = self._sent
        if self._judges_at is Phase.RCPTTO:
            hooks[Phase.RCPTTO] = self._judge_recipient
        if self._reads_message or self._judges_at is Phase.DATA or self.authenticates:
            hooks[Phase.DATA] = self._judge_message
        return hooks

    def needs(self, phase: Phase) -> Need:
        """Read the message for what is in it."""
        if phase is not Phase.DATA:
            return Need.NOTHING
        return Need.BODY | Need.HEADERS if self.lists.checks("url") else Need.HEADERS

    async def explain(self, phase: Phase, session: Session, verdicts: Verdicts) -> Explained:  # noqa: ARG002 - asks no one
        """Say what it would ask: DNS is not asked here."""
        if session.can_relay:
            return Explained("does not look up clients that may relay")
        if phase is not self._judges_at:
            return Explained("begins to ask the zones")
        if phase is Phase.RCPTTO and recipient_is_exempt(session, self._exempt):
            return Explained("the recipient is exempt")
        zones = ", ".join([zone.name for zone in self.lists.zones])
        return Explained("judges by blocklists", unknown=(f"what {zones} list",))

    # ------------------------------------------------------------ asking

    def _connected(self, session: Session) -> Verdict | Awaitable[Verdict]:
        if session.can_relay:
            return PASS
        self._begin(session, "client", session.client_ip)
        if self.lists.checks("ptr"):
            self._begin(session, "ptr", session.client_ip)
        return self._judged(session) if self._judges_at is Phase.CONNECT else PASS

    def _greeted(self, session: Session) -> Verdict:
        if not session.can_relay:
            self._begin(session, "helo", session.host_name or "")
        return PASS

    def _sent(self, session: Session) -> Verdict | Awaitable[Verdict]:
        if session.can_relay:
            return PASS
        self._begin(session, "sender", session.transaction.reverse_path.domain)
        return self._judged(session) if self._judges_at is Phase.MAILFROM else PASS

    def _begin(self, session: Session, kind: str, subject: str) -> None:
        """Ask about a subject, unless this session has."""
        looking = self._asked(session).looking
        if subject and (kind, subject) not in looking and self.lists.checks(kind):
            work = self._names_listed(subject) if kind == "ptr" else self.lists.look(kind, [subject], _MOST_QUESTIONS)
            looking[kind, subject] = spawn(work, name=f"dnsbl {session.id}", owner=self._owner)

    def _asked(self, session: Session) -> _Asked:
        asked = self._sessions.get(session)
        if asked is None or asked.client != session.client_ip:  # a proxy may name another client later
            asked = self._sessions[session] = _Asked(session.client_ip)
        return asked

    async def _names_listed(self, address: str) -> list[Hit]:
        """Ask about the name that leads back to the client."""
        try:
            async with asyncio.timeout(self._options.timeout):
                found = await reverse(address, self._lookups)
        except TimeoutError:
            return []
        return await self.lists.look("ptr", [found.name], _MOST_QUESTIONS) if found.status == "pass" else []

    # ------------------------------------------------------------ judging

    def _judge_recipient(self, session: Session) -> Verdict | Awaitable[Verdict]:
        if session.can_relay or recipient_is_exempt(session, self._exempt):
            return PASS
        if self.lists.checks("recipient") and session.current_recipient is not None:
            self._begin(session, "recipient", session.current_recipient.path.domain)
        return self._judged(session)

    def _judge_message(self, session: Session) -> Verdict | Awaitable[Verdict]:
        if self.authenticates:
            publish(session)
        if not self._reads_message and self._judges_at is not Phase.DATA:
            return PASS
        if session.can_relay or all_are_exempt(session, self._exempt):
            return PASS
        return self._judged(session, whole=True)

    async def _judged(self, session: Session, *, whole: bool = False) -> Verdict:
        """Wait for the listings, and judge them."""
        self._begin(session, "client", session.client_ip)  # unless connect did: authentication may have been undone
        asked = self._asked(session)
        looking = [task for (kind, subject), task in asked.looking.items() if self._is_current(session, kind, subject)]
        found = await self._of_the_message(session) if whole and self._reads_message else []
        hits: list[Hit] = []
        if looking:
            done, _ = await asyncio.wait(looking, timeout=self._options.timeout + _GRACE_SECONDS)
            ended = [task for task in looking if task in done and not task.cancelled() and not task.exception()]
            hits = [hit for task in ended for hit in task.result()]
        hits += found
        score = scored(hits)
        self._note(session, asked, score)
        return await self._decision(score)

    def _is_current(self, session: Session, kind: str, subject: str) -> bool:
        """Whether a subject belongs to this transaction: the session may have had another EHLO or sender."""
        if kind == "helo":
            return subject == session.host_name
        if kind == "sender":
            return subject == session.transaction.reverse_path.domain
        if kind == "recipient":
            recipients = [*session.transaction.recipients, session.current_recipient]
            return subject in [each.path.domain for each in recipients if each is not None]
        return True

    async def _of_the_message(self, session: Session) -> list[Hit]:
        """Ask about what is in the message."""
        message, most = session.transaction.message, self._options.max_lookups
        if message is None:
            return []
        fields = self._options.address_headers
        kinds = [kind for kind in _OF_THE_MESSAGE if self.lists.checks(kind)]
        subjects = [await subjects_of(message, kind, fields) for kind in kinds]
        looking = [self.lists.look(kind, each, most) for kind, each in zip(kinds, subjects, strict=True)]
        return [hit for hits in await asyncio.gather(*looking) for hit in hits]

    def _note(self, session: Session, asked: _Asked, score: Score) -> None:
        """Tell scripts and the log."""
        context = session.transaction.context
        context["dnsbl_status"] = "allowed" if score.allowed else "listed" if score.hits else "none"
        context["dnsbl_score"] = str(score.total)
        context["dnsbl_zones"] = " ".join(dict.fromkeys([each.zone.name for each in score.hits]))
        for name, count in score.keys.items():
            context[name] = str(count)
        if score.allowed:
            report(session.transaction, "dnswl", *[_allowed(hit) for hit in score.allowed])
        for hit in (*score.allowed, *score.hits):
            if hit.question not in asked.told:
                asked.told.add(hit.question)
                log.info(
                    "dnsbl_listed",
                    session=session.id,
                    zone=hit.zone.name,
                    listed=printable(hit.what),
                    answer=hit.code,
                    weight=hit.weight,
                    allow=hit.zone.options.allow,
                )

    async def _decision(self, score: Score) -> Verdict:
        options = self._options
        if options.reject_score and score.hits and score.total >= options.reject_score:
            heaviest = score.heaviest
            own = await self.lists.text_of(heaviest) if heaviest.zone.options.txt else ""
            return Verdict(refuses(heaviest, own))
        if options.defer_score and score.hits and score.total >= options.defer_score:
            return Verdict(defers(score.heaviest))
        return PASS


def _allowed(hit: Hit) -> Result:
    """Return a listing of an allow list as evidence (RFC 8904)."""
    zone, address = Property("dns", "zone", hit.zone.name), Property("policy", "ip", hit.code)
    return Result("dnswl", "pass", (zone, address))


DNSBL = DnsblModule()
