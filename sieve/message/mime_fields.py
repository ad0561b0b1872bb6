"""The header fields that describe a MIME part, parsed as leniently as in mail programs."""

from __future__ import annotations

import re
from collections.abc import Iterator

from sieve.message.comments import without_comments

_FIELD = re.compile(rb"\n(content-(?:type|disposition|transfer-encoding))[ \t]*+(?::|(?<=[ \t]))")
_MOST_ALIKE = 10
"""Of fields with the same name, this many are read from each end, because programs take the first or the last."""

_TOKEN = re.compile(r"[\s\"'<=]*+([^\s;,\"'>]*+)")
_NO_LETTERS = re.compile(r"[^a-z0-9]+")
_BY_LETTERS = {"base64": "base64", "quotedprintable": "quoted-printable"}


def content_fields(raw: bytes) -> dict[str, tuple[str, ...]]:
    """Return the values of each relevant Content- field, in order, unfolded.

    Like some programs, this accepts a space before the colon, a missing colon, and a bare CR as line end.
    """
    # These are C functions, and no regular expression scans the text, because that would block other threads.
    text = b"\n" + raw.replace(b"\r\n", b"\n").replace(b"\r", b"\n").lstrip(b" \t")
    text = text.replace(b"\n ", b" ").replace(b"\n\t", b"\t")
    lowered = text.lower()
    fields: dict[str, list[str]] = {}
    at = lowered.find(b"\ncontent-")
    while at >= 0:
        name = _FIELD.match(lowered, at)
        if name is not None:
            end = text.find(b"\n", name.end())
            value = text[name.end() : end if end >= 0 else len(text)].decode("utf-8", "surrogateescape").strip()
            fields.setdefault(name[1].decode("ascii"), []).append(value)
        at = lowered.find(b"\ncontent-", at + 1)
    return {name: tuple(values[:_MOST_ALIKE] + values[_MOST_ALIKE:][-_MOST_ALIKE:]) for name, values in fields.items()}


def encodings(values: tuple[str, ...]) -> tuple[str, ...]:
    """Return all readings of these fields as transfer encodings. A missing or unknown encoding is an empty name."""
    found = dict.fromkeys(name for value in values for name in _encodings(value))
    return tuple(found) or ("",)


def _encodings(value: str) -> Iterator[str]:
    token = _TOKEN.match(without_comments(value).lower())
    name = token[1] if token else ""
    known = _BY_LETTERS.get(_NO_LETTERS.sub("", name.removeprefix("x-")))
    # For example `x-base64` or `base_64`: some programs decode it, some do not.
    yield name if name == known else ""
    if known is not None:
        yield known
