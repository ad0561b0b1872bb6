"""The library of standard Sieve: its own commands and tests, and the Sieve++ functions that work the same."""

from __future__ import annotations

import functools
from types import MappingProxyType

from sieve import rfc5228
from sieve.functions import tests
from sieve.library import Library, collect


@functools.cache
def standard_sieve() -> Library:
    """Return the library; collected once."""
    shared = {"true": tests.true, "false": tests.false}
    return Library(MappingProxyType({**shared, **collect(rfc5228).functions}))
