"""The module: it looks up the client when it connects, and judges in the phase `reject_at` and after the message."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Iterator, Mapping, Sequence
from functools import partial, reduce
from operator import or_
from typing import cast
from weakref import WeakKeyDictionary

from config.diagnostics import Diagnostic, Severity
from config.schema.specs import ModuleSpec
from config.settings import ModuleSettings
from proxy.base.log import get_logger, printable
from proxy.base.tasks import spawn
from proxy.dns.remembered import Remembered
from proxy.mail.authentication_results import publish
from proxy.mail.evidence import Property, Result, report
from proxy.mail.exemptions import all_are_exempt, recipient_is_exempt
from proxy.mail.session import Session
from proxy.mail.validator import Hook, OnError, Uses, Validator
from proxy.mail.verdict import PASS, Verdict
from proxy.modules.base import Explained, Verdicts
from proxy.modules.dnsbl.functions import ec_url_ripper
from proxy.modules.dnsbl.kinds import OF_MESSAGE, OfSession
from proxy.modules.dnsbl.lists import Lists
from proxy.modules.dnsbl.momentum import DNS_RBL_SPEC, URL_RIPPER_SPEC, DnsRblOptions, UrlRipperOptions
from proxy.modules.dnsbl.options import SPEC, DnsblOptions
from proxy.modules.dnsbl.ripping import GIVEN_AS, Ripper
from proxy.modules.dnsbl.score import Hit, Score, scored
from proxy.modules.dnsbl.words import defers, refuses
from proxy.modules.services import Services
from sieve.library import SieveFunction
from sieve.phases import Need, Phase

log = get_logger()

_GRACE_SECONDS = 1.0
"""Beyond the deadline that each look-up has of its own."""
_TELLING = (Phase.CONNECT, Phase.EHLO, Phase.MAILFROM, Phase.RCPTTO)
"""The phases in which a client tells something."""
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


class ForeignModule:
    """Prepares the stanzas of one of Momentum's modules."""

    def __init__(self, spec: ModuleSpec, functions: Sequence[SieveFunction] = ()) -> None:
        """Take the declaration."""
        self.spec, self.functions = spec, functions

    def prepare(self, loaded: ModuleSettings, present: frozenset[str]) -> PreparedZones:  # noqa: ARG002 - needs none
        """Read the stanza as one of `dnsbl`."""
        options = cast(UrlRipperOptions | DnsRblOptions, loaded.options).as_dnsbl()
        return PreparedZones(loaded, options, [] if options.zones else [_no_base(loaded)])


