"""With History_Answers: what policy asked outside itself, and what it was told, so that it can be replayed later."""

from __future__ import annotations

from collections.abc import Sequence

from proxy.base.log import get_logger, printable
from proxy.mail.session import Session
from sieve.phases import Phase

log = get_logger()

LONGEST_ANSWER = 1000
"""Characters of each text in an answer."""

Part = str | float | None


def answer_of(*parts: Part) -> list[Part]:
    """Return an answer as it is kept: the kind of question, its arguments, and what was told."""
    return [printable(each, LONGEST_ANSWER) if isinstance(each, str) else each for each in parts]


def tell_answers(session: Session, phase: Phase, answers: Sequence[Sequence[Part]], dropped: int = 0) -> None:
    """Log answers, in the order in which they came; `dropped` more were not kept."""
    log.debug(
        "answers",
        session=session.id,
        transaction=session.transaction_id,
        phase=phase.value,
        asked_outside=answers,
        dropped=dropped,
    )
