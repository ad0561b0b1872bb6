"""Tag lists, such as `v=1; a=rsa-sha256; d=example.com` (RFC 6376 section 3.2), in fields and in key records."""

from __future__ import annotations

import base64
import binascii
import re

LONGEST_LIST = 16_384
"""Octets of a tag list. Signatures with thousands of names cost time, and no real signer makes them."""

_NAME = re.compile(r"[A-Za-z][A-Za-z0-9_]*")
_BLANKS = re.compile(r"[ \t\r\n]+")


class BadTags(ValueError):
    """The text is not a tag list, or a tag's value is malformed."""


def parse(octets: bytes) -> dict[str, str]:
    """Return the tags by name.

    Raises:
        BadTags: it is too long, not text, or not a list of tags, or a tag occurs twice.
    """
    if len(octets) > LONGEST_LIST:
        raise BadTags("the list is too long")
    try:
        text = octets.decode()
    except UnicodeDecodeError:
        raise BadTags("the list is not UTF-8") from None
    found: dict[str, str] = {}
    *specs, last = text.split(";")
    for spec in [*specs, last] if last.strip() else specs:
        name, equals, value = spec.partition("=")
        name = name.strip()
        if not equals or _NAME.fullmatch(name) is None:
            raise BadTags("the list has something that is not a tag")
        if name in found:
            raise BadTags(f"tag {name}= occurs twice")
        found[name] = value.strip()
    return found


def without_blanks(value: str) -> str:
    """Return a value without the blanks and line breaks that may stand anywhere in it."""
    return _BLANKS.sub("", value)


def octets_of(value: str) -> bytes:
    """Decode a base64 value.

    Raises:
        BadTags: it is not base64.
    """
    try:
        return base64.b64decode(without_blanks(value), validate=True)
    except (binascii.Error, ValueError):
        raise BadTags("not base64") from None


def names_of(value: str, separator: str = ":") -> list[str]:
    """Return the parts of a list in a value."""
    return [each.strip() for each in value.split(separator)]
