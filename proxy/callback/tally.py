"""Counts callback answers in memory and logs them once a minute if there were any.

Skips and refusals to ask count as well, so the log shows what the limits hold back. Each line covers the time since the
line before; the sum of the lines is the total, even over restarts and machines.
"""

from __future__ import annotations

import asyncio
from collections import Counter

from proxy.base.log import get_logger
from proxy.callback.verdict import CallbackVerdict
from proxy.metrics.book import BOOK
from proxy.metrics.table import CALLBACKS, STATUS

log = get_logger()

_ANSWERS = [{status: CALLBACKS.at(status, remembered) for status in STATUS.values} for remembered in ("false", "true")]
"""Where an answer is counted: by whether it was remembered, then by status."""

SECONDS = 60.0
"""From the first counted answer to the line that reports it."""


class AnswerCounts:
    """Counts answers. The worker's event loop owns it; no timer runs while nothing is asked."""

    def __init__(self) -> None:
        self._answers: Counter[str] = Counter()
        self._timer: asyncio.TimerHandle | None = None

    def count(self, verdict: CallbackVerdict) -> None:
        """Count an answer by status, reason, and whether it was cached."""
        self._answers[f"{verdict.status} {verdict.reason}{' cached' if verdict.cached else ''}"] += 1
        BOOK.counts[_ANSWERS[verdict.cached][f"{verdict.status}"]] += 1
        if self._timer is None:
            self._timer = asyncio.get_running_loop().call_later(SECONDS, self.report)

    def report(self) -> None:
        """Log the counts since the last report, if there are any."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        if self._answers:
            answers, self._answers = self._answers, Counter()
            log.info("callbacks", asked=answers.total(), answers=dict(answers.most_common()))
