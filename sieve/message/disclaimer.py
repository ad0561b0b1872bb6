"""Add text at the end of a message's text parts, in each part's own charset and encoding.

A part that would need guessing does not change: broken base64, an unknown charset or encoding, octets that are invalid
in the charset. Attachments, attached messages and signed or encrypted parts do not change either. Nor do messages with
line breaks other than CR LF: these only occur with BINARYMIME, and may be an attachment's octets. If a plain part's
charset lacks a character of the text, the part becomes UTF-8 in quoted-printable, and its fields are changed to match.
"""

from __future__ import annotations

import base64
import binascii
import codecs
import quopri
import re
from collections.abc import Iterator
from dataclasses import dataclass

from sieve.message.charsets import codec_of, is_ascii_compatible
from sieve.message.comments import without_comments
from sieve.message.line_breaks import has_bare_line_break
from sieve.message.mime import Structure
from sieve.message.mime_parts import Part

_UTF_8 = "utf-8"
_ASCII = "us-ascii"
_WIDE = {
    "utf-16": (codecs.BOM_UTF16_LE, "utf-16-le", "utf-16-be"),
    "utf-32": (codecs.BOM_UTF32_LE, "utf-32-le", "utf-32-be"),
}
"""Charsets with two octet orders: the mark of little-endian text, and the codecs of both orders."""

_ORDERED = frozenset({"utf-16le", "utf-16be", "utf-32le", "utf-32be"})
_READ_AS = {"euc_kr": "cp949", "gb2312": "gb18030"}
"""Charsets whose name is also used for a larger set. Added text only uses the smaller one."""

_WRITTEN_AS = {"iso2022_jp_2": "iso2022_jp"}
"""Charsets decoded leniently: for added text, a receiver may only support the set that the name means (RFC 1468)."""

_IDENTITY = frozenset({"", "7bit", "8bit", "binary"})
_ENCODINGS = _IDENTITY | {"quoted-printable", "base64"}
_UNTOUCHED = ("multipart/signed", "multipart/encrypted", "message/")
"""Their content must not change (RFC 1847, 2.1 and 2.2)."""

_LONGEST_LINE = 998
_FLOWED = re.compile(r';\s*format\s*=\s*"?flowed\b', re.IGNORECASE)
_PIECE = 1 << 16
"""Octets decoded or encoded in one piece; divisible by 4."""

_CHARSET = re.compile(r';\s*charset\s*=\s*(?:"[^"]*"|[^\s;"]*)', re.IGNORECASE)
_FLOWED_STUFFED = re.compile(r"(?m)^(?= |>|From )")
_FLOWED_BLANKS = re.compile(r"(?m)(?:(?<! )(?<!^--)|(?<=^-- )) +$")
"""The blanks at the end of a line, looked at only from the first; `-- ` before a signature has one."""


@dataclass(frozen=True, slots=True)
class Extended:
    """The body of a message or part with the added text, and its changed header fields."""

    body: bytes
    fields: tuple[tuple[str, str], ...] = ()


def with_text(message: Structure, plain: str, html: str) -> Extended:
    """Return the body with text added to every text part that can take it."""
    pieces: list[bytes] = []
    at = message.parts[0].body
    fields: tuple[tuple[str, str], ...] = ()
    for part in () if has_bare_line_break(message.raw) else _own_parts(message):
        addition = {"text/plain": plain, "text/html": html}.get(part.content_type, "")
        extended = _extended(message, part, addition) if addition and not part.is_attachment else None
        if extended is None:
            continue
        if part is message.parts[0]:
            fields, head = extended.fields, b""
        else:
            head = _with_fields(message.raw[part.start : part.body], extended.fields)
        pieces += [message.raw[at : part.start if head else part.body], head, extended.body]
        at = part.end
    return Extended(b"".join([*pieces, message.raw[at:]]), fields)


def _own_parts(message: Structure) -> Iterator[Part]:
    """Yield the leaf parts, except in parts that must not change."""
    around: list[Part] = []
    for part in message.parts:
        while around and around[-1].depth >= part.depth:
            around.pop()
        is_ours = not any(outer.content_type.startswith(_UNTOUCHED) for outer in around)
        if is_ours and not part.is_multipart and _is_plainly_declared(part):
            yield part
        around.append(part)


