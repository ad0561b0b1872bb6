"""How often callbacks were answered, and how: counted in memory, logged once a minute where there is something to log.

Skips and refusals to ask count as well, so that the log tells what the limits hold back. The line holds what came
since the line before; adding lines up gives totals, over restarts and machines, too.
"""

from __future__ import annotations

import asyncio
from collections import Counter

from proxy.base.log import get_logger
from proxy.callback.verdict import CallbackVerdict

log = get_logger()

SECONDS = 60.0
"""From the first answer that is counted to the line that tells of it."""


class Tally:
    """Counts answers. Owned by the worker's event loop; no timer runs while nothing is asked."""

    def __init__(self) -> None:
        """Begin with nothing counted."""
        self._answers: Counter[str] = Counter()
        self._timer: asyncio.TimerHandle | None = None

    def count(self, verdict: CallbackVerdict) -> None:
        """Count an answer by status, reason, and whether it was remembered."""
        self._answers[f"{verdict.status.value} {verdict.reason}{' cached' if verdict.cached else ''}"] += 1
        if self._timer is None:
            self._timer = asyncio.get_running_loop().call_later(SECONDS, self.report)

    def report(self) -> None:
        """Log what was counted since the last time, if anything was."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        if self._answers:
            answers, self._answers = self._answers, Counter()
            log.info("callbacks", asked=answers.total(), answers=dict(answers.most_common()))
