"""Many callbacks for `ringback probe`: some at once, and patient where a budget is used up.

They go through the server's own verifier, so that its cache, its budgets and its breakers hold for them as for mail.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

from proxy.base.tasks import TaskOwner, spawn
from proxy.callback.service import CallbackService
from proxy.callback.verdict import CallbackVerdict, Status
from proxy.cli.transcript import Step, Transcript

FIRST_PAUSE = 2.0
LONGEST_PAUSE = 15.0
"""Seconds before an address that a budget held back is tried again; each pause is twice the one before."""


@dataclass(frozen=True, slots=True)
class Manner:
    """How they are asked."""

    sender: str | None = None
    """Given in MAIL FROM; None leaves it to the configuration."""
    at_once: int = 1
    patience: float = 0.0
    """Seconds that an address waits where a budget holds it back; then it is `throttled`."""


@dataclass(frozen=True, slots=True)
class Answer:
    """What was found out about an address, and how."""

    question: str
    verdict: CallbackVerdict
    transcript: Transcript


async def ask_all(
    callbacks: CallbackService,
    addresses: Sequence[str],
    manner: Manner,
    tell: Callable[[Answer], None],
    follow: Callable[[Step], None] = lambda step: None,  # noqa: ARG005 — nobody follows
) -> Counter[Status]:
    """Ask about each address and tell its answer as soon as it is there; return how many have which status.

    `follow` is given each step of each question while it is asked: of use where one is asked at a time.
    """
    waiting = iter(addresses)
    counted: Counter[Status] = Counter()

    async def work(addresses: Iterator[str]) -> None:
        for address in addresses:
            answer = await _ask(callbacks, address, manner, follow)
            counted[answer.verdict.status] += 1
            tell(answer)

    owner = TaskOwner("probe")
    try:
        workers = min(manner.at_once, len(addresses))
        await asyncio.gather(*(spawn(work(waiting), name="probe", owner=owner) for _ in range(workers)))
    finally:
        await owner.cancel()
    return counted


async def _ask(callbacks: CallbackService, address: str, manner: Manner, follow: Callable[[Step], None]) -> Answer:
    """Ask, and ask again while a budget is used up."""
    until, pause = asyncio.get_running_loop().time() + manner.patience, FIRST_PAUSE
    while True:
        transcript = Transcript(follow)
        verdict = await callbacks.verifier.verify(address, manner.sender, observer=transcript)
        transcript.finish()
        if verdict.reason != "throttled" or asyncio.get_running_loop().time() + pause > until:
            return Answer(address, verdict, transcript)
        await asyncio.sleep(pause)
        pause = min(2 * pause, LONGEST_PAUSE)
