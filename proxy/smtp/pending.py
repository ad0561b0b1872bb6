"""`Pending`: a command's reply that has to wait. And `ask`, which waits for policy only if policy waits."""

from __future__ import annotations

from collections.abc import Callable, Coroutine
from typing import Any, final

from proxy.mail.replies import Reply
from proxy.mail.session import Session
from proxy.mail.verdict import Verdict
from proxy.smtp.ports import Policy
from sieve.phases import Phase


@final
class Pending:
    """The rest of a command, which waits for something outside.

    The session runs it as a task, and reads no command until it has ended. Its result is the reply, or None if nothing
    is to be said.
    """

    __slots__ = ("work",)

    def __init__(self, work: Coroutine[Any, Any, Reply | None]) -> None:
        """Take the coroutine; it has not begun."""
        self.work = work


Answer = Reply | Pending
"""What a command returns: the reply, or that it takes longer."""


class Over(Exception):
    """The session ends, and nothing more is said."""


def ask(
    policy: Policy,
    phases: tuple[Phase, ...],
    session: Session,
    heed: Callable[[Verdict], Reply | None],
    go_on: Callable[[], Answer],
) -> Answer:
    """Ask policy in each phase; the first reply that `heed` makes of a verdict ends it, otherwise `go_on` follows.

    Only a verdict that is not there yet makes it Pending.
    """
    for number, phase in enumerate(phases, 1):
        verdict = policy.run(phase, session)
        if type(verdict) is not Verdict:
            return Pending(_asked(policy, phases[number:], session, heed, go_on, verdict))
        if (reply := heed(verdict)) is not None:
            return reply
    return go_on()


async def _asked(
    policy: Policy,
    phases: tuple[Phase, ...],
    session: Session,
    heed: Callable[[Verdict], Reply | None],
    go_on: Callable[[], Answer],
    verdict: Any,
) -> Reply | None:
    """Wait for a verdict, then ask in the other phases."""
    reply = heed(await verdict)
    answer = reply if reply is not None else ask(policy, phases, session, heed, go_on)
    return await answer.work if type(answer) is Pending else answer
