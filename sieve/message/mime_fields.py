"""The fields that say what a MIME part is, read from its header section as leniently as mail programs do."""

from __future__ import annotations

import re
from collections.abc import Iterator

from sieve.message.comments import without_comments

_FIELD = re.compile(rb"\n(content-(?:type|disposition|transfer-encoding))[ \t]*+(?::|(?<=[ \t]))")
_MOST_ALIKE = 10
"""Fields of one name that are read from the beginning, and from the end: programs take the first or the last."""

_TOKEN = re.compile(r"[\s\"'<=]*+([^\s;,\"'>]*+)")
_NO_LETTERS = re.compile(r"[^a-z0-9]+")
_BY_LETTERS = {"base64": "base64", "quotedprintable": "quoted-printable"}


def content_fields(raw: bytes) -> dict[str, tuple[str, ...]]:
    """Return the values of each Content- field that matters here, in order, unfolded.

    A blank before the colon, none at all, and a carriage return that ends a line are taken: some programs take them.
    """
    # All in C and without a pattern that scans: another thread waits while one does.
    text = b"\n" + raw.replace(b"\r\n", b"\n").replace(b"\r", b"\n").lstrip(b" \t")
    text = text.replace(b"\n ", b" ").replace(b"\n\t", b"\t")
    lowered = text.lower()
    found: dict[str, list[str]] = {}
    at = lowered.find(b"\ncontent-")
    while at >= 0:
        name = _FIELD.match(lowered, at)
        if name is not None:
            end = text.find(b"\n", name.end())
            value = text[name.end() : end if end >= 0 else len(text)].decode("utf-8", "surrogateescape").strip()
            found.setdefault(name[1].decode("ascii"), []).append(value)
        at = lowered.find(b"\ncontent-", at + 1)
    return {name: tuple(values[:_MOST_ALIKE] + values[_MOST_ALIKE:][-_MOST_ALIKE:]) for name, values in found.items()}


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
