"""The module: it offers the verifier to scripts, and where it is active, asks in its phase and sets smtp_cbv_result."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import cast

from config import ModuleSettings, ModuleSpec
from config.diagnostics import Diagnostic
from proxy.callback.resolve import ExchangerFinder
from proxy.callback.verdict import CallbackVerdict, Status
from proxy.callback.verifier import CallbackLimits, CallbackVerifier
from proxy.dns import Resolver
from proxy.modules.base import Services
from proxy.modules.smtp_cbv.options import SPEC, SmtpCbvOptions
from proxy.session import Session, Transaction
from proxy.tasks import TaskOwner, spawn
from proxy.validator import PASS, Hook, OnError, Validator, Verdict
from sieve import Need, Phase

_RESULT = {
    Status.PASS: "pass",
    Status.FAIL: "error",  # Momentum has no "fail" here
    Status.TRANSIENT: "transient",
    Status.ERROR: "transient",  # it is about us: no script shall refuse mail because an exchanger dislikes us
}


def verifier_of(options: SmtpCbvOptions, helo: str, resolver: Resolver) -> CallbackVerifier:
    """Return a verifier with the stanza's options that introduces itself as `helo`."""
    lives = {
        Status.PASS: options.cache_pass,
        Status.FAIL: options.cache_fail,
        Status.TRANSIENT: options.cache_transient,
        Status.ERROR: options.cache_error,
    }
    limits = CallbackLimits(
        timeout=options.timeout,
        most_probes=options.max_probes,
        most_probes_per_exchanger=options.max_probes_per_mx,
        lives=lives,
        most_remembered=options.cache_size,
    )
    finder = ExchangerFinder(resolver, options.map, options.allow_networks)
    return CallbackVerifier(finder, limits, helo=helo, port=options.port, sender=options.mailfrom.strip("<>"))


class SmtpCbvModule:
    """Prepares `smtp_cbv` stanzas."""

    spec: ModuleSpec = SPEC

    def prepare(self, loaded: ModuleSettings, present: frozenset[str]) -> PreparedSmtpCbv:  # noqa: ARG002 — needs none
        """Take the stanza; its options are checked already."""
        return PreparedSmtpCbv(loaded)


class PreparedSmtpCbv:
    """One stanza."""

    def __init__(self, loaded: ModuleSettings) -> None:
        """Keep its options."""
        self.diagnostics: Sequence[Diagnostic] = ()
        self._name, self._passive = loaded.name, loaded.passive
        self._options = cast(SmtpCbvOptions, loaded.options)

    def offer(self, services: Services) -> None:
        """Make the verifier."""
        services.verifier = verifier_of(self._options, services.settings.hostname, services.resolver)
        services.callback_exempt = frozenset(each.lower() for each in self._options.exempt_recipients)

    def validator(self, services: Services) -> Validator | None:
        """Return the active module's hook."""
        if self._passive or services.verifier is None:
            return None
        return SmtpCbvValidator(self._name, self._options, services.verifier, services.callback_exempt)


class SmtpCbvValidator:
    """Starts a probe in its phase; the answer is awaited when a script runs, or before the message is relayed."""

    on_error = OnError.ACCEPT
    """It never rejects, so its own trouble must not defer mail either."""

    def __init__(self, name: str, options: SmtpCbvOptions, verifier: CallbackVerifier, exempt: frozenset[str]) -> None:
        """Ask about the sender or about recipients, as `phase` says."""
        self.name = name
        self.deadline = options.timeout + 5.0
        self._phase = Phase(options.phase)
        self._verifier = verifier
        self._exempt = exempt
        self._owner = TaskOwner(name)

    def hooks(self) -> Mapping[Phase, Hook]:
        """Speak in the configured phase only."""
        return {self._phase: self._begin}

    def needs(self, phase: Phase) -> Need:  # noqa: ARG002 — the same in every phase
        """Read nothing of the content."""
        return Need.NOTHING

    async def _begin(self, session: Session) -> Verdict:
        transaction = session.transaction
        recipient = session.current_recipient
        path = recipient.path if self._phase is Phase.RCPTTO and recipient is not None else transaction.reverse_path
        exempt = self._phase is Phase.RCPTTO and path.local_part.lower() in self._exempt
        if path.domain and not exempt:
            work = spawn(self._ask(path.text, transaction), name=f"smtp_cbv {session.id}", owner=self._owner)
            transaction.pending.append(work)
        return PASS

    async def _ask(self, address: str, transaction: Transaction) -> None:
        record(transaction, await self._verifier.verify(address))


def record(transaction: Transaction, verdict: CallbackVerdict) -> None:
    """Set the message context variables of a verdict: Momentum's smtp_cbv_result and our own."""
    transaction.context |= {
        "smtp_cbv_result": _RESULT[verdict.status],
        "smtp_cbv_status": verdict.status.value,
        "smtp_cbv_reason": verdict.reason,
    }
