"""Addresses that scripts give to functions."""

from __future__ import annotations

from sieve.message.addresses import address_in
from sieve.run import reasons
from sieve.run.values import (
    ScriptError,
)


def address_of(text: str) -> str:
    """Return the address of a text that a script gave for one.

    Raises:
        ScriptError: it is none.
    """
    found = address_in(text)
    if found is None:
        raise ScriptError(reasons.not_an_address(text))
    return found