def _declared(part: Part) -> str:
    """Return the value of the part's Content-Type field; empty if the part has no such field."""
    return part.fields.get("content-type", ("",))[0]


def _is_plainly_declared(part: Part) -> bool:
    """Whether all programs read the part's fields the same way: no duplicate fields, no ambiguous values."""
    if any(len(values) > 1 for values in part.fields.values()) or "charset*" in _declared(part).lower():
        return False
    encoding = without_comments(part.fields.get("content-transfer-encoding", ("",))[0]).strip().lower()
    return encoding in _ENCODINGS and len(part.content_types) == len(part.charsets) == 1


# ---------------------------------------------------------------- one part


def _extended(message: Structure, part: Part, addition: str) -> Extended | None:
    """Return a part with the text added; None if the part cannot take it."""
    raw = message.raw[part.body : part.end]
    # A line break before a delimiter belongs to the delimiter (RFC 2046, 5.1.1); a message's last line has its own.
    # In an empty part, the delimiter may only have the line break that ends the header section.
    ended = raw.endswith(b"\n") or not message.raw.startswith((b"\r\n", b"\n"), part.end)
    content = _decoded(message, part, raw)
    text = "\r\n".join(addition.splitlines())
    if content is None:
        return None
    if part.content_type == "text/plain" and _FLOWED.search(_declared(part)):
        text = _flowed(content, text)
    charset = (part.charset if _CHARSET.search(_declared(part)) else _ASCII).strip().lower()
    if charset in _WIDE or charset in _ORDERED:
        return _of_wide(part, content, text, charset, ended=ended)
    codec = codec_of(charset)
    if codec is None or not (
        is_ascii_compatible(charset) or codec.startswith("iso2022")
    ):  # iso2022 resets its state on each line
        return None
    extra = _encoded(text, _WRITTEN_AS.get(codec, codec), html=part.content_type == "text/html")
    if extra is None and codec == "ascii" and not content.isascii() and _is_utf_8(content):
        extra = text.encode()  # not declared, but the octets are UTF-8
    if extra is None:
        return _as_utf_8(part, content, text, _READ_AS.get(codec, codec), ended=ended)
    return _joined(part, raw, content, extra, ended=ended)


def _decoded(message: Structure, part: Part, raw: bytes) -> bytes | None:
    """Return the part's octets with the transfer encoding decoded; None if the encoding is invalid."""
    if part.encoding in _IDENTITY:
        return raw
    if part.encoding == "quoted-printable":
        return message.decoded(part)
    return _from_whole_base64(raw) if part.encoding == "base64" else None


def _from_whole_base64(raw: bytes) -> bytes | None:
    """Decode valid base64, else return None. Works in pieces, so that other threads can run in between."""
    digits = b"".join([raw[at : at + _PIECE].translate(None, b" \t\r\n\v\f") for at in range(0, len(raw), _PIECE)])
    if b"=" in digits[:-2]:
        return None
    try:
        pieces = [digits[at : at + _PIECE] for at in range(0, len(digits), _PIECE)]
        return b"".join([base64.b64decode(piece, validate=True) for piece in pieces])
    except binascii.Error:
        return None


def _joined(part: Part, raw: bytes, content: bytes, extra: bytes, *, ended: bool) -> Extended:
    """Add octets, in the part's charset, at the end of the part."""
    if part.encoding == "base64":
        return Extended(_as_base64(_below(content, extra), ended=ended))
    if part.encoding == "quoted-printable":
        soft = b"\r\n" if raw.rstrip(b" \t\r\n").endswith(b"=") else b""  # a soft break would join the two lines
        return Extended(_end(_ended(raw) + soft + _as_quoted(extra), ended=ended))
    fits = max(map(len, extra.split(b"\r\n"))) <= _LONGEST_LINE
    if fits and (extra.isascii() or part.encoding in {"8bit", "binary"} or not content.isascii()):
        return Extended(_end(_ended(raw) + extra, ended=ended))
    return Extended(_end(_as_quoted(_below(content, extra)), ended=ended), (_QUOTED,))


_QUOTED = ("Content-Transfer-Encoding", "quoted-printable")


