"""The module: offers callbacks to scripts and, if active, asks in its phase and sets smtp_cbv_result."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import cast

from config.diagnostics import Diagnostic
from config.schema.specs import ModuleSpec
from config.settings import ModuleSettings
from proxy.base.tasks import TaskOwner, spawn
from proxy.callback.service import CallbackService, record
from proxy.callback.verdict import CallbackVerdict
from proxy.dmarc.policies import DomainPolicies
from proxy.history.asked import asked_by
from proxy.keeper.door import Calling
from proxy.keeper.verifying import Verifying
from proxy.mail import replies
from proxy.mail.session import Session, Transaction
from proxy.mail.validator import Hook, OnError, Uses, Validator
from proxy.mail.verdict import PASS, Verdict
from proxy.modules.base import Explained, Verdicts
from proxy.modules.services import Callbacks, Services
from proxy.modules.smtp_cbv.checks import mistakes
from proxy.modules.smtp_cbv.making import callbacks_of, kept_callbacks_of, rules_of, verifying_of
from proxy.modules.smtp_cbv.options import SPEC, SmtpCbvOptions
from proxy.options.core import CoreOptions
from sieve.library import SieveFunction
from sieve.phases import Need, Phase

UNCONFIRMED_TEXT = "5.7.1 SPF does not confirm the sender, and its domain wants such mail rejected"


class SmtpCbvModule:
    """Prepares `smtp_cbv` stanzas."""

    spec: ModuleSpec = SPEC
    functions: Sequence[SieveFunction] = ()
    """`smtp_callback_verify` is in the language's own library, because it is in Momentum's manual."""

    def prepare(self, loaded: ModuleSettings, present: frozenset[str]) -> PreparedSmtpCbv:  # noqa: ARG002 — needs none
        """Read the stanza and the files that it names."""
        return PreparedSmtpCbv(loaded)


class PreparedSmtpCbv:
    """One stanza."""

    def __init__(self, loaded: ModuleSettings) -> None:
        """Keep its options, and check them."""
        self._name, self._passive = loaded.name, loaded.passive
        self._options = cast(SmtpCbvOptions, loaded.options)
        self.diagnostics: Sequence[Diagnostic] = tuple(mistakes(loaded, self._options))

    def callbacks(
        self, settings: CoreOptions, upstream_down: Callable[[], bool], calling: Calling | None = None
    ) -> Callbacks:
        """Make the callback service."""
        if calling is not None:
            return kept_callbacks_of(self._options, settings, calling, upstream_down=upstream_down)
        return callbacks_of(self._options, settings, upstream_down=upstream_down)

    def govern(self, settings: CoreOptions, callbacks: Callbacks) -> None:
        """Give a service in use the rules of these options. What it asks stays."""
        if isinstance(callbacks, CallbackService):
            callbacks.turn_to(rules_of(self._options, settings))

    def verifying(self, settings: CoreOptions) -> Verifying:
        """Make what the keeper answers with."""
        return verifying_of(self._options, settings, alone=True)

    def validator(self, services: Services) -> Validator | None:
        """Return the active module's hook."""
        if isinstance(services.callbacks, CallbackService):
            services.callbacks.policies = DomainPolicies(services.lookups)
        if self._passive:
            return None
        records = services.settings.history_answers
        return SmtpCbvValidator(self._name, self._options, services.callbacks, records=records)


class SmtpCbvValidator:
    """Starts a probe in its phase. A script, or the relay of the message, later waits for the answer."""

    on_error = OnError.ACCEPT
    """It never rejects, so its own failure must not defer mail either."""

    def __init__(self, name: str, options: SmtpCbvOptions, callbacks: Callbacks, *, records: bool = False) -> None:
        """Ask about the sender or about recipients, as `phase` says; `records` is History_Answers."""
        self.name = name
        self.deadline = options.timeout + 5.0
        reads = frozenset({*options.skip_variables, "spf", "dmarc_domain_policy"})
        self.uses = Uses(reads, frozenset({"smtp_cbv_result"}), asks_others=True)
        self._phase = Phase(options.phase)
        self._refuses_unconfirmed = options.dmarc_reject_unprobed and self._phase is Phase.MAILFROM
        self._after_recipient = options.after_recipient
        self._callbacks, self._records = callbacks, records
        self._owner = TaskOwner(name)

    def hooks(self) -> Mapping[Phase, Hook]:
        """Run in the configured phase only."""
        return {self._phase: self._begin}

    def needs(self, phase: Phase) -> Need:  # noqa: ARG002 — the same in every phase
        """Needs no content."""
        return Need.NOTHING

    async def explain(self, phase: Phase, session: Session, verdicts: Verdicts) -> Explained:
        """Say which verdict is at hand. It never rejects."""
        current, path = session.current_recipient, session.transaction.reverse_path
        address = current.path.text if phase is Phase.RCPTTO and current is not None else path.text
        found = None
        if isinstance(self._callbacks, CallbackService):
            found = self._callbacks.foretell(session, address, recipient=phase is Phase.RCPTTO)
            found = found or verdicts.get(address)
        if found is None:
            return Explained(f"asks about {address}", unknown=(f"the callback's verdict on {address}: not cached",))
        record(session.transaction, found)
        return Explained(f"callback {address}: {found.status.value} ({found.reason})")

    def _begin(self, session: Session) -> Verdict | Awaitable[Verdict]:
        transaction = session.transaction
        if self._refuses_unconfirmed and transaction.reverse_path.domain:
            return self._begin_confirmed(session, transaction)
        return self._begin_asking(session, transaction)

    async def _begin_confirmed(self, session: Session, transaction: Transaction) -> Verdict:
        """Refuse a sender whose domain wants unconfirmed mail rejected; ask about the others."""
        callbacks = self._callbacks
        if isinstance(callbacks, CallbackService) and await callbacks.refuses_unconfirmed(session):
            return Verdict(replies.from_policy(550, UNCONFIRMED_TEXT))
        return self._begin_asking(session, transaction)

    def _begin_asking(self, session: Session, transaction: Transaction) -> Verdict:
        if self._phase is Phase.RCPTTO and session.current_recipient is not None:
            self._ask(session, session.current_recipient.path.text)
        elif transaction.reverse_path.domain:
            sender = transaction.reverse_path.text
            if self._after_recipient:
                transaction.when_wanted.append(lambda: self._ask(session, sender))
            else:
                self._ask(session, sender)
        return PASS

    def _ask(self, session: Session, address: str) -> None:
        callbacks = self._callbacks
        asking = callbacks.ask_for_recipient if self._phase is Phase.RCPTTO else callbacks.ask
        verdict = asking(session, address)
        if not isinstance(verdict, CallbackVerdict):
            work = spawn(self._finished(session, address, verdict), name=f"smtp_cbv {session.id}", owner=self._owner)
            session.transaction.pending.append(work)
        elif self._records:
            self._tell(session, address, verdict)

    async def _finished(self, session: Session, address: str, work: Awaitable[CallbackVerdict]) -> None:
        verdict = await work
        if self._records:
            self._tell(session, address, verdict)

    def _tell(self, session: Session, address: str, verdict: CallbackVerdict) -> None:
        asked_by(session, self._phase).note("callback", address, None, verdict.status.value, verdict.message)
