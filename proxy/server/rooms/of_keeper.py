"""What one process answers for all workers: the keeper, or the only worker if there is no keeper."""

from __future__ import annotations

from proxy.callback.service import CallbackService
from proxy.callback.verifier import CallbackVerifier
from proxy.counting.memory import MemoryCounting
from proxy.counting.sharing import SharedCounting
from proxy.keeper.client import KeeperClient
from proxy.modules.services import Callbacks
from proxy.server.answering import Question
from proxy.server.assembly import Assembly
from proxy.server.rooms import callbacks, counting


def questions(
    counts: MemoryCounting | SharedCounting | None, asks: Callbacks | CallbackVerifier | None, assembly: Assembly
) -> dict[str, Question]:
    """Return the questions to a process about what it counts and asks itself: nothing, if the keeper does both."""
    found = counting.questions(counts, assembly.core, assembly.monitors) if counts is not None else {}
    verifier = asks.verifier if isinstance(asks, CallbackService) else asks
    if isinstance(verifier, CallbackVerifier):
        found |= callbacks.questions(verifier)
    elif isinstance(verifier, KeeperClient):
        found |= callbacks.questions_in_front(verifier)
    return found
