"""Encoded words in header text, both ways (RFC 2047)."""

from __future__ import annotations

import base64
import binascii
import re

from sieve.charsets import codec_of, decoded

_PLAIN = re.compile(r"[\t\x20-\x7e]*\Z")
_BYTES_A_WORD = 45
"""So that a word is at most 75 characters (RFC 2047, 2): 60 of base64 and 12 around them."""

_WORD = re.compile(r"=\?([^?*\s]{1,40})(?:\*[^?\s]*)?\?([bBqQ])\?([^?\s]*)\?=")
_BETWEEN = re.compile(r"(\?=)[ \t\r\n]+(?==\?[^?\s]{1,60}\?[bBqQ]\?)")
_QUOTED = re.compile(r"=([0-9A-Fa-f]{2})")


def is_plain(text: str) -> bool:
    """Tell whether a field can hold this text as it is."""
    return _PLAIN.match(text) is not None and "=?" not in text


def encoded_words(text: str) -> str:
    """Return the text as base64 words in UTF-8, cut between characters."""
    chunks: list[bytes] = [b""]
    for char in text:
        raw = char.encode("utf-8", "surrogateescape")
        if len(chunks[-1]) + len(raw) > _BYTES_A_WORD:
            chunks.append(b"")
        chunks[-1] += raw
    return " ".join(f"=?UTF-8?B?{base64.b64encode(chunk).decode('ascii')}?=" for chunk in chunks)


def decoded_words(text: str) -> str:
    """Return header text with its encoded words decoded; a word that cannot be stays as it is."""
    if "=?" not in text:
        return text
    return _WORD.sub(_decoded, _BETWEEN.sub(r"\1", text))


def _decoded(word: re.Match[str]) -> str:
    charset, encoding, payload = word.groups()
    if codec_of(charset) is None:
        return word[0]
    try:
        if encoding in "bB":
            raw = base64.b64decode(payload + "=" * (-len(payload) % 4))
        else:
            text = payload.replace("_", " ")
            raw = _QUOTED.sub(lambda found: chr(int(found[1], 16)), text).encode("latin-1")
        return decoded(raw, charset)
    except (ValueError, binascii.Error):
        return word[0]
