"""Gauges: values in a cache that go up and down. All workers share them, as do machines with a common store."""

from __future__ import annotations

from sieve.library import Soon, sieve_function
from sieve.run import reasons
from sieve.run.runtime import Frame
from sieve.run.values import ScriptError

_MOST = 1_000_000
_LONGEST = 10 * 366 * 86400


@sieve_function()
def ec_gauge_cache_init(frame: Frame, cache: str, most: int, seconds: int, replicate: int = 0) -> None:  # noqa: ARG001 — all share it anyhow
    """Create a cache of gauges. Scripts call it in every run: an existing cache keeps its contents and its limits.

    It holds at most `most` gauges: beyond that, a new one replaces the one that was changed longest ago. A gauge
    becomes 0 again this many `seconds` after its last change (0: never). Which processes share it does not depend on
    `replicate`.
    """
    if not 0 < most <= _MOST:
        raise ScriptError(reasons.number_out_of_range("ec_gauge_cache_init"))
    if not 0 <= seconds <= _LONGEST:
        raise ScriptError(reasons.number_out_of_range("ec_gauge_cache_init"))
    frame.host.counters.define_gauges(cache, most, seconds)


@sieve_function()
def ec_gauge_cache_get(frame: Frame, cache: str, key: str) -> Soon[int]:
    """Return the value of a gauge; 0 if it does not exist."""
    return frame.host.counters.gauge(cache, key, 0)


@sieve_function()
def ec_gauge_cache_inc(frame: Frame, cache: str, key: str) -> Soon[int]:
    """Add 1 to a gauge, and return its value."""
    return frame.host.counters.gauge(cache, key, 1)


@sieve_function()
def ec_gauge_cache_dec(frame: Frame, cache: str, key: str) -> Soon[int]:
    """Subtract 1 from a gauge, which may go below 0, and return its value."""
    return frame.host.counters.gauge(cache, key, -1)
