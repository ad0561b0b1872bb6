"""Asks the validators of each phase in the configuration's order; the first verdict that is not a plain pass wins.

A validator that answers at once costs one call. One that has to wait gets its deadline, and the phase becomes a
coroutine. Meanwhile, validators that do not depend on it are asked, too (`proxy.smtp.together`).

A failure inside a validator is logged and answered with 451 4.3.0, or is a pass if its `on_error` says so. The client
learns no details.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Coroutine, Mapping, Sequence
from typing import Any, TypeAlias

from proxy.base.log import get_logger, printable
from proxy.base.tasks import TaskOwner
from proxy.mail import replies
from proxy.mail.session import Session
from proxy.mail.validator import Authenticates, Hook, OnError, Validator
from proxy.mail.verdict import PASS, Verdict
from proxy.smtp.ports import ListensToBodies
from proxy.smtp.together import Order, Round, order_of
from sieve.phases import CONTENT_PHASES, Need, Phase
from sieve.run.patience import within

log = get_logger()

Step: TypeAlias = tuple[Validator, Hook]
"""A validator and its hook in one phase."""

Noted: TypeAlias = Callable[[Phase, Hook], Hook]


class PhasePipeline:
    """The enabled validators of one configuration, arranged by phase. Shared by all sessions of a worker.

    Only an operator changes it.
    """

    __slots__ = (
        "_disabled",
        "_hooks",
        "_needs",
        "_orders",
        "_owner",
        "_shadowed",
        "_steps",
        "authenticates",
        "judges_recipients",
        "judges_recipients_by_content",
        "listeners",
        "reads_body",
    )

    def __init__(self, validators: Sequence[Validator], noted: Noted | None = None) -> None:
        """Arrange the validators' hooks by phase. `noted` wraps each, to note what it asks."""
        self._hooks = [(validator, _hooks_of(validator, noted)) for validator in validators]
        self._disabled: set[str] = set()
        self._shadowed = {each.name for each in validators if getattr(each, "shadow", False)}
        self._steps = self._enabled_steps()
        self._owner = TaskOwner("policy")
        self._orders = {phase: order_of([each for each, _ in steps], phase) for phase, steps in self._steps.items()}
        """For the phases with validators that may run at the same time: which earlier ones each must wait for."""
        self._needs = {phase: self._union(phase) for phase in Phase}
        """The phases after the message arrives that have hooks, in their order."""
        self.judges_recipients_by_content = bool(self._needs[Phase.EACH_RCPT] & (Need.HEADERS | Need.BODY))
        """Whether an each_rcpt hook reads the message, so that RCPT cannot be decided at once."""
        self.judges_recipients = self.active(Phase.RCPTTO) or self.active(Phase.EACH_RCPT)
        """Whether any validator has a hook at RCPT."""
        self.reads_body = any(Need.BODY in self._needs[phase] for phase in CONTENT_PHASES)
        """Whether a hook of a content phase reads the body, so that the message is kept until policy has decided."""
        self.listeners = tuple([each for each in validators if isinstance(each, ListensToBodies)])
        """The validators that read bodies while they arrive."""
        self.authenticates = any(isinstance(each, Authenticates) and each.authenticates for each in validators)
        """Whether a validator writes `Authentication-Results`."""

    def _union(self, phase: Phase) -> Need:
        wanted = Need.NOTHING
        for validator, _ in self._steps[phase]:
            wanted |= validator.needs(phase)
        return wanted

    def _enabled_steps(self) -> dict[Phase, tuple[Step, ...]]:
        """Return the steps by phase. A disabled one stays in its place, because sessions may be within the phase."""
        return {
            phase: tuple(
                [
                    (validator, _pass if validator.name in self._disabled else own[phase])
                    for validator, own in self._hooks
                    if phase in own
                ]
            )
            for phase in Phase
        }

    # ------------------------------------------------------------ what an operator changes

    @property
    def modules(self) -> dict[str, tuple[bool, bool]]:
        """The validators' names, each with whether it is enabled, and whether its verdicts are only logged."""
        names = [validator.name for validator, _ in self._hooks]
        return {name: (name not in self._disabled, name in self._shadowed) for name in names}

    def enable(self, name: str, *, on: bool) -> None:
        """Ask a validator, or no longer, from the next phase of any session on."""
        (self._disabled.discard if on else self._disabled.add)(name)
        self._steps = self._enabled_steps()

    def shadow(self, name: str, *, on: bool) -> None:
        """Only log a validator's verdicts, or apply them again."""
        (self._shadowed.add if on else self._shadowed.discard)(name)

    def operate_as(self, other: PhasePipeline) -> None:
        """Do the same about modules of the same name."""
        self._disabled, self._shadowed = other._disabled, other._shadowed
        self._steps = self._enabled_steps()

    @property
    def validators(self) -> list[Validator]:
        """The validators, also those that are disabled."""
        return [validator for validator, _ in self._hooks]

    def steps(self, phase: Phase) -> list[tuple[Validator, bool]]:
        """Return the validators that are asked in a phase, each with whether its verdict is only logged."""
        return [(validator, validator.name in self._shadowed) for validator, _ in self._steps[phase]]

    # ------------------------------------------------------------ asking

    def active(self, phase: Phase) -> bool:
        """Whether any validator has a hook in the phase."""
        return bool(self._steps[phase])

    def needs(self, phase: Phase) -> Need:
        """Return which parts of the content the hooks of the phase read."""
        return self._needs[phase]

    def run(self, phase: Phase, session: Session, after: int = 0) -> Verdict | Coroutine[Any, Any, Verdict]:
        """Ask the validators of a phase in order, without the first few; return the first verdict that is not a pass.

        If a validator must wait, return a coroutine that continues from there.
        """
        steps = self._steps[phase]
        for number, (validator, hook) in enumerate(steps[after:] if after else steps, after + 1):
            try:
                verdict = hook(session)
            except (Exception, asyncio.CancelledError) as error:  # noqa: BLE001 - no failure of a validator may end the session
                verdict = _failure(validator, phase, session, error)
            if not isinstance(verdict, Verdict):
                return self._waited(verdict, number, phase, session)
            if verdict is not PASS and (verdict.reply is not None or verdict.discard):
                if validator.name in self._shadowed:
                    _tell(validator, phase, session, verdict)
                    continue
                return verdict.signed(validator.name)
        return PASS

    async def _waited(self, answer: Awaitable[Verdict], number: int, phase: Phase, session: Session) -> Verdict:
        """Wait for the verdict of the phase's validator of this number, and ask the others."""
        order = self._orders[phase]
        if order is not None and number < len(order):
            return await self._together(answer, number, phase, session, order)
        decision = await self._decision(number - 1, answer, phase, session)
        if decision is None:
            following = self.run(phase, session, number)
            return following if isinstance(following, Verdict) else await following
        return decision

    async def _together(
        self, answer: Awaitable[Verdict], number: int, phase: Phase, session: Session, order: Order
    ) -> Verdict:
        """Wait for one verdict, and in the meantime ask later validators that do not depend on it."""
        steps = self._steps[phase]

        def ask(at: int) -> Verdict | Awaitable[Verdict]:
            validator, hook = steps[at]
            try:
                return hook(session)
            except (Exception, asyncio.CancelledError) as error:  # noqa: BLE001 - no failure of a validator may end the session
                return _failure(validator, phase, session, error)

        def decide(at: int, said: Verdict | Awaitable[Verdict]) -> Coroutine[Any, Any, Verdict | None]:
            return self._decision(at, said, phase, session)

        return await Round(self._owner, order, ask, decide).result(number - 1, answer) or PASS

    async def _decision(
        self, at: int, said: Verdict | Awaitable[Verdict], phase: Phase, session: Session
    ) -> Verdict | None:
        """Return a validator's verdict, within its deadline; None if it does not decide."""
        validator, _ = self._steps[phase][at]
        verdict = said if isinstance(said, Verdict) else await self._in_time(validator, said, phase, session)
        if verdict is PASS or (verdict.reply is None and not verdict.discard):
            return None
        if validator.name in self._shadowed:
            _tell(validator, phase, session, verdict)
            return None
        return verdict.signed(validator.name)

    async def _in_time(
        self, validator: Validator, answer: Awaitable[Verdict], phase: Phase, session: Session
    ) -> Verdict:
        """Wait for a verdict within the validator's deadline."""
        waiting: Coroutine[Any, Any, Verdict] = answer if isinstance(answer, Coroutine) else _awaited(answer)
        try:
            return await within(validator.deadline, waiting)
        except asyncio.CancelledError as error:
            if _is_ending():
                raise
            return _failure(validator, phase, session, error)
        except Exception as error:  # noqa: BLE001 - as above
            return _failure(validator, phase, session, error)


