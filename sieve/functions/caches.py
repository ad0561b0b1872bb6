"""Caches of values that all workers share, and all machines with a common store."""

from __future__ import annotations

import re

from sieve.library import Soon, sieve_function
from sieve.run import reasons
from sieve.run.runtime import Frame
from sieve.run.values import ScriptError

_LIFE = re.compile(r"([0-9]{1,9})([smhSMH]?)")
_SECONDS = {"": 1, "s": 1, "m": 60, "h": 3600}


def life_of(text: str) -> int:
    """Return the seconds of a number, maybe with S, M or H.

    Raises:
        ScriptError: it has another form.
    """
    found = _LIFE.fullmatch(text)
    if found is None:
        raise ScriptError(reasons.not_a_life(text))
    return int(found[1]) * _SECONDS[found[2].lower()]


@sieve_function()
def ec_cluster_cache_get(frame: Frame, cache: str, key: str) -> Soon[str]:
    """Return a value from a cache; an empty string if the cache does not have it."""
    return frame.host.counters.cached(cache, key)


@sieve_function(checks={"life": life_of})
def ec_cluster_cache_set(frame: Frame, cache: str, key: str, value: str, life: str) -> None:
    """Keep a value in a cache for this many seconds, minutes (`"5M"`) or hours (`"2H"`); 0 means forever."""
    frame.host.counters.keep_cached(cache, key, value, life_of(life))
