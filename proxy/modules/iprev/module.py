"""The module: it starts look-ups when the client connects, and judges in the phase `reject_at`."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Mapping
from weakref import WeakKeyDictionary

from proxy.base.tasks import TaskOwner, spawn
from proxy.dns.remembered import Remembered
from proxy.dns.reverse import Reverse, reverse
from proxy.mail import replies
from proxy.mail.authentication_results import publish
from proxy.mail.evidence import Property, Result, report
from proxy.mail.exemptions import recipient_is_exempt
from proxy.mail.session import Session
from proxy.mail.validator import Hook, OnError, Uses
from proxy.mail.verdict import PASS, Verdict
from proxy.modules.base import Explained, ServedModule, Verdicts
from proxy.modules.iprev.options import SPEC, IprevOptions
from proxy.modules.services import Services
from proxy.options.codes import PASSES
from sieve.phases import Need, Phase

_GRACE_SECONDS = 5.0

_TEXTS = {
    "fail": "7.25 No reverse DNS name of your address resolves back to it",
    "permerror": "7.25 Your address has no reverse DNS name",
    "temperror": "7.25 The reverse DNS name of your address cannot be looked up now",
}
"""Behind the first digit (RFC 7372 section 3.3)."""


class IprevValidator:
    """Looks, and judges."""

    authenticates = True
    uses = Uses(sets=frozenset({"iprev_status", "iprev_name", "iprev", "authentication-results"}))
    on_error = OnError.ACCEPT
    """Unless `temperror_code` is set, a name server that fails must not stop mail."""

    def __init__(self, name: str, options: IprevOptions, lookups: Remembered, owner: TaskOwner) -> None:
        """Take the options; `owner` has the tasks."""
        self.name, self.shadow = name, options.shadow
        self.deadline = options.timeout + _GRACE_SECONDS
        self._options, self._lookups = options, lookups
        self._known: WeakKeyDictionary[Session, Reverse] = WeakKeyDictionary()
        self._codes = {
            "fail": options.fail_code,
            "permerror": options.missing_code,
            "temperror": options.temperror_code,
        }
        self._exempt = frozenset(each.lower() for each in options.exempt_recipients)
        self._judges_at = Phase(options.reject_at)
        self._looking: WeakKeyDictionary[Session, tuple[str, asyncio.Task[Reverse]]] = WeakKeyDictionary()
        self._owner = owner

    def hooks(self) -> Mapping[Phase, Hook]:
        """Look at connect, and judge once."""
        hooks: dict[Phase, Hook] = {Phase.CONNECT: self._connected}
        if self._judges_at is not Phase.CONNECT:
            hooks[self._judges_at] = self._judge
        hooks[Phase.DATA] = _publish
        return hooks

    def needs(self, phase: Phase) -> Need:
        """Write the result into the header section."""
        return Need.HEADERS if phase is Phase.DATA else Need.NOTHING

    async def explain(self, phase: Phase, session: Session, verdicts: Verdicts) -> Explained:  # noqa: ARG002 - asks no one
        """Say what it would look up: DNS is not asked here."""
        if session.can_relay:
            return Explained("does not check clients that may relay")
        if phase is not self._judges_at:
            return Explained("looks up the client's name")
        return Explained("checks the client's name", unknown=("what DNS says about the client's address",))

    def _connected(self, session: Session) -> Verdict | Awaitable[Verdict]:
        if session.can_relay:
            return PASS
        self._begin(session)
        return self._judge(session) if self._judges_at is Phase.CONNECT else PASS

    def _begin(self, session: Session) -> asyncio.Task[Reverse]:
        """Look, unless that was done; a proxy may name another client later."""
        address, task = self._looking.get(session, ("", None))
        if task is None or address != session.client_ip:
            task = spawn(self._found(session.client_ip), name=f"iprev {session.id}", owner=self._owner)
            self._looking[session] = (session.client_ip, task)
        return task

    async def _found(self, address: str) -> Reverse:
        try:
            async with asyncio.timeout(self._options.timeout):
                return await reverse(address, self._lookups)
        except TimeoutError:
            return Reverse("temperror")

    def _judge(self, session: Session) -> Verdict | Awaitable[Verdict]:
        if session.can_relay:
            return PASS
        task = self._begin(session)
        return self._decided(session, task.result()) if task.done() else self._waited(session, task)

    async def _waited(self, session: Session, task: asyncio.Task[Reverse]) -> Verdict:
        return self._decided(session, await asyncio.shield(task))

    def _decided(self, session: Session, found: Reverse) -> Verdict:
        if self._known.get(session) is not found:
            self._known[session] = found
            session.context["iprev_status"], session.context["iprev_name"] = found.status, found.name
            about = Property("policy", "iprev", session.client_ip)
            report(session, "iprev", Result("iprev", found.status, (about,), found.name))
        code = self._codes.get(found.status, PASSES)
        if code == PASSES or recipient_is_exempt(session, self._exempt):
            return PASS
        return Verdict(replies.from_policy(code, f"{code // 100}.{_TEXTS[found.status]}"))


def _publish(session: Session) -> Verdict:
    publish(session)
    return PASS


def _made(name: str, options: IprevOptions, services: Services) -> IprevValidator:
    return IprevValidator(name, options, services.lookups, services.background.owner)


IPREV = ServedModule(SPEC, _made)
