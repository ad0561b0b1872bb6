"""The module: it hashes the body while it arrives, and judges the chain in the data phase."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Mapping
from typing import TYPE_CHECKING

from proxy.dkim.hearing import HeardMessage, claimed
from proxy.mail.authentication_results import publish
from proxy.mail.evidence import Property, Result, report
from proxy.mail.message import Message
from proxy.mail.session import Session
from proxy.mail.validator import Hook, OnError, Uses
from proxy.mail.verdict import PASS, Verdict
from proxy.modules.arc.options import OPENARC_SPEC, SPEC, ArcOptions
from proxy.modules.base import ServedModule
from proxy.modules.services import Names, Services
from proxy.smtp.ports import BodyListener
from sieve.phases import Need, Phase

if TYPE_CHECKING:
    from proxy.arc.verifying import ChainClaim, ChainResult

_GRACE_SECONDS = 5.0
_FIELD = "arc-seal"

_INLINE = 12 * 1024
"""Octets of a header section that is read on the event loop, in up to 2 ms; longer ones are read in a thread."""


class ArcValidator:
    """Judges the chain of each message."""

    authenticates = True
    uses = Uses(sets=frozenset({"arc", "arc_status", "arc_sealer", "arc_trusted", "arc_cv", "authentication-results"}))

    def __init__(self, name: str, options: ArcOptions, resolver: Names) -> None:
        """Take the options."""
        from proxy.arc import verifying  # noqa: PLC0415 - cryptography takes 50 ms, and few commands verify
        from proxy.dkim.keys import KeyCache  # noqa: PLC0415 - as above

        self._verifying = verifying
        self.keys = KeyCache.by(options, resolver)
        self.name, self.shadow = name, options.shadow
        self.on_error = OnError(options.on_error)
        self.deadline = options.timeout + _GRACE_SECONDS
        self._options = options

    def hooks(self) -> Mapping[Phase, Hook]:
        """Judge when the message has arrived."""
        return {Phase.DATA: self._judge}

    def needs(self, phase: Phase) -> Need:  # noqa: ARG002 - there is one
        """Read the header section. Only `listen` reads the body, and only if there is a chain."""
        return Need.HEADERS

    async def listen(self, session: Session, message: Message) -> BodyListener | None:
        """Read the chain, before any script changes what it covers."""
        session.transaction.heard.pop(self, None)
        if session.can_relay or not message.has(_FIELD):
            return None
        claim = await claimed(message, _INLINE, self._verifying.claim_of)
        heard = session.transaction.heard[self] = HeardMessage(claim, [] if claim.wanted is None else [claim.wanted])
        return heard

    def _judge(self, session: Session) -> Verdict | Awaitable[Verdict]:
        heard = session.transaction.heard.pop(self, None)
        if not isinstance(heard, HeardMessage):
            session.transaction.context["arc_status"] = session.transaction.context["arc_cv"] = "none"
            return PASS
        return self._judged(session, heard)

    async def _judged(self, session: Session, heard: HeardMessage[ChainClaim]) -> Verdict:
        transaction, began = session.transaction, time.monotonic()
        found = await self._result(heard)
        transaction.dns_seconds += time.monotonic() - began
        trusted = found.status == "pass" and self._options.trusted_sealers.matches(found.newest)
        context = transaction.context
        context["arc_status"] = context["arc_cv"] = found.status
        context["arc_sealer"], context["arc_trusted"] = found.newest, "yes" if trusted else "no"
        about = (Property("smtp", "remote-ip", session.client_ip), Property("header", "d", found.newest))
        report(transaction, "arc", Result("arc", found.status, about, found.reason))
        publish(session)
        return PASS

    async def _result(self, heard: HeardMessage[ChainClaim]) -> ChainResult:
        try:
            async with asyncio.timeout(self._options.timeout):
                return await self._verifying.verified(heard.claims, heard.hashes.finish(), self.keys)
        except TimeoutError:
            return self._verifying.ChainResult("temperror", reason="no key in time")


def _made(name: str, options: ArcOptions, services: Services) -> ArcValidator:
    return ArcValidator(name, options, services.resolver)


ARC, OPENARC = [ServedModule(each, _made, library="proxy.arc.verifying") for each in (SPEC, OPENARC_SPEC)]
