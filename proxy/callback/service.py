"""Callbacks for sessions: which addresses are not probed, what a session gets, shadow mode, and the counts of answers.

The verifier knows addresses and exchangers; this module handles what depends on the client and its mail. Every skip has
a reason that the script can see. Skips and refusals to ask count as well, so the log shows what the limits hold back.
"""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import lru_cache
from typing import Generic, Protocol

from typing_extensions import TypeVar

from config.schema.values import DomainPatterns
from proxy.base.log import get_logger, printable
from proxy.callback.verdict import CallbackVerdict, Status
from proxy.callback.verifier import CallbackVerifier
from proxy.dmarc.record import Policy
from proxy.mail.address import mailbox_of
from proxy.mail.session import Path, Session, Transaction
from proxy.metrics.book import BOOK
from proxy.metrics.table import CALLBACKS, STATUS
from sieve.message.spelling import canonical

log = get_logger()

_RESULT = {
    Status.PASS: "pass",
    Status.FAIL: "error",  # Momentum has no "fail" here
    Status.TRANSIENT: "transient",
    Status.ERROR: "transient",  # the exchanger objects to us: no script shall reject mail for that
}
_STATUS = {status: status.value for status in Status}

_ANSWERS = [{status: CALLBACKS.at(status, remembered) for status in STATUS.values} for remembered in ("false", "true")]
"""Where an answer is counted: by whether it was remembered, then by status."""

REPORT_SECONDS = 60.0
"""From the first counted answer to the line that reports it."""

_MOST_DOMAINS = 1024
"""Domains of which is remembered whether the next hop serves them."""


@dataclass(frozen=True, slots=True)
class Rules:
    """Which addresses are not asked about, and whether verdicts count."""

    enforce: bool = True
    reject_unprobed: bool = False
    """Whether a sender is refused that is not asked about because of its domain's DMARC policy."""
    exempt_recipients: frozenset[str] = frozenset()
    """Local parts, in lower case, that no callback may judge at RCPT (RFC 5321 section 4.5.1, RFC 2142)."""
    skip_variables: Mapping[str, str] = field(default_factory=dict)
    """Context variables of message or connection, each with the value that marks the sender as forged."""
    local_domains: DomainPatterns = field(default_factory=DomainPatterns)
    """Domains that the next hop serves itself: it knows their users, and a probe would lead back to us."""
    is_routed: Callable[[str], bool] = lambda domain: False  # noqa: ARG005 — a default
    """Whether the operator named a host to ask for a domain."""


class Verifier(Protocol):
    """Finds verdicts: the `CallbackVerifier` itself, or a worker's way to the keeper that has one."""

    @property
    def most_probes(self) -> int:
        """Concurrent conversations in this process."""
        ...

    def known(self, mailbox: Path | None, sender: str | None = None, *, client: str = "") -> CallbackVerdict | None:
        """Return the verdict that is at hand without waiting; None if `verify` has to find it."""
        ...

    def peek(self, mailbox: Path | None, sender: str | None = None) -> CallbackVerdict | None:
        """Return the same; count nothing, and begin nothing."""
        ...

    async def verify(
        self, address: str, sender: str | None = None, *, client: str = "", session: str = ""
    ) -> CallbackVerdict:
        """Return the verdict on an address. Never raises."""
        ...

    async def close(self) -> None:
        """Cancel what is running."""
        ...


class Policies(Protocol):
    """Knows DMARC policies: `proxy.dmarc.policies.DomainPolicies`."""

    async def of(self, domain: str) -> Policy | None:
        """Return what a domain's owner asks for, or None."""
        ...


