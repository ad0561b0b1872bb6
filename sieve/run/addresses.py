"""Addresses in function arguments."""

from __future__ import annotations

from sieve.message.addresses import address_in
from sieve.run import reasons
from sieve.run.values import (
    ScriptError,
)


def address_of(text: str) -> str:
    """Return the address in a script's argument.

    Raises:
        ScriptError: it is not an address.
    """
    found = address_in(text)
    if found is None:
        raise ScriptError(reasons.not_an_address(text))
    return found
