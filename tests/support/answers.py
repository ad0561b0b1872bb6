"""What code returns that answers at once if it can: the answer, or what to await for it."""

from __future__ import annotations

import inspect
from collections.abc import Awaitable
from typing import TypeVar, cast

from proxy.callback.verdict import CallbackVerdict
from proxy.mail.session import Path

T = TypeVar("T")


async def settled(answer: T | Awaitable[T]) -> T:
    """Return the answer, after waiting for it if it was not at hand."""
    return await answer if inspect.isawaitable(answer) else cast(T, answer)


class RemembersNothing:
    """A verifier without memory: every verdict has to be found."""

    def known(self, _mailbox: Path | None, _sender: str | None, *, client: str) -> CallbackVerdict | None:  # noqa: ARG002 - as the verifier's
        return None