class AnswerCounts:
    """Counts answers, and logs them once a minute. The event loop owns it; no timer runs while nothing is asked."""

    def __init__(self) -> None:
        self._answers: Counter[str] = Counter()
        self._timer: asyncio.TimerHandle | None = None

    def count(self, verdict: CallbackVerdict) -> None:
        """Count an answer by status, reason, and whether it was cached."""
        self._answers[f"{verdict.status} {verdict.reason}{' cached' if verdict.cached else ''}"] += 1
        BOOK.counts[_ANSWERS[verdict.cached][f"{verdict.status}"]] += 1
        if self._timer is None:
            self._timer = asyncio.get_running_loop().call_later(REPORT_SECONDS, self.report)

    def report(self) -> None:
        """Log the answers since the last report, if there are any."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        if self._answers:
            answers, self._answers = self._answers, Counter()
            log.info("callbacks", asked=answers.total(), answers=dict(answers.most_common()))


V = TypeVar("V", bound=Verifier, default=CallbackVerifier)


class CallbackService(Generic[V]):
    """What scripts and the active module ask. One per worker."""

    def __init__(
        self,
        verifier: V,
        rules: Rules,
        upstream_down: Callable[[], bool],
        *,
        closing: Sequence[Callable[[], Awaitable[None]]] = (),
    ) -> None:
        """`upstream_down` says whether every next hop is known to be down; `closing` runs at the end."""
        self.verifier = verifier
        self._closing = closing
        self._configured = rules
        self._upstream_down = upstream_down
        self._apply(rules)
        self._tally = AnswerCounts()
        self.policies: Policies | None = None
        """Looks DMARC policies up; None if no module can."""

    def turn_to(self, rules: Rules) -> None:
        """Answer by other rules from the next question on. What `enforce` said last stays, unless they differ in it."""
        as_before = rules.enforce == self._configured.enforce
        self._configured = rules
        self._apply(replace(rules, enforce=self._rules.enforce) if as_before else rules)

    def _apply(self, rules: Rules) -> None:
        self._rules, self._marks = rules, _marks(rules)

        def is_local(domain: str) -> bool:
            return rules.local_domains.holds(domain) and not rules.is_routed(domain)

        self._is_local = lru_cache(_MOST_DOMAINS)(is_local)

    @property
    def most_probes(self) -> int:
        """Concurrent conversations."""
        return self.verifier.most_probes

    def ask(
        self, session: Session, address: str, sender: str | None = None, transaction: Transaction | None = None
    ) -> CallbackVerdict | Awaitable[CallbackVerdict]:
        """Return the verdict for a session, at once if it is at hand; set a transaction's context variables.

        That is the current one unless another is given. If the verdict has to be awaited, the client may have begun
        another transaction by then; that one is not touched.
        """
        transaction = session.transaction if transaction is None else transaction
        path = transaction.reverse_path
        is_sender = address == path.text
        checked = is_sender and (transaction.evidence or "spf_status" in transaction.context)
        if checked and self._wants_policy(transaction):
            return self._after_policy(session, transaction, address, sender)
        verdict = self._skipped(session, transaction, address, is_sender=is_sender)
        if verdict is None:
            client = "" if session.can_relay else session.client_network
            mailbox = path if is_sender else mailbox_of(address)
            verdict = self.verifier.known(mailbox, sender, client=client) or self._unaskable()
            if verdict is None:
                asked = path.spoken if is_sender else address  # the exchanger gets the sender as given
                found = self.verifier.verify(asked, sender, client=client, session=session.id)
                return self._awaited(found, session, transaction, address)
        return self._told(verdict, session, transaction, address)

    def _wants_policy(self, transaction: Transaction) -> bool:
        """Whether the sender is asked only under some DMARC policies, and its domain's has not been looked up."""
        if self.policies is None or not transaction.reverse_path.domain or _POLICY in transaction.context:
            return False
        return _is_doubtful(transaction)

    async def learn_policy(self, transaction: Transaction) -> None:
        """Look the policy up, if it decides."""
        if self.policies is not None and self._wants_policy(transaction):
            began = time.monotonic()
            found = await self.policies.of(transaction.reverse_path.domain)
            transaction.dns_seconds += time.monotonic() - began
            transaction.context[_POLICY] = "" if found is None else found.value

    async def refuses_unconfirmed(self, session: Session) -> bool:
        """Whether the sender is refused without a question, because of its domain's policy; record that it is."""
        transaction = session.transaction
        await self.learn_policy(transaction)
        refused = self._known_of_sender(session, transaction) is _UNCONFIRMED_REFUSED and self._rules.enforce
        if refused:
            self._told(_UNCONFIRMED_REFUSED, session, transaction, transaction.reverse_path.text)
        return refused

    async def _after_policy(
        self, session: Session, transaction: Transaction, address: str, sender: str | None
    ) -> CallbackVerdict:
        await self.learn_policy(transaction)
        verdict = self.ask(session, address, sender, transaction)
        return verdict if isinstance(verdict, CallbackVerdict) else await verdict

    def foretell(
        self, session: Session, address: str, sender: str | None = None, *, recipient: bool = False
    ) -> CallbackVerdict | None:
        """Return what a question would find at hand; None if it would have to be asked. Counts and logs nothing."""
        transaction, current = session.transaction, session.current_recipient
        if recipient and current is not None and current.path.local_part.lower() in self._rules.exempt_recipients:
            return _skip("exempt", f"mail for {current.path.local_part.lower()} is always accepted")
        is_sender = address == transaction.reverse_path.text
        verdict = self._skipped(session, transaction, address, is_sender=is_sender)
        if verdict is not None:
            return verdict
        found = self.verifier.peek(transaction.reverse_path if is_sender else mailbox_of(address), sender)
        return found or self._unaskable()

    def _unaskable(self) -> CallbackVerdict | None:
        """Return the verdict if no exchanger can be asked now."""
        if self._upstream_down():
            return _skip("upstream_down", "no next hop accepts mail now", Status.TRANSIENT)
        return None

    def as_told(self, verdict: CallbackVerdict) -> CallbackVerdict:
        """Return the verdict that a session gets: a pass in shadow mode."""
        return verdict if self._rules.enforce else _in_shadow(verdict)

    def ask_for_recipient(
        self, session: Session, address: str, sender: str | None = None
    ) -> CallbackVerdict | Awaitable[CallbackVerdict]:
        """The same for the current recipient: mail for postmaster and other role addresses is always accepted."""
        current = session.current_recipient
        if current is None or (local_part := current.path.local_part.lower()) not in self._rules.exempt_recipients:
            return self.ask(session, address, sender)
        verdict = _skip("exempt", f"mail for {local_part} is always accepted")
        self._tally.count(verdict)
        record(session.transaction, verdict)
        return verdict

    async def _awaited(
        self, found: Awaitable[CallbackVerdict], session: Session, transaction: Transaction, address: str
    ) -> CallbackVerdict:
        began = time.monotonic()
        verdict = await found
        transaction.callback_seconds += time.monotonic() - began
        return self._told(verdict, session, transaction, address)

    def _told(
        self, verdict: CallbackVerdict, session: Session, transaction: Transaction, address: str
    ) -> CallbackVerdict:
        """Count and record a verdict, and return the one that the session gets."""
        self._tally.count(verdict)
        if not self._rules.enforce:
            verdict = self._shadow(session, transaction, address, verdict)
        record(transaction, verdict)
        return verdict

    @property
    def enforces(self) -> bool:
        """Whether verdicts count. Otherwise they are only logged."""
        return self._rules.enforce

    def enforce(self, *, on: bool) -> None:
        """Let verdicts count, or only log them, from the next question on."""
        self._rules = replace(self._rules, enforce=on)

    async def close(self) -> None:
        """Cancel what is running, and close store and resolver."""
        await self.verifier.close()
        self._tally.report()
        for close in self._closing:
            await close()

    def _skipped(
        self, session: Session, transaction: Transaction, address: str, *, is_sender: bool
    ) -> CallbackVerdict | None:
        """Return the verdict if the address is not asked about, else None."""
        if not address:
            return _NULL_SENDER
        if is_sender:
            domain = transaction.reverse_path.domain
        else:
            address = canonical(address)
            domain = address.rpartition("@")[2]
            is_sender = address == transaction.reverse_path.text
        if is_sender and (known := self._known_of_sender(session, transaction)) is not None:
            return known
        return _skip("local_domain", "the next hop serves the domain itself") if self._is_local(domain) else None

    def _known_of_sender(self, session: Session, transaction: Transaction) -> CallbackVerdict | None:
        """Return what the session knows about its sender without asking."""
        if session.auth_user:
            return _skip("authenticated", "the client is authenticated")
        if session.can_relay:
            return _skip("relay_client", "the client may relay to any domain")
        of_message, of_connection = transaction.context, session.context
        for name, mark in self._marks:
            if name in of_message or name in of_connection or not mark:
                found = of_message.get(name) or of_connection.get(name, "")
                if found.lower() == mark:
                    return _skip("forged", f"{name} says that the sender is forged", Status.ERROR)
        if of_message.get(_POLICY) == _REJECT and _is_doubtful(transaction):
            return _UNCONFIRMED_REFUSED if self._rules.reject_unprobed else _UNCONFIRMED
        return None

    def _shadow(
        self, session: Session, transaction: Transaction, address: str, verdict: CallbackVerdict
    ) -> CallbackVerdict:
        """Log the verdict, once for an address, and return a pass in its place."""
        logged = (self, address)
        if logged in transaction.heard:  # the module and a script may both ask
            return _in_shadow(verdict)
        transaction.heard[logged] = True
        log.info(
            "shadow",
            session=session.id,
            address=printable(address),
            status=verdict.status.value,
            reason=verdict.reason,
            text=printable(verdict.text),
        )
        return _in_shadow(verdict)


