"""Tests that only use their arguments, and `require`."""

from __future__ import annotations

import ipaddress

from sieve.library import Place, Value, sieve_function
from sieve.run.values import UNSET, as_text, element

_FALSE = frozenset({"", "0", "false"})


@sieve_function()
def true() -> bool:
    """Always true."""
    return True


@sieve_function()
def false() -> bool:
    """Always false."""
    return False


@sieve_function(transparent=True)
def ec_test(value: Value) -> Value:
    """Compare a value with a key: `ec_test :is "${verdict}" "fail"`.

    Both can be lists; the test is true if any value matches any key.
    """
    return value


@sieve_function()
def require(extensions: tuple[str, ...]) -> None:
    """Name extensions, as in standard Sieve. Does nothing: all functions are always available."""


@sieve_function()
def isset(variable: Place, key: Value | None = None) -> bool:
    """Tell whether a variable, or an element of a list or hash, is set: `isset $list 1`, `isset $hash "k"`."""
    if key is None:
        return variable is not UNSET
    return element(variable, key) is not UNSET


@sieve_function()
def is_true(variable: Place) -> bool:
    """Tell whether a variable is true: set, not empty, and neither `0` nor `false`."""
    if variable is UNSET:
        return False
    if isinstance(variable, dict):
        return bool(variable)
    return as_text(variable).lower() not in _FALSE and variable != 0


@sieve_function(name="type")
def type_(variable: Place) -> str:
    """Compare the type of a variable: `string`, `number`, `stringlist` or `hash`. Empty if it is not set."""
    names: dict[type, str] = {str: "string", int: "number", float: "number", tuple: "stringlist", dict: "hash"}
    return names.get(variable.__class__, "")


def _is_ip(text: str) -> bool:
    try:
        ipaddress.ip_address(text)
    except ValueError:
        return False
    return "%" not in text


@sieve_function()
def is_valid_ip(addresses: tuple[str, ...]) -> bool:
    """Tell whether a string, or every string in a list, is an IPv4 or IPv6 address."""
    return bool(addresses) and all(_is_ip(each) for each in addresses)


def _is_literal(text: str) -> bool:
    if not (text.startswith("[") and text.endswith("]")):
        return _is_ip(text)
    inner = text[1:-1]
    if inner[:5].lower() == "ipv6:":
        return ":" in inner[5:] and _is_ip(inner[5:])
    return _is_ip(inner)


@sieve_function()
def is_rfc821_ip(addresses: tuple[str, ...]) -> bool:
    """Tell whether every string is an IP address or an address literal in brackets."""
    return bool(addresses) and all(_is_literal(each) for each in addresses)
