"""The fields that say what a MIME part is, read from its header section as leniently as mail programs do."""

from __future__ import annotations

import re
from collections.abc import Iterator

from sieve.parameters import without_comments

_UNFOLD = re.compile(r"(?:\r\n|[\r\n])(?=[ \t])")
_FIELD = re.compile(
    r"^[ \t]*+(content-(?:type|disposition|transfer-encoding))[ \t]*+(?::|(?<=[ \t]))([^\r\n]*+)",
    re.MULTILINE | re.IGNORECASE,
)
_CR = re.compile(r"\r\n?")
_TOKEN = re.compile(r"[\s\"'<=]*+([^\s;,\"'>]*+)")
_NO_LETTERS = re.compile(r"[^a-z0-9]+")
_BY_LETTERS = {"base64": "base64", "quotedprintable": "quoted-printable"}


def content_fields(raw: bytes) -> dict[str, tuple[str, ...]]:
    """Return the values of each Content- field that matters here, in order, unfolded.

    A blank before the colon, none at all, and a carriage return that ends a line are taken: some programs take them.
    """
    text = _CR.sub("\n", _UNFOLD.sub("", raw.decode("utf-8", "surrogateescape")))
    found: dict[str, list[str]] = {}
    for name, value in _FIELD.findall(text):
        found.setdefault(name.lower(), []).append(value.strip())
    return {name: tuple(values) for name, values in found.items()}


def encodings(values: tuple[str, ...]) -> tuple[str, ...]:
    """Return the transfer encodings that these fields may be read to name; none or an unknown one is the empty name."""
    found = dict.fromkeys(name for value in values for name in _encodings(value))
    return tuple(found) or ("",)


def _encodings(value: str) -> Iterator[str]:
    token = _TOKEN.match(without_comments(value).lower())
    name = token[1] if token else ""
    known = _BY_LETTERS.get(_NO_LETTERS.sub("", name.removeprefix("x-")))
    # Such as `x-base64` or `base_64`: some programs decode it, some do not.
    yield name if name == known else ""
    if known is not None:
        yield known