def _marks(rules: Rules) -> tuple[tuple[str, str], ...]:
    return tuple([(name, value.lower()) for name, value in rules.skip_variables.items()])


def _in_shadow(verdict: CallbackVerdict) -> CallbackVerdict:
    if verdict.status is Status.PASS:
        return verdict
    return CallbackVerdict(Status.PASS, "shadow", f"not enforced: {verdict.status.value} ({verdict.reason})")


def _skip(reason: str, why: str, status: Status = Status.PASS) -> CallbackVerdict:
    return CallbackVerdict(status, reason, f"not asked: {why}")


def _is_doubtful(transaction: Transaction) -> bool:
    """Whether SPF was checked and did not pass."""
    results = transaction.evidence.get("spf")
    found = results[0].value if results else transaction.context.get("spf_status", "")
    return bool(found) and found.lower() != "pass"


_POLICY, _REJECT = "dmarc_domain_policy", Policy.REJECT.value
_WHY = "SPF did not pass, and the DMARC policy of the sender's domain is reject"
_UNCONFIRMED = _skip("dmarc_policy", _WHY, Status.ERROR)
_UNCONFIRMED_REFUSED = _skip("dmarc_policy", _WHY, Status.FAIL)
_NULL_SENDER = CallbackVerdict(Status.ERROR, "null_sender", "the null sender has no mailbox")


def record(transaction: Transaction, verdict: CallbackVerdict) -> None:
    """Set the message's context variables, Momentum's smtp_cbv_result and our own, and what the log says about it."""
    transaction.callback = verdict
    transaction.context |= {
        "smtp_cbv_result": _RESULT[verdict.status],
        "smtp_cbv_status": _STATUS[verdict.status],
        "smtp_cbv_reason": verdict.reason,
        "smtp_cbv_code": str(verdict.code) if verdict.code else "",
        "smtp_cbv_mx": verdict.exchanger,
        "smtp_cbv_cached": "true" if verdict.cached else "false",
    }
