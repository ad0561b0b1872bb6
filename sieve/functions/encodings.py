"""Encodings used in mail: base64, quoted-printable, encoded words (RFC 2047), MIME boundaries."""

from __future__ import annotations

import base64
import quopri
import re
import secrets

from sieve.library import sieve_function
from sieve.message.addresses import mailboxes
from sieve.message.charsets import codec_of
from sieve.message.encoded_words import encoded_words, is_plain
from sieve.run import reasons
from sieve.run.values import ScriptError, flat

_NOT_BASE64 = re.compile(r"[^A-Za-z0-9+/]")


@sieve_function()
def ec_base64_encode(plain_text: str) -> str:
    """Return a string in base64."""
    return base64.b64encode(plain_text.encode("utf-8", "surrogateescape")).decode("ascii")


@sieve_function()
def ec_base64_decode(coded_text: str) -> str:
    """Decode a base64 string. Characters that are not base64 are ignored (RFC 2045, 6.8)."""
    digits = _NOT_BASE64.sub("", coded_text)
    whole = len(digits) - (1 if len(digits) % 4 == 1 else 0)
    padded = digits[:whole] + "=" * (-whole % 4)
    return base64.b64decode(padded).decode("utf-8", "surrogateescape")


@sieve_function()
def qp_encode(string: str, charset: str = "utf-8") -> str:
    """Return a string in quoted-printable, in UTF-8 or the given character set."""
    codec = codec_of(charset)
    if codec is None:
        raise ScriptError(reasons.unknown_charset(charset))
    raw = string.encode("utf-8", "surrogateescape").decode("utf-8", "replace").encode(codec, "replace")
    return quopri.encodestring(raw).decode("ascii", "replace")


@sieve_function()
def ec_rfc2047_encode_header(raw: str) -> str:
    """Encode text for a header field. Text that is not plain ASCII becomes encoded words in UTF-8."""
    text = flat(raw)
    return text if is_plain(text) else encoded_words(text)


@sieve_function()
def ec_rfc2047_encode_addresses(addresses: str) -> str:
    """Encode addresses for an address field. Display names become encoded words if needed."""
    found = mailboxes(flat(addresses))
    if not any(address for _, address in found):
        return ec_rfc2047_encode_header.run(addresses)  # type: ignore[no-any-return] # run is any function's code
    return ", ".join(_mailbox(name, address) for name, address in found)


def _mailbox(name: str, address: str) -> str:
    if not name:
        return address
    if not is_plain(name):
        return f"{encoded_words(name)} <{address}>"
    escaped = name.replace("\\", "\\\\").replace('"', '\\"')
    return f'"{escaped}" <{address}>'


@sieve_function()
def ec_mime_boundary_create() -> str:
    """Return a new boundary for a multipart message, without its leading hyphens."""
    return f"=_{secrets.token_hex(16)}"
