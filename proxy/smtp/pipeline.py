"""Runs the validators of each phase in the configuration's order, each under its deadline.

The first verdict that is not a plain pass wins. A failure inside a validator is logged and answered with 451 4.3.0, or
is a pass if its `on_error` says so. The client learns no details.
"""

from __future__ import annotations

from collections.abc import Sequence

from proxy.base.log import get_logger
from proxy.mail import replies
from proxy.mail.session import Session
from proxy.mail.validator import Hook, OnError, Validator
from proxy.mail.verdict import PASS, Verdict
from sieve.phases import CONTENT_PHASES, Need, Phase
from sieve.run.patience import within

log = get_logger()

_FAILED = Verdict(replies.INTERNAL)


class PhasePipeline:
    """The enabled validators of one configuration. Immutable; shared by all sessions of a worker."""

    __slots__ = ("_hooks", "_needs")

    def __init__(self, validators: Sequence[Validator]) -> None:
        """Arrange the validators' hooks by phase."""
        self._hooks: dict[Phase, tuple[tuple[Validator, Hook], ...]] = {
            phase: tuple((each, hooks[phase]) for each in validators if phase in (hooks := each.hooks()))
            for phase in Phase
        }
        self._needs = {phase: self._union(phase) for phase in Phase}

    def _union(self, phase: Phase) -> Need:
        wanted = Need.NOTHING
        for validator, _ in self._hooks[phase]:
            wanted |= validator.needs(phase)
        return wanted

    def active(self, phase: Phase) -> bool:
        """Whether any validator has a hook in the phase."""
        return bool(self._hooks[phase])

    def needs(self, phase: Phase) -> Need:
        """Return which parts of the content the hooks of the phase read."""
        return self._needs[phase]

    @property
    def judges_recipients_by_content(self) -> bool:
        """Whether an each_rcpt hook reads the message, so that RCPT cannot be decided at once."""
        return bool(self._needs[Phase.EACH_RCPT] & (Need.HEADERS | Need.BODY))

    @property
    def judges_recipients(self) -> bool:
        """Whether any validator has a hook at RCPT."""
        return self.active(Phase.RCPTTO) or self.active(Phase.EACH_RCPT)

    @property
    def judges_content(self) -> bool:
        """Whether any validator has a hook after the message arrives."""
        return any(self._hooks[phase] for phase in CONTENT_PHASES)

    @property
    def reads_body(self) -> bool:
        """Whether a hook of a content phase reads the body, so that the message is kept until policy has decided."""
        return any(Need.BODY in self._needs[phase] for phase in CONTENT_PHASES)

    async def run(self, phase: Phase, session: Session) -> Verdict:
        """Ask the validators of a phase in order; return the first verdict that is not a pass."""
        for validator, hook in self._hooks[phase]:
            verdict = await self._judge(phase, validator, hook, session)
            if verdict is not PASS and (verdict.reply is not None or verdict.discard):
                return verdict
        return PASS

    async def _judge(self, phase: Phase, validator: Validator, hook: Hook, session: Session) -> Verdict:
        try:
            return await within(validator.deadline, hook(session))
        except Exception as error:
            reason = "deadline passed" if isinstance(error, TimeoutError) else "failed"
            log.error(
                "validator_failed",
                session=session.id,
                validator=validator.name,
                phase=phase.value,
                reason=reason,
                exc_info=error,
            )
            return _FAILED if validator.on_error is OnError.DEFER else PASS
