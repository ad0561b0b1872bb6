"""Check that a text names a host: an IP address or a valid DNS name. No lookups."""

from __future__ import annotations

import ipaddress
import re

from config.base.domains import LONGEST_DOMAIN, a_labels

_LABEL = re.compile(r"[A-Za-z0-9_-]{1,63}")
_NUMBER = re.compile(r"[0-9]+|0[xX][0-9A-Fa-f]*")


def what_to_write(text: str) -> str | None:
    """Return a hint if a text does not name a host; None if it does.

    Libraries disagree on `0127.0.0.1`, `127.1` and `0x7f.1`, so only the plain form of an address is valid (RFC 6943
    section 3.1.1).
    """
    if ":" in text:
        return None if is_address(text.partition("%")[0]) else "write the whole address, such as 2001:db8::25"
    labels = text.removesuffix(".").split(".")
    if _NUMBER.fullmatch(labels[-1]):
        return None if is_address(text) else _plain_form(labels)
    try:
        name = a_labels(text)
    except UnicodeError:
        return "write a name that DNS can hold, such as mx.example.com"
    if len(name) < LONGEST_DOMAIN - 1 and all(_LABEL.fullmatch(label) for label in name.split(".")):
        return None
    return "a name has letters, digits and hyphens, separated by single dots, such as mx.example.com"


def is_address(text: str) -> bool:
    """Return whether a text is an IP address without a zone."""
    try:
        return not getattr(ipaddress.ip_address(text), "scope_id", None)
    except ValueError:
        return False


def _plain_form(labels: list[str]) -> str:
    """Return a hint for an address of four numbers."""
    if len(labels) == 4 and all(each.isdecimal() for each in labels):  # of IPv4
        plain = ".".join(str(int(each)) for each in labels)
        if is_address(plain):
            return f"write {plain}: a number has no leading zero"
    return "write an address as four numbers from 0 to 255, such as 192.0.2.25"
