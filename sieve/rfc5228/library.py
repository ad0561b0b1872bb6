"""The library of standard Sieve: its own commands and tests, and the Sieve++ functions that work the same."""

from __future__ import annotations

import dataclasses
import functools
from types import MappingProxyType

from sieve import rfc5228
from sieve.functions import body, tests
from sieve.library import Library, collect


@functools.cache
def standard_sieve() -> Library:
    """Return the library; collected once."""
    own = collect(rfc5228).functions
    shared = {
        "true": tests.true,
        "false": tests.false,
        "body": dataclasses.replace(body.body, extension="body"),
    }
    return Library(MappingProxyType({**shared, **own}))
