"""The library of all functions of Sieve++ that ship."""

from __future__ import annotations

import functools

from sieve import functions
from sieve.library import Library, collect


@functools.cache
def standard_library() -> Library:
    """Return the library of all functions that ship; collected once."""
    return collect(functions)
