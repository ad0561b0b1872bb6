"""With History_Answers: what policy asked (DNS, callbacks, the clock …) and the answers, so that a run can be replayed.

A module's hook is asked with an `Asked` that notes the answers which the hook gets, in order. DNS tells the notes of
the current task (`proxy.dns.noted`); scripts and modules tell the others themselves.
"""

from __future__ import annotations

from collections.abc import Awaitable
from contextvars import ContextVar

from proxy.base.log import get_logger, printable
from proxy.dns.noted import noting
from proxy.mail.session import Session
from proxy.mail.validator import Hook
from proxy.mail.verdict import Verdict
from sieve.phases import Phase

log = get_logger()

LONGEST_ANSWER = 1000
"""Characters of each text in an answer."""

MOST_ANSWERS = 100
"""Answers that are kept of what one module asks in one phase."""

Part = str | float | None

_ASKED: ContextVar[Asked | None] = ContextVar("asked", default=None)


def answer_of(*parts: Part) -> list[Part]:
    """Return an answer as it is kept: the kind of question, its arguments, and the answer."""
    return [printable(each, LONGEST_ANSWER) if isinstance(each, str) else each for each in parts]


class Asked:
    """What one module asks for one session in one phase."""

    __slots__ = ("_answers", "_dropped", "_ended", "_kept", "_phase", "_session", "_transaction")

    def __init__(self, session: Session, phase: Phase) -> None:
        """Begin with no answers."""
        self._session, self._transaction, self._phase = session.id, session.transaction_id, phase
        self._answers: list[list[Part]] = []
        self._kept = self._dropped = 0
        self._ended = False

    def note(self, *answer: Part) -> None:
        """Keep an answer, or count it. One that comes after the hook's end is reported at once."""
        if self._kept >= MOST_ANSWERS:
            self._dropped += 1
            return
        self._kept += 1
        self._answers.append(answer_of(*answer))
        if self._ended:
            self.tell()

    def tell(self) -> None:
        """Log the answers since the last time, and how many were not kept."""
        answers, self._answers = self._answers, []
        if answers:
            log.debug(
                "answers",
                session=self._session,
                transaction=self._transaction,
                phase=self._phase.value,
                asked_outside=answers,
                dropped=self._dropped,
            )
            self._dropped = 0

    def end(self) -> None:
        """The hook has decided, but tasks that it started may continue."""
        self._ended = True
        self.tell()


def asked_by(session: Session, phase: Phase) -> Asked:
    """Return the notes of the hook that runs; outside a hook, new ones that report each answer at once."""
    found = _ASKED.get()
    if found is None:
        found = Asked(session, phase)
        found.end()
    return found


def note(*answer: Part) -> None:
    """Keep an answer of the hook that runs, if its answers are kept."""
    asked = _ASKED.get()
    if asked is not None:
        asked.note(*answer)


def noted(phase: Phase, hook: Hook) -> Hook:
    """Return a hook that does the same, and whose answers are noted."""

    def judge(session: Session) -> Verdict | Awaitable[Verdict]:
        asked = Asked(session, phase)
        _attend(asked)
        try:
            verdict = hook(session)
        except BaseException:
            asked.end()
            raise
        finally:
            _attend(None)
        if isinstance(verdict, Verdict):
            asked.end()
            return verdict
        return _waited(verdict, asked)

    return judge


async def _waited(verdict: Awaitable[Verdict], asked: Asked) -> Verdict:
    _attend(asked)
    try:
        return await verdict
    finally:
        _attend(None)
        asked.end()


def _attend(asked: Asked | None) -> None:
    """Let what this task does be noted. A hook may end in another task than it began in, so no token is kept."""
    _ASKED.set(asked)
    noting(None if asked is None else asked.note)
