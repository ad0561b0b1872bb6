"""The values of the language and their conversions.

A value is a string, a number, a list of strings or a hash. Strings store bytes that are not UTF-8 as surrogate escapes.
A string that looks like a number can be used as a number. A list used as a string is its first element (#1957 of the
Momentum changelog).
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Callable
from enum import Enum, auto
from typing import Any, Final, NewType, TypeAlias

from sieve.run import reasons

Hash: TypeAlias = "dict[str, Value]"
Value: TypeAlias = "str | int | float | tuple[str, ...] | Hash"

ReplyCode = NewType("ReplyCode", int)
"""Parameter type: an SMTP reply code, 200 to 599."""

Nameserver = NewType("Nameserver", str)
"""Parameter type: the IP address of a name server, optionally with a port."""

Lines = NewType("Lines", str)
"""Parameter type: text for a reply, a header field or a log. Only the operator's own line breaks stay in it."""


FilePath = NewType("FilePath", str)
"""Parameter type: a file path. Only the operator can put `/` and `..` in it (`sieve.run.origins`)."""


class Unset(Enum):
    """The type of UNSET."""

    UNSET = auto()


UNSET: Final = Unset.UNSET
"""The value of an unset variable, for the functions that test it (`Place` parameters)."""

Pattern = NewType("Pattern", str)
"""Parameter type: a regular expression. A constant one is checked when the script is compiled."""

VariableName = NewType("VariableName", str)
"""Parameter type: the name of a variable, converted to lower case."""

Place: TypeAlias = "Value | Unset"
"""Parameter type: a variable or an element; UNSET if it is not set."""


class ScriptError(Exception):
    """A run-time error of a function. The reason goes to the log with the script's line."""

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason


_NUMBER = re.compile(r"[ \t]*([-+]?[0-9]+(?:\.[0-9]*)?|[-+]?\.[0-9]+)[ \t]*\Z")
_NUMBERS = (int, float)
_LONGEST_NUMBER = 320
_FEW = 20
"""Digits of a number that is read without a pattern."""

_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*(?:\.[A-Za-z_][A-Za-z0-9_]*)*\Z")
_BREAKS = re.compile(r"[\x00-\x08\x0a-\x1f\x7f\x85\u2028\u2029]+")


def as_text(value: Value) -> str:
    """Return a value as text: the first element of a list, an empty string for a hash."""
    if value.__class__ is str:  # most values are strings, and a comparison costs no call
        return value
    if value.__class__ is tuple:
        return value[0] if value else ""
    if isinstance(value, float):
        return repr(value) if abs(value) < 1e15 else f"{value:f}"
    return "" if isinstance(value, dict) else str(value)


def as_lines(value: Value) -> str:
    """Return a value as text in one line."""
    return flat(as_text(value))


def flat(text: str) -> str:
    """Replace runs of line breaks and control characters, except tabs, with one space."""
    if text.isprintable():
        return text
    return _BREAKS.sub(" ", text)


def as_list(value: Value) -> tuple[str, ...]:
    """Return a value as a list: the values of a hash, or a list of one for anything else."""
    if value.__class__ is tuple:
        return value
    if isinstance(value, dict):
        return tuple(as_text(each) for each in value.values())
    return (as_text(value),)


def as_number(value: Value) -> float:
    """Return a value as a number; an empty value is zero.

    Raises:
        ScriptError: the text is not a number.
    """
    if value.__class__ is not str and isinstance(value, _NUMBERS):
        return value
    text = as_text(value)
    if not text:
        return 0
    if len(text) < _FEW and text.isascii() and text.isdigit():  # as nearly all are
        return int(text)
    if len(text) > _LONGEST_NUMBER or _NUMBER.match(text) is None:
        raise ScriptError(reasons.not_numeric(text))
    return float(text) if "." in text else int(text)


def as_whole(value: Value) -> int:
    """Return a value as a whole number, truncated towards zero.

    Raises:
        ScriptError: the text is not a number.
    """
    return int(as_number(value))


def as_reply_code(value: Value) -> int:
    """Return a value as an SMTP reply code (RFC 5321, 4.2).

    Raises:
        ScriptError: it is not a reply code.
    """
    code = as_whole(value)
    if not 200 <= code <= 599:
        raise ScriptError(reasons.not_a_reply_code(as_text(value)))
    return code


