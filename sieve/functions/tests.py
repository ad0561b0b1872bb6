"""Tests that look at nothing but their arguments."""

from __future__ import annotations

from sieve.library import Value, sieve_function


@sieve_function()
def true() -> bool:
    """Hold always."""
    return True


@sieve_function()
def false() -> bool:
    """Hold never."""
    return False


@sieve_function()
def ec_test(value: Value) -> Value:
    """Compare a value with a key: `ec_test :is "${verdict}" "fail"`.

    Both may be lists; the test holds if any value matches any key.
    """
    return value


@sieve_function()
def require(extensions: tuple[str, ...]) -> None:
    """Name extensions, as standard Sieve does. It is accepted and does nothing: every function is always there."""