def _as_utf_8(part: Part, content: bytes, text: str, codec: str, *, ended: bool) -> Extended | None:
    """Convert a plain part to UTF-8, if its octets are valid in its charset."""
    declared = _declared(part)
    if declared and not declared.lower().startswith(part.content_type):  # programs may read this type in different ways
        return None
    try:
        whole = _read(content, codec).encode()
    except UnicodeError:
        return None
    named, replaced = _CHARSET.subn(f"; charset={_UTF_8}", declared or part.content_type, 1)
    fields = (("Content-Type", named if replaced else f"{named.rstrip('; ')}; charset={_UTF_8}"), _QUOTED)
    return Extended(_end(_as_quoted(_below(whole, text.encode())), ended=ended), fields)


def _of_wide(part: Part, content: bytes, text: str, charset: str, *, ended: bool) -> Extended | None:
    """Add text to UTF-16 or UTF-32 in its octet order; big-endian if the order is not marked (RFC 2781, 4.3)."""
    if part.encoding != "base64":  # without base64, single-octet line breaks would be inside the text
        return None
    codec = charset.removesuffix("le").removesuffix("be")
    if charset in _WIDE:
        mark, little, big = _WIDE[charset]
        codec = little if content.startswith(mark) else big
    else:
        codec = f"{codec}-{charset[-2:]}"
    try:
        whole = _read(content, codec).rstrip("\r\n")
    except UnicodeError:
        return None
    return Extended(_as_base64(f"{whole}\r\n{text}\r\n".encode(codec), ended=ended))


# ---------------------------------------------------------------- octets


def _read(content: bytes, codec: str) -> str:
    """Decode text in pieces.

    Raises:
        UnicodeError: some octets are invalid in the codec.
    """
    decoder = codecs.getincrementaldecoder(codec)()
    pieces = [decoder.decode(content[at : at + _PIECE]) for at in range(0, len(content), _PIECE)]
    return "".join([*pieces, decoder.decode(b"", final=True)])


def _encoded(text: str, codec: str, *, html: bool) -> bytes | None:
    """Encode text in a charset; None if the charset lacks a character. HTML uses character references instead."""
    try:
        return text.encode(codec, "xmlcharrefreplace" if html else "strict")
    except UnicodeError:
        return None


def _is_utf_8(content: bytes) -> bool:
    try:
        content.decode()
    except UnicodeDecodeError:
        return False
    return True


def _flowed(content: bytes, text: str) -> str:
    """Format text as format=flowed (RFC 3676, 4): no line flows, and none joins the paragraph above."""
    lines = _FLOWED_STUFFED.sub(" ", _FLOWED_BLANKS.sub("", text.replace("\r\n", "\n"))).replace("\n", "\r\n")
    last = content.rstrip(b"\r\n").rpartition(b"\n")[2]
    return f"\r\n{lines}" if last.endswith(b" ") and last != b"-- " else lines


def _below(content: bytes, extra: bytes) -> bytes:
    return content.rstrip(b"\r\n") + b"\r\n" + extra + b"\r\n"


def _ended(raw: bytes) -> bytes:
    return raw if raw.endswith(b"\n") or not raw else raw + b"\r\n"


def _end(raw: bytes, *, ended: bool) -> bytes:
    """Return the line break that ends the last line; empty if the delimiter after it has one."""
    return _ended(raw) if ended else raw.removesuffix(b"\r\n")


def _as_base64(content: bytes, *, ended: bool) -> bytes:
    return _end(base64.encodebytes(content).replace(b"\n", b"\r\n"), ended=ended)


def _as_quoted(content: bytes) -> bytes:
    lines, pieces, at = content.replace(b"\r\n", b"\n"), [], 0
    while at < len(lines):
        end = lines.find(b"\n", at + _PIECE) + 1 or len(lines)
        pieces.append(quopri.encodestring(lines[at:end]).replace(b"\n", b"\r\n"))
        at = end
    return b"".join(pieces)


def _with_fields(head: bytes, fields: tuple[tuple[str, str], ...]) -> bytes:
    """Return a part's header section, including its empty line, with fields of the same names replaced."""
    if not fields:
        return head
    text = head.decode("utf-8", "surrogateescape").removesuffix("\n").removesuffix("\r")
    for name, body in fields:
        text = re.sub(rf"(?im)^{name}[ \t]*:.*(?:\n[ \t].*)*\n", "", text)
        text = f"{text}{name}: {body}\r\n"
    return f"{text}\r\n".encode("utf-8", "surrogateescape")