def as_nameserver(value: Value) -> str:
    """Return a value as the address of a name server.

    Raises:
        ScriptError: it is not an IP address. Names are not accepted, because they would need a look-up first.
    """
    text = as_text(value)
    try:
        address_and_port(text)
    except ValueError:
        raise ScriptError(reasons.not_a_nameserver(text)) from None
    return text


def address_and_port(text: str) -> tuple[str, int | None]:
    """Parse `192.0.2.1`, `192.0.2.1:53`, `2001:db8::1` or `[2001:db8::1]:53`; an address may have a zone.

    Raises:
        ValueError: it is not an address, or the port is invalid.
    """
    bracketed = _WITH_PORT.fullmatch(text)
    address, port = (bracketed[1] or bracketed[2], bracketed[3]) if bracketed else (text, None)
    ipaddress.ip_address(address)
    if port is not None and not 0 < int(port) <= _HIGHEST_PORT:
        raise ValueError(text)
    return address, int(port) if port else None


_HIGHEST_PORT = 65535
_WITH_PORT = re.compile(r"(?:\[([^\[\]]{2,64})\]|([0-9.]+))(?::([0-9]{1,5}))?")


def as_hash(value: Value) -> Hash:
    """Return a value that is a hash.

    Raises:
        ScriptError: it is not a hash (#5059 of the Momentum changelog).
    """
    if isinstance(value, dict):
        return value
    raise ScriptError(reasons.not_a_hash())


def as_variable_name(value: Value) -> str:
    """Return the name of a variable in lower case (RFC 5229, 3).

    Raises:
        ScriptError: it is not a variable name.
    """
    name = as_text(value)
    if _NAME.match(name) is None:
        raise ScriptError(reasons.not_a_variable_name(name))
    return name.lower()


def decimal(number: float) -> str:
    """Return the result of arithmetic as text with six decimal places."""
    return f"{number:.6f}"


def as_is(value: Value) -> Value:
    """Return the value unchanged."""
    return value


class Type(Enum):
    """The type of a parameter."""

    TEXT = auto()
    LINES = auto()
    PATH = auto()
    WHOLE = auto()
    NUMBER = auto()
    REPLY_CODE = auto()
    NAMESERVER = auto()
    LIST = auto()
    HASH = auto()
    PATTERN = auto()
    NAME = auto()
    ANY = auto()
    PLACE = auto()
    FLAG = auto()


COERCE: dict[Type, Callable[[Any], Any]] = {
    Type.TEXT: as_text,
    Type.LINES: as_lines,
    Type.PATH: as_text,
    Type.WHOLE: as_whole,
    Type.NUMBER: as_number,
    Type.REPLY_CODE: as_reply_code,
    Type.NAMESERVER: as_nameserver,
    Type.LIST: as_list,
    Type.HASH: as_hash,
    Type.PATTERN: as_text,
    Type.NAME: as_variable_name,
    Type.ANY: as_is,
    Type.PLACE: as_is,
}
"""The conversion of an argument to each type."""

WANTS: dict[Type, str] = {
    Type.TEXT: "a string",
    Type.LINES: "a string",
    Type.PATH: "a string",
    Type.WHOLE: "a whole number",
    Type.NUMBER: "a number",
    Type.REPLY_CODE: "an SMTP reply code",
    Type.NAMESERVER: "an IP address",
    Type.LIST: "a string or a list",
    Type.HASH: "a hash",
    Type.PATTERN: "a regular expression",
    Type.NAME: "the name of a variable",
    Type.ANY: "a value",
    Type.PLACE: "a variable",
}
"""The name of each type in messages and in the reference."""


def element(container: Place, key: Place) -> Place:
    """Return an element of a hash by key, or of a list by offset, negative from the end; UNSET if it is missing."""
    if isinstance(container, dict):
        return container.get(as_text(key), UNSET) if key is not UNSET else UNSET
    if container is UNSET or key is UNSET:
        return UNSET
    items = container if isinstance(container, tuple) else (as_text(container),)
    offset = int(COERCE[Type.NUMBER](key))
    return items[offset] if -len(items) <= offset < len(items) else UNSET
