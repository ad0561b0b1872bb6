"""The type of a command, and its result: the reply, or a `Pending` if the reply has to wait."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Coroutine
from dataclasses import dataclass, field
from typing import Any, final

from proxy.mail.replies import Reply
from proxy.smtp.counting import place_of

CHECKS_SAY = frozenset({"EHLO", "HELO", "NOOP", "RSET", "QUIT"})
"""The commands of a balancer's health check (`proxy.smtp.health`)."""


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

    def drop(self) -> bool:
        """Drop the work if it has not begun; return whether it was dropped.

        A task that is cancelled before its first step does not close its coroutine.
        """
        if inspect.getcoroutinestate(self.work) != inspect.CORO_CREATED:
            return False
        self.work.close()
        return True


Answer = Reply | Pending
"""What a command returns: the reply, or that it takes longer."""


@dataclass(frozen=True, slots=True)
class Verb:
    """A command's function, and what the session does before it is called."""

    verb: str
    run: Callable[[Any, bytes], Answer]
    goes_last: bool = False
    """It must be the last of a pipelined group (RFC 2920 section 3.1)."""
    is_junk: bool = False
    """It has no purpose if it is repeated."""
    is_ordered: bool = True
    """The session checks the state before it, and changes it after it. The rest of DATA and BDAT does this itself."""
    place: int = field(init=False)
    """Where its replies are counted."""
    acts: bool = field(init=False)
    """Whether the command is one that a health check does not send."""

    def __post_init__(self) -> None:
        """Look up, once, what follows from the verb."""
        object.__setattr__(self, "place", place_of(self.verb))
        object.__setattr__(self, "acts", self.verb not in CHECKS_SAY)


class Over(Exception):
    """The session ends, and nothing more is said."""