def _no_base(loaded: ModuleSettings) -> Diagnostic:
    return Diagnostic(
        f"{loaded.type} has no zone: nothing is looked up",
        loaded.span,
        hint='write base = "multi.example.org"',
        severity=Severity.WARNING,
    )


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
        """Whether what is in bodies is looked up, such as links."""
        return not self._loaded.passive and any(
            each in zone.options.checks and Need.BODY in kind.needs
            for each, kind in OF_MESSAGE.items()
            for zone in self._options.zones
        )

    def validator(self, services: Services) -> Validator | None:
        """Return the hooks."""
        serves_scripts = self._loaded.type == GIVEN_AS
        if not self._options.zones or (self._loaded.passive and not serves_scripts):
            return None
        background, lookups = services.background, services.lookups
        lists = Lists(self._options.zones, lookups, self._options.timeout, background.owner)
        background.when_serving(lists.health.start)
        if serves_scripts:
            ripper = Ripper(lists.look, lists.of_message, self._options)
            services.given.setdefault(GIVEN_AS, []).append(ripper)
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
        self._of_session, self._of_message = lists.of_session, lists.of_message
        self._sessions: WeakKeyDictionary[Session, _Asked] = WeakKeyDictionary()
        self._owner = lists.owner
        self.authenticates = any(zone.options.allow for zone in lists.zones)
        keys = [name for zone in lists.zones for _, name in (*zone.options.bits, *zone.options.values)]
        self.uses = Uses(
            sets=frozenset({"dnsbl_status", "dnsbl_score", "dnsbl_zones", "dnswl", "authentication-results", *keys})
        )

    def hooks(self) -> Mapping[Phase, Hook]:
        """Ask as soon as something is known, and judge once."""
        known = {kind.phase for kind in self._of_session.values()}
        hooks: dict[Phase, Hook] = {
            phase: self._judge_recipient if phase is Phase.RCPTTO else partial(self._told, phase)
            for phase in _TELLING
            if phase in known or phase is self._judges_at
        }
        if self._of_message or self._judges_at is Phase.DATA or self.authenticates:
            hooks[Phase.DATA] = self._judge_message
        return hooks

    def needs(self, phase: Phase) -> Need:
        """Read the message for what is in it."""
        if phase is not Phase.DATA:
            return Need.NOTHING
        return reduce(or_, [kind.needs for kind in self._of_message.values()], Need.HEADERS)

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

    def _told(self, phase: Phase, session: Session) -> Verdict | Awaitable[Verdict]:
        """Ask about what the client has sent in a phase; judge if it is time."""
        if session.can_relay:
            return PASS
        self._begin(session, phase)
        return self._judged(session) if phase is self._judges_at else PASS

    def _begin(self, session: Session, *phases: Phase) -> None:
        """Ask about what is known from these phases, unless this session has."""
        looking = self._asked(session).looking
        for name, kind in self._of_session.items():
            for subject in kind.subjects(session) if kind.phase in phases else ():
                if subject and (name, subject) not in looking:
                    work = self._look(name, kind, subject)
                    looking[name, subject] = spawn(work, name=f"dnsbl {session.id}", owner=self._owner)

    def _asked(self, session: Session) -> _Asked:
        asked = self._sessions.get(session)
        if asked is None or asked.client != session.client_ip:  # a proxy may name another client later
            asked = self._sessions[session] = _Asked(session.client_ip)
        return asked

    async def _look(self, name: str, kind: OfSession, subject: str) -> list[Hit]:
        """Ask all zones about a subject, or about the names that it leads to."""
        found: Sequence[str] = [subject]
        if kind.names is not None:
            try:
                async with asyncio.timeout(self._options.timeout):
                    found = await kind.names(subject, self._lookups)
            except TimeoutError:
                return []
        return await self.lists.look(name, found, _MOST_QUESTIONS)

    # ------------------------------------------------------------ judging

    def _judge_recipient(self, session: Session) -> Verdict | Awaitable[Verdict]:
        return PASS if recipient_is_exempt(session, self._exempt) else self._told(Phase.RCPTTO, session)

    def _judge_message(self, session: Session) -> Verdict | Awaitable[Verdict]:
        if self.authenticates:
            publish(session)
        if not self._of_message and self._judges_at is not Phase.DATA:
            return PASS
        if session.can_relay or all_are_exempt(session, self._exempt):
            return PASS
        return self._judged(session, whole=True)

    async def _judged(self, session: Session, *, whole: bool = False) -> Verdict:
        """Wait for the listings, and judge them."""
        self._begin(session, Phase.CONNECT)  # unless connect did: authentication may have been undone
        asked = self._asked(session)
        kinds, asking = self._of_session, asked.looking
        looking = [task for (name, subject), task in asking.items() if kinds[name].counts(session, subject)]
        found = await self._of_the_message(session) if whole and self._of_message else []
        hits: list[Hit] = []
        if looking:
            done, _ = await asyncio.wait(looking, timeout=self._options.timeout + _GRACE_SECONDS)
            ended = [task for task in looking if task in done and not task.cancelled() and not task.exception()]
            hits = [hit for task in ended for hit in task.result()]
        hits += found
        score = scored(hits)
        self._note(session, asked, score)
        return await self._decision(score)

    async def _of_the_message(self, session: Session) -> list[Hit]:
        """Ask about what is in the message."""
        message, most = session.transaction.message, self._options.max_lookups
        if message is None:
            return []
        fields = self._options.address_headers
        found = [(name, await kind.find(message, fields)) for name, kind in self._of_message.items()]
        looking = [self.lists.look(name, subjects, most) for name, subjects in found]
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
URL_RIPPER = ForeignModule(URL_RIPPER_SPEC, functions=(ec_url_ripper,))
DNS_RBL = ForeignModule(DNS_RBL_SPEC)
