"""The module: it evaluates a message when its header section is there, and does what `action` says."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Iterator, Mapping
from typing import cast

from config.diagnostics import Diagnostic, Severity
from config.settings import ModuleSettings
from proxy.base.tasks import TaskOwner, spawn
from proxy.dmarc.author import Authors, authors
from proxy.dmarc.evaluation import Evaluation, Status, evaluate
from proxy.dmarc.policies import DomainPolicies
from proxy.dmarc.record import Policy
from proxy.dns.remembered import Remembered
from proxy.mail import replies
from proxy.mail.authentication_results import publish
from proxy.mail.evidence import Property, Result, report
from proxy.mail.message import Message
from proxy.mail.session import Session, Transaction
from proxy.mail.validator import Hook, OnError, Uses
from proxy.mail.verdict import PASS, Verdict
from proxy.modules.base import Explained, ServedModule, Verdicts
from proxy.modules.dmarc.findings import NEEDS, READS, agreeing, identifiers_of, is_forwarder
from proxy.modules.dmarc.options import SPEC, DmarcOptions
from proxy.modules.dmarc.reporting import Override, report_of
from proxy.modules.services import Services
from sieve.phases import Need, Phase
from sieve.run.threads import ThreadPool, in_thread

_GRACE_SECONDS = 5.0

_INLINE = 1 << 10
"""Octets of From fields that are read on the event loop, in up to 1 ms; more are read in a thread."""

_CHECKERS = frozenset({"spf_v1", "dkim_validate", "opendkim"})


def _mistakes(loaded: ModuleSettings, present: frozenset[str]) -> Iterator[Diagnostic]:
    options = cast(DmarcOptions, loaded.options)
    if not present & _CHECKERS:
        yield Diagnostic(
            "neither spf_v1 nor dkim_validate is loaded: every message of a domain with a policy fails",
            loaded.span,
            hint='load both before dmarc: spf_v1 "spf_v1" { }',
            severity=Severity.WARNING,
        )
    if options.action != "enforce":
        return
    place = loaded.origin("enforce_with") or loaded.origin("action") or loaded.span
    if not options.enforce_with:
        yield Diagnostic(
            "p=reject alone refuses mail, also of mailing lists: RFC 9989 section 7.4 says not to",
            place,
            hint="name what else must speak against a message: enforce_with = ( spf_fail dnsbl )",
            severity=Severity.WARNING,
        )
    missing = [each for each in options.enforce_with if not present & NEEDS[each]]
    if missing:
        yield Diagnostic(
            f"nothing finds {' or '.join(missing)}: no module that does is loaded",
            place,
            hint=f"load {' or '.join(sorted(NEEDS[missing[0]]))}, or remove it from enforce_with",
            severity=Severity.WARNING,
        )


class DmarcValidator:
    """Evaluates messages."""

    def __init__(self, name: str, options: DmarcOptions, lookups: Remembered, owner: TaskOwner) -> None:
        """Take the options; `owner` has the tasks."""
        self.name, self.shadow = name, options.shadow
        self.on_error = OnError(options.on_error)
        self._waits = options.action == "enforce" and "callback_fail" in options.enforce_with
        """Whether an answer that is on its way may decide."""
        self.deadline = options.timeout * (1 + self._waits) + _GRACE_SECONDS
        self.authenticates = options.action != "none"
        sets = {"dmarc", "dmarc_status", "dmarc_policy", "dmarc_domain", "dmarc_domain_policy"}
        self.uses = Uses(READS, frozenset({*sets, "authentication-results"}))
        self.uses_at = {Phase.MAILFROM: Uses(sets=frozenset({"dmarc_domain_policy"}))}
        self._options, self._lookups, self._policies = options, lookups, DomainPolicies(lookups)
        self._owner = owner

    def hooks(self) -> Mapping[Phase, Hook]:
        """Look the sender's policy up at MAIL FROM, and evaluate the message."""
        return {Phase.MAILFROM: self._sender, Phase.DATA: self._judge}

    def needs(self, phase: Phase) -> Need:
        """Read the From fields."""
        return Need.HEADERS if phase is Phase.DATA else Need.NOTHING

    async def explain(self, phase: Phase, session: Session, verdicts: Verdicts) -> Explained:  # noqa: ARG002 - asks no one
        """Say what it would look up at MAIL FROM: it refuses nothing there."""
        return Explained("looks up the DMARC policy of the sender's domain")

    def _sender(self, session: Session) -> Verdict:
        """Begin to look up the policy of the domain in MAIL FROM. Scripts wait for it, MAIL does not."""
        transaction = session.transaction
        if transaction.reverse_path.domain and not session.can_relay:
            work = self._policy_of(transaction, transaction.reverse_path.domain)
            transaction.pending.append(spawn(work, name=f"dmarc {session.id}", owner=self._owner))
        return PASS

    async def _policy_of(self, transaction: Transaction, domain: str) -> None:
        """Report what the owner asks for: callbacks depend on it."""
        began = time.monotonic()
        found = await self._policies.of(domain, self._options.timeout)
        transaction.dns_seconds += time.monotonic() - began
        transaction.context["dmarc_domain_policy"] = "" if found is None else found.value

    def _judge(self, session: Session) -> Verdict | Awaitable[Verdict]:
        return PASS if session.can_relay or session.transaction.message is None else self._judged(session)

    async def _judged(self, session: Session) -> Verdict:
        transaction = session.transaction
        of_authors = await _authors(transaction.message)
        began = time.monotonic()
        found = await evaluate(of_authors, identifiers_of(session), self._lookups.ask, self._options.timeout)
        transaction.dns_seconds += time.monotonic() - began
        if self._waits and found.asked is Policy.REJECT:
            await self._answered(session)
        override = self._override(session, found)
        self._note(transaction, found)
        transaction.dmarc = report_of(session, found, override)
        refuses = self._options.action == "enforce" and found.asked is Policy.REJECT and not override
        if self._options.action != "none":
            self._write(session, found)
        if refuses:
            return Verdict(replies.from_policy(550, f"5.7.1 Refused by the DMARC policy of {found.domain}"))
        if found.status is Status.TEMPERROR and self._options.on_error == "defer":
            return Verdict(replies.from_policy(451, "4.7.1 The DMARC policy cannot be looked up now, try again later"))
        return PASS

    async def _answered(self, session: Session) -> None:
        """Wait for a callback under way, which the message would wait for anyway, unless another finding agrees."""
        pending = session.transaction.pending
        if pending and agreeing(session, self._options.enforce_with) is None:
            await asyncio.wait(pending, timeout=self._options.timeout)

    def _override(self, session: Session, found: Evaluation) -> Override | None:
        """Return why the owner's wish to reject is not followed; None if it is."""
        options = self._options
        if found.asked is not Policy.REJECT:
            return None
        if is_forwarder(session, options.trusted_forwarders):
            return Override("trusted_forwarder", "the client is in trusted_forwarders")
        if session.transaction.context.get("arc_trusted") == "yes":
            return Override("trusted_forwarder", "arc=pass, and the sealer is in trusted_sealers")
        if options.action != "enforce":
            return Override("local_policy", f"action = {options.action}")
        if options.enforce_with and agreeing(session, options.enforce_with) is None:
            return Override("local_policy", "nothing else speaks against the message")
        return None

    def _note(self, transaction: Transaction, found: Evaluation) -> None:
        """Tell scripts, the log and other modules."""
        context = transaction.context
        context["dmarc_status"], context["dmarc_policy"] = found.status.value, found.policy.value
        context["dmarc_domain"] = found.domain
        about = (Property("header", "from", found.domain), Property("policy", "dmarc", found.asked.value))
        report(transaction, "dmarc", Result("dmarc", found.status.value, about, found.reason))

    def _write(self, session: Session, found: Evaluation) -> None:
        """Write the results into the message. A field of our name that is there is a stranger's."""
        message, name = session.transaction.message, self._options.tag_header
        if message is None:
            return
        if name:
            message.delete_header(name)
            if found.asked is not Policy.NONE:
                message.add_header(name, f"{found.asked.value} {found.domain}")
        publish(session)


async def _authors(message: Message | None) -> Authors:
    if message is None:
        return authors(())
    if message.exceeds(_INLINE, "from"):
        return await in_thread(ThreadPool.CONTENT, lambda: authors(message.header("from")))
    return authors(message.header("from"))


def _made(name: str, options: DmarcOptions, services: Services) -> DmarcValidator:
    return DmarcValidator(name, options, services.lookups, services.background.owner)


DMARC = ServedModule(SPEC, _made, mistakes=_mistakes)
