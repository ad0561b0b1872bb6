"""Variables of standard Sieve (RFC 5229)."""

from __future__ import annotations

import string

from sieve.library import VariableName, sieve_function
from sieve.rfc5228.state import GLOBAL, state_of
from sieve.run.runtime import Frame

_LOWER = str.maketrans(string.ascii_uppercase, string.ascii_lowercase)
_UPPER = str.maketrans(string.ascii_lowercase, string.ascii_uppercase)
"""Other letters are left unchanged (RFC 5229, 4.1.3)."""
_OF_WILDCARDS = frozenset("*?\\")
_OF_PATTERNS = frozenset(r"\.*+?()[]{}|^$")


@sieve_function(
    dialect="rfc5228",
    extension="variables",
    constants=("name",),
    exclusive=(("lower", "upper"), ("lowerfirst", "upperfirst"), ("quotewildcard", "quoteregex")),
)
def set(  # noqa: A001 - the command's name
    frame: Frame,
    name: VariableName,
    value: str,
    *,
    lower: bool = False,
    upper: bool = False,
    lowerfirst: bool = False,
    upperfirst: bool = False,
    quotewildcard: bool = False,
    quoteregex: bool = False,
    length: bool = False,
) -> None:
    """Set a variable, with modifiers applied in their order of precedence (RFC 5229, 4)."""
    value = _joined(value)
    if lower or upper:
        value = value.translate(_LOWER if lower else _UPPER)
    if lowerfirst or upperfirst:
        value = value[:1].translate(_LOWER if lowerfirst else _UPPER) + value[1:]
    if quotewildcard or quoteregex:
        special = _OF_WILDCARDS if quotewildcard else _OF_PATTERNS
        value = "".join(f"\\{char}" if char in special else char for char in value)
    if length:
        value = str(len(value))
    frame.variables[name] = value
    shared = state_of(frame).globals
    if name in shared:
        frame.variables[GLOBAL + name] = value
    elif name.removeprefix(GLOBAL) in shared:
        frame.variables[name.removeprefix(GLOBAL)] = value


def _joined(text: str) -> str:
    """Return text in which octets that `?` has captured one by one are characters again."""
    if text.isascii():
        return text
    try:
        return text.encode("utf-8", "surrogateescape").decode("utf-8", "surrogateescape")
    except UnicodeEncodeError:  # a surrogate that is not an escaped octet: UTF-7 can have one
        return text
