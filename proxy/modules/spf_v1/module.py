"""The module: it checks the sender at MAIL FROM or at the first RCPT TO, and writes the result into the message."""

from __future__ import annotations

import time
from collections.abc import Awaitable, Mapping
from dataclasses import dataclass

from proxy.mail import replies
from proxy.mail.authentication_results import publish
from proxy.mail.evidence import Property, Result, report
from proxy.mail.session import Session, Transaction
from proxy.mail.validator import Hook, OnError, Uses
from proxy.mail.verdict import PASS, Verdict
from proxy.modules.base import ServedModule
from proxy.modules.services import Services
from proxy.modules.spf_v1.options import SPEC, SpfOptions
from proxy.modules.spf_v1.outcome import Identity, Outcome, Records
from proxy.modules.spf_v1.received import comment_on, received_spf
from proxy.options.codes import PASSES
from sieve.phases import Need, Phase

_GRACE_SECONDS = 5.0

_ENHANCED = {"fail": "7.23", "softfail": "7.23", "permerror": "7.24", "temperror": "7.24"}
"""RFC 7372 section 3.2."""


@dataclass(frozen=True, slots=True)
class _Checked:
    """What is known of a transaction."""

    verdict: Verdict
    field: str | None
    """The body of Received-SPF, which waits for the message; None without one."""


class SpfValidator:
    """Checks a transaction once. Clients that may relay are not checked: no sender's record has their addresses."""

    def __init__(self, name: str, options: SpfOptions, resolver: Records) -> None:
        """Take the options."""
        from proxy.modules.spf_v1.evaluation import evaluate  # noqa: PLC0415 - 50 ms, and few commands check SPF

        self._evaluate = evaluate
        self.name, self.shadow = name, options.shadow
        self.on_error = OnError(options.on_error)
        self.deadline = options.timeout + _GRACE_SECONDS
        self.authenticates = options.add_authentication_results
        variable = options.context_variable
        self.uses = Uses(sets=frozenset({"spf", variable, "received-spf"}))
        self._options, self._resolver = options, resolver
        self._codes = {
            "pass": options.pass_code,
            "fail": options.fail_code,
            "softfail": options.softfail_code,
            "neutral": options.unknown_code,
            "none": options.unknown_code,
            "permerror": options.permerror_code,
            "temperror": options.temperror_code,
        }

    def hooks(self) -> Mapping[Phase, Hook]:
        """Check the envelope, and write fields once the header section is there."""
        options = self._options
        check: Hook = self._check_at_rcpt if options.delay_check else self._check
        writes: Mapping[Phase, Hook] = {Phase.DATA: self._write}
        checks: Mapping[Phase, Hook] = {Phase.RCPTTO if options.delay_check else Phase.MAILFROM: check}
        return {**checks, **(writes if options.add_headers or options.add_authentication_results else {})}

    def needs(self, phase: Phase) -> Need:
        """Read nothing of the content; the header section must be there to be changed."""
        return Need.HEADERS if phase is Phase.DATA else Need.NOTHING

    def _check_at_rcpt(self, session: Session) -> Verdict | Awaitable[Verdict]:
        known = session.transaction.heard.get(self)
        return known.verdict if isinstance(known, _Checked) else self._check(session)

    def _check(self, session: Session) -> Verdict | Awaitable[Verdict]:
        return PASS if session.can_relay else self._checked(session, session.transaction)

    async def _checked(self, session: Session, transaction: Transaction) -> Verdict:
        path = transaction.reverse_path
        identity = Identity(session.client_ip, path.text, session.host_name or "", session.options.hostname)
        began = time.monotonic()
        outcome = await self._evaluate(
            self._resolver, identity, default_rule=self._options.default_rule, seconds=self._options.timeout
        )
        transaction.dns_seconds += time.monotonic() - began
        transaction.context[self._options.context_variable] = outcome.result
        report(transaction, "spf", _result(identity, outcome))
        field = received_spf(identity, outcome) if self._options.add_headers else None
        known = transaction.heard[self] = _Checked(self._verdict(identity, outcome), field)
        return known.verdict

    def _verdict(self, identity: Identity, outcome: Outcome) -> Verdict:
        code = self._options.nxdomain_code if outcome.unknown_domain else self._codes[outcome.result]
        if code == PASSES:
            return PASS
        subject = "1.8" if outcome.unknown_domain else _ENHANCED.get(outcome.result, "7.1")
        text = self._text(identity, outcome)
        return Verdict(replies.from_policy(code, f"{code // 100}.{subject} {text}", by=self.name))

    def _text(self, identity: Identity, outcome: Outcome) -> str:
        """Return the client's reply. A domain's own words are marked as such (RFC 7208 section 6.2)."""
        options = self._options
        if outcome.unknown_domain:
            return options.nxdomain_override_string
        if outcome.result == "fail":
            said = outcome.explanation.replace("\r", " ").replace("\n", " ")
            return f"The domain {identity.domain} explained: {said}" if said else options.fail_fallback_string
        if outcome.result == "softfail":
            return options.softfail_fallback_string
        if outcome.result == "temperror":
            return options.temperror_override_string
        return f"SPF result is {outcome.result}"

    def _write(self, session: Session) -> Verdict:
        transaction = session.transaction
        known = transaction.heard.get(self)
        if isinstance(known, _Checked) and known.field is not None and transaction.message is not None:
            transaction.message.add_header("Received-SPF", known.field, folded=True)
        if self.authenticates and "spf" in transaction.evidence:
            publish(session)
        return PASS


def _result(identity: Identity, outcome: Outcome) -> Result:
    about = ("mailfrom", identity.sender) if identity.sender else ("helo", identity.helo)
    return Result("spf", outcome.result, (Property("smtp", *about),), comment_on(identity, outcome))


def _made(name: str, options: SpfOptions, services: Services) -> SpfValidator:
    return SpfValidator(name, options, services.resolver)


SPF = ServedModule(SPEC, _made, library="proxy.modules.spf_v1.evaluation")
