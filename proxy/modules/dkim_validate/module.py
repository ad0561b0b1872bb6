"""The module: it hashes the body while it arrives, and judges the signatures in the data phase."""

from __future__ import annotations

import time
from collections.abc import Awaitable, Mapping, Sequence
from typing import TYPE_CHECKING

from proxy.dkim.hearing import HeardMessage, claimed
from proxy.mail.authentication_results import publish
from proxy.mail.evidence import Property, Result, report
from proxy.mail.message import Message
from proxy.mail.session import Session
from proxy.mail.validator import Hook, OnError, Uses
from proxy.mail.verdict import PASS, Verdict
from proxy.modules.base import ServedModule
from proxy.modules.dkim_validate.functions import DOMAINS, ec_dkim_domains, ec_dkim_responsible_domain
from proxy.modules.dkim_validate.options import OPENDKIM_SPEC, SPEC, DkimOptions
from proxy.modules.services import Names, Services
from proxy.smtp.ports import BodyListener
from sieve.phases import Need, Phase

if TYPE_CHECKING:
    from proxy.dkim.verifying import Claim, Judgement

_GRACE_SECONDS = 5.0

_INLINE = 16 * 1024
"""Octets of a header section whose signed fields are put together on the event loop, in up to 2 ms; longer ones in a
thread."""


class DkimValidator:
    """Judges the signatures of each message."""

    def __init__(self, name: str, options: DkimOptions, resolver: Names) -> None:
        """Take the options."""
        from proxy.dkim import verifying  # noqa: PLC0415 - cryptography takes 50 ms, and few commands verify
        from proxy.dkim.keys import KeyCache  # noqa: PLC0415 - as above

        self._verifying = verifying
        self.keys = KeyCache.by(options, resolver)
        self.name, self.shadow = name, options.shadow
        self.on_error = OnError(options.on_error)
        self.deadline = options.timeout + _GRACE_SECONDS
        self.authenticates = options.add_authentication_results
        self.uses = Uses(sets=frozenset({"dkim", DOMAINS, options.context_variable}))
        self._options = options

    def hooks(self) -> Mapping[Phase, Hook]:
        """Judge when the message has arrived."""
        return {Phase.DATA: self._judge}

    def needs(self, phase: Phase) -> Need:  # noqa: ARG002 - there is one
        """Read the header section. Only `listen` reads the body, and only if there is a signature."""
        return Need.HEADERS

    async def listen(self, session: Session, message: Message) -> BodyListener | None:
        """Read the signatures, before any script changes what they cover."""
        session.transaction.heard.pop(self, None)
        if not message.has(self._verifying.FIELD):
            return None
        claims = await claimed(message, _INLINE, self._verifying.claims_of)
        wanted = [each.wanted for each in claims if each.wanted is not None]
        heard = session.transaction.heard[self] = HeardMessage(claims, wanted)
        return heard

    def _judge(self, session: Session) -> Verdict | Awaitable[Verdict]:
        heard = session.transaction.heard.pop(self, None)
        if not isinstance(heard, HeardMessage):
            session.transaction.context[self._options.context_variable] = "none"
            return PASS
        return self._judged(session, heard)

    async def _judged(self, session: Session, heard: HeardMessage[Sequence[Claim]]) -> Verdict:
        transaction, began = session.transaction, time.monotonic()
        judgements = await self._judgements(heard)
        transaction.dns_seconds += time.monotonic() - began
        transaction.context[self._options.context_variable] = self._verifying.best_of(judgements)
        passed = [each.signature.identity_domain for each in judgements if each.value == "pass" and each.signature]
        transaction.context[DOMAINS] = " ".join(dict.fromkeys(passed))
        report(transaction, "dkim", *[_result(each) for each in judgements])
        if self.authenticates:
            publish(session)
        return PASS

    async def _judgements(self, heard: HeardMessage[Sequence[Claim]]) -> list[Judgement]:
        bodies = heard.hashes.finish()
        found: list[Judgement] = await self._verifying.judged(heard.claims, bodies, self.keys, self._options.timeout)
        return found


def _result(judgement: Judgement) -> Result:
    found = judgement.signature
    if found is None:
        return Result("dkim", judgement.value, (), judgement.reason)
    about = {
        "d": found.domain,
        "i": found.identity,
        "s": found.selector,
        "a": f"{found.key_type}-{found.hash_name}",
        "b": found.short_value,
    }
    properties = tuple([Property("header", name, value) for name, value in about.items()])
    return Result("dkim", judgement.value, properties, judgement.reason)


def _made(name: str, options: DkimOptions, services: Services) -> DkimValidator:
    return DkimValidator(name, options, services.resolver)


_LIBRARY = "proxy.dkim.verifying"

DKIM_VALIDATE = ServedModule(SPEC, _made, (ec_dkim_domains, ec_dkim_responsible_domain), library=_LIBRARY)
OPENDKIM = ServedModule(OPENDKIM_SPEC, _made, library=_LIBRARY)
