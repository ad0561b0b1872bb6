"""Momentum's throttle form, `count/seconds`, as a value of the configuration, and token buckets that keep to it."""

from __future__ import annotations

import re
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Annotated

from cachetools import LRUCache

from config.errors import not_a
from config.language.nodes import String, Value, Word
from config.schema.readers import ReadContext, Unreadable, ValueReader

_FORM = re.compile(r"(\d{1,9})(?:/(\d{1,9}))?")
_KEYS_REMEMBERED = 65_536


@dataclass(frozen=True, slots=True)
class Throttle:
    """So many in so many seconds; a count of 0 is no limit."""

    count: int = 0
    seconds: int = 1

    def __str__(self) -> str:
        """Return it as it is written."""
        return f"{self.count}/{self.seconds}" if self.count else "0"


NO_THROTTLE = Throttle()


def _read(value: Value, _reading: ReadContext) -> Throttle:
    text = value.text if isinstance(value, Word | String) else ""
    found = _FORM.fullmatch(text)
    if found is None or found[2] == "0":
        raise Unreadable(
            not_a("a throttle", text, value.span, 'write count/seconds, such as "60/3", or 0 for no limit')
        )
    return Throttle(int(found[1]), int(found[2] or 1))


ThrottleValue = Annotated[Throttle, ValueReader(_read, "a throttle, `count/seconds`", write=lambda value: f'"{value}"')]


class Buckets:
    """Token buckets by key, as many as are remembered. The event loop's thread owns them.

    A bucket holds `count` tokens and fills at `count/seconds`: a burst of `count` passes at once, and over time no more
    than the rate. Of keys that were not seen for longest the state is forgotten, which is in their favour.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic, most: int = _KEYS_REMEMBERED) -> None:
        """Begin with every bucket full; `most` keys are remembered."""
        self._clock = clock
        self._state: LRUCache[tuple[str, Throttle], tuple[float, float]] = LRUCache(most)

    def take(self, key: str, throttle: Throttle, wanted: int = 1) -> bool:
        """Take a token, or as many as are wanted, all or none; tell whether they were there."""
        if not throttle.count:
            return True
        now = self._clock()
        tokens = self._tokens(key, throttle, now)
        allowed = tokens >= wanted
        self._state[(key, throttle)] = (tokens - wanted if allowed else tokens, now)
        return allowed

    def has(self, key: str, throttle: Throttle) -> bool:
        """Tell whether a token is there, and leave it."""
        return not throttle.count or self._tokens(key, throttle, self._clock()) >= 1

    def left(self, key: str, throttle: Throttle) -> float:
        """Return how many tokens are there, 0 without a limit."""
        return self._tokens(key, throttle, self._clock()) if throttle.count else 0.0

    def _tokens(self, key: str, throttle: Throttle, now: float) -> float:
        tokens, since = self._state.get((key, throttle), (float(throttle.count), now))
        waited = max(0.0, now - since)  # a clock that shows the time of day may be set back
        return min(float(throttle.count), tokens + waited * throttle.count / throttle.seconds)
