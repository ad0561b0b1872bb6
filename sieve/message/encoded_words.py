"""Encode and decode encoded words in header text (RFC 2047)."""

from __future__ import annotations

import base64
import binascii
import quopri
import re

from sieve.message.charsets import codec_of, decoded
from sieve.message.transfer import NOT_BASE64

_PLAIN = re.compile(r"[\t\x20-\x7e]*\Z")
_BYTES_A_WORD = 45
"""A word has at most 75 characters (RFC 2047, 2): 60 of base64 and 12 around them."""

_WORD = re.compile(r"=\?([^?*\s]{1,40})(?:\*[^?\s]*)?\?([bBqQ])\?([^?\s]*)\?=")
_BETWEEN = re.compile(r"(\?=)[ \t\r\n]+(?==\?[^?\s]{1,60}\?[bBqQ]\?)")
_QUOTED = re.compile(r"=([0-9A-Fa-f]{2})")
_LENIENT = re.compile(r"=\?([^?*\s]{1,80})(?:\*[^?\s]*+)?\?\s*+([bBqQ])\s*+\?([^?]*+)(?:\?=|\?\Z|\Z)(\s*+(?==\?))?")


def is_plain(text: str) -> bool:
    """Tell whether a field can contain this text without encoding."""
    return _PLAIN.match(text) is not None and "=?" not in text


def encoded_words(text: str) -> str:
    """Encode text as base64 words in UTF-8, split between characters."""
    chunks: list[bytes] = [b""]
    for char in text:
        raw = char.encode("utf-8", "surrogateescape")
        if len(chunks[-1]) + len(raw) > _BYTES_A_WORD:
            chunks.append(b"")
        chunks[-1] += raw
    return " ".join(f"=?UTF-8?B?{base64.b64encode(chunk).decode('ascii')}?=" for chunk in chunks)


def decoded_words(text: str) -> str:
    """Decode the encoded words in header text. Invalid words do not change."""
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
            raw = _QUOTED.sub(lambda pair: chr(int(pair[1], 16)), text).encode("latin-1")
        return decoded(raw, charset)
    except (ValueError, binascii.Error):
        return word[0]


def joined_words(text: str) -> str:
    """Decode the encoded words in a name as leniently as mail programs do, beyond RFC 2047.

    A word may have spaces, lack its end, or end inside a character that the next word in the same set continues.
    """
    pieces: list[str] = []
    octets: list[bytes] = []
    at, charset = 0, ""
    for word in _LENIENT.finditer(text):
        if word.start() != at or word[1].lower() != charset:
            pieces += [_text_of(octets, charset), text[at : word.start()]]
            octets, charset = [], word[1].lower()
        octets.append(_octets_of(word[2], word[3]))
        at = word.end()
    return "".join([*pieces, _text_of(octets, charset), text[at:]]) if at else text


def _octets_of(encoding: str, payload: str) -> bytes:
    raw = payload.encode("utf-8", "surrogateescape")
    if encoding in "qQ":
        return quopri.decodestring(raw, header=True)
    digits = raw.translate(None, NOT_BASE64)
    digits = digits[:-1] if len(digits) % 4 == 1 else digits
    return base64.b64decode(digits + b"=" * (-len(digits) % 4))


def _text_of(octets: list[bytes], charset: str) -> str:
    raw = b"".join(octets)
    return decoded(raw, charset if codec_of(charset) else "utf-8")
