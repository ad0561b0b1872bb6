"""Momentum's throttle, `count/seconds`, as an option value, and the token buckets that enforce it."""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Collection
from dataclasses import dataclass
from typing import Annotated

from cachetools import Cache, LRUCache

from config.errors import not_a
from config.language.nodes import String, Value, Word
from config.schema.readers import ReadContext, Unreadable, ValueReader

_FORM = re.compile(r"(\d{1,9})(?:/(\d{1,9}))?")
_KEYS_REMEMBERED = 65_536


@dataclass(frozen=True, slots=True)
class Throttle:
    """At most `count` events in `seconds`; a count of 0 means no limit."""

    count: int = 0
    seconds: int = 1

    def __str__(self) -> str:
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
    """Token buckets by key, at most `most` of them. Only the event loop's thread uses them.

    A bucket holds `count` tokens and refills at `count/seconds`: a burst of `count` passes at once, and the rate limits
    the rest. The least recently used keys are forgotten, so their buckets are full again.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic, most: int = _KEYS_REMEMBERED) -> None:
        """Start with every bucket full; remember at most `most` keys."""
        self._clock = clock
        self._state: LRUCache[tuple[str, Throttle], tuple[float, float]] = LRUCache(most)

    def __len__(self) -> int:
        """Return how many buckets are remembered."""
        return len(self._state)

    def take(self, key: str, throttle: Throttle, wanted: int = 1) -> bool:
        """Take `wanted` tokens, all or none, and return whether they were available."""
        if not throttle.count:
            return True
        now = self._clock()
        tokens = self._tokens(key, throttle, now)
        allowed = tokens >= wanted
        self._state[(key, throttle)] = (tokens - wanted if allowed else tokens, now)
        return allowed

    def has(self, key: str, throttle: Throttle) -> bool:
        """Return whether a token is available, without taking it."""
        return not throttle.count or self._tokens(key, throttle, self._clock()) >= 1

    def peek(self, key: str, throttle: Throttle) -> float:
        """Return how many tokens are available, and leave the bucket as recently used as it was."""
        found = (key, throttle) in self._state
        held = Cache.__getitem__(self._state, (key, throttle)) if found else (float(throttle.count), 0.0)
        return _filled(held, throttle, self._clock())

    def left(self, key: str, throttle: Throttle) -> float:
        """Return how many tokens are available, or 0 if there is no limit."""
        return self._tokens(key, throttle, self._clock()) if throttle.count else 0.0

    def forget(self, keys: Collection[str]) -> int:
        """Fill the buckets of these keys; return how many there were."""
        gone = [each for each in self._state if each[0] in keys]
        for each in gone:
            del self._state[each]
        return len(gone)

    def states(self) -> list[tuple[str, Throttle, float, float]]:
        """Return each bucket's key, limit, tokens, and when they were counted."""
        return [(key, throttle, tokens, at) for (key, throttle), (tokens, at) in self._state.items()]

    def adopt(self, key: str, throttle: Throttle, tokens: float, at: float) -> None:
        """Set a bucket to the state that it had elsewhere, by the same clock."""
        self._state[(key, throttle)] = (tokens, at)

    def _tokens(self, key: str, throttle: Throttle, now: float) -> float:
        return _filled(self._state.get((key, throttle), (float(throttle.count), now)), throttle, now)


def _filled(held: tuple[float, float], throttle: Throttle, now: float) -> float:
    tokens, since = held
    waited = max(0.0, now - since)  # a wall clock may be set back
    return min(float(throttle.count), tokens + waited * throttle.count / throttle.seconds)
