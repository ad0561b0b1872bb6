"""What a command returns: the reply, or a `Pending` if the reply has to wait."""

from __future__ import annotations

from collections.abc import Coroutine
from typing import Any, final

from proxy.mail.replies import Reply


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
