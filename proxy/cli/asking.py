"""Runs the callbacks of `ringback probe`: several at a time, with retries while a budget is used up.

They use the server's verifier, so the same cache, budgets and breakers apply as for mail.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

from proxy.base.tasks import TaskOwner, spawn
from proxy.callback.service import CallbackService
from proxy.callback.verdict import CallbackVerdict, Status
from proxy.cli.transcript import Transcript, TranscriptEntry

FIRST_PAUSE = 2.0
LONGEST_PAUSE = 15.0
"""Seconds before a throttled address is tried again. The pause doubles each time."""


@dataclass(frozen=True, slots=True)
class ProbeRequest:
    """How to ask."""

    sender: str | None = None
    """Sender in MAIL FROM; None means the configured one."""
    at_once: int = 1
    patience: float = 0.0
    """How many seconds to retry an address while a budget is used up; after that, it is `throttled`."""


@dataclass(frozen=True, slots=True)
class ProbeResult:
    """The answer about an address, and how it was found."""

    question: str
    verdict: CallbackVerdict
    transcript: Transcript


async def ask_all(
    callbacks: CallbackService,
    addresses: Sequence[str],
    manner: ProbeRequest,
    tell: Callable[[ProbeResult], None],
    follow: Callable[[TranscriptEntry], None] = lambda step: None,  # noqa: ARG005 — ignores steps
) -> Counter[Status]:
    """Ask about each address, and pass on each answer as soon as it is known; return the number of addresses by status.

    `follow` gets each step of each question as it happens, which is useful if `at_once` is 1.
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


async def _ask(
    callbacks: CallbackService, address: str, manner: ProbeRequest, follow: Callable[[TranscriptEntry], None]
) -> ProbeResult:
    """Ask, and retry while a budget is used up."""
    until, pause = asyncio.get_running_loop().time() + manner.patience, FIRST_PAUSE
    while True:
        transcript = Transcript(follow)
        verdict = await callbacks.verifier.verify(address, manner.sender, observer=transcript)
        transcript.finish()
        if verdict.reason != "throttled" or asyncio.get_running_loop().time() + pause > until:
            return ProbeResult(address, verdict, transcript)
        await asyncio.sleep(pause)
        pause = min(2 * pause, LONGEST_PAUSE)
