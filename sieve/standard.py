"""The library of all Sieve++ functions in this package."""

from __future__ import annotations

import functools

from sieve import functions
from sieve.library import Library, collect


@functools.cache
def standard_library() -> Library:
    """Return the library, collected on the first call."""
    return collect(functions)