def _hooks_of(validator: Validator, noted: Noted | None) -> Mapping[Phase, Hook]:
    hooks = validator.hooks()
    return hooks if noted is None else {phase: noted(phase, hook) for phase, hook in hooks.items()}


def _pass(_session: Session) -> Verdict:
    return PASS


def _tell(validator: Validator, phase: Phase, session: Session, verdict: Verdict) -> None:
    """Log what a validator would have decided."""
    reply = verdict.reply
    log.info(
        "shadowed",
        session=session.id,
        validator=validator.name,
        phase=phase.value,
        disposition="discarded" if reply is None else "refused" if reply.permanent else "deferred",
        reply="" if reply is None else printable(f"{reply.code} {reply.text}"),
    )


def _is_ending() -> bool:
    """Whether the session was cancelled. Otherwise, the validator awaited something that was."""
    task = asyncio.current_task()
    return task is None or task.cancelling() > 0


async def _awaited(answer: Awaitable[Verdict]) -> Verdict:
    return await answer


def _failure(validator: Validator, phase: Phase, session: Session, error: BaseException) -> Verdict:
    """Log a validator's failure, and return the verdict that its `on_error` gives."""
    log.error(
        "validator_failed",
        session=session.id,
        validator=validator.name,
        phase=phase.value,
        reason="deadline passed" if isinstance(error, TimeoutError) else "failed",
        exc_info=error,
    )
    return Verdict(replies.INTERNAL.decided_by(validator.name)) if validator.on_error is OnError.DEFER else PASS
