"""The messages that scripts create: a forward with the message attached, and a text written by a script."""

from __future__ import annotations

import re
import secrets
from collections.abc import Sequence
from email.header import Header
from email.utils import formatdate, make_msgid
from quopri import encodestring

from proxy.mail.folding import folded

LONGEST_LINE = 998
"""Bytes of a line (RFC 5322 section 2.1.1)."""

_LINE_BREAK = re.compile(rb"\r\n|\r|\n")
_CONTROLS = re.compile(r"[\x00-\x1f\x7f]+")
_MADE_BY_US = ("Auto-Submitted", "auto-generated")
"""Tells vacation programs and remote scripts that no person wrote the message (RFC 3834 section 5)."""


def forward(
    sender: str, recipient: str, text: str, subject: str, original: bytes, *, hostname: str, now: float
) -> bytes:
    """Return a message of `text` with the original attached unchanged (RFC 2046 section 5.2.1)."""
    fields = (
        ("From", mailbox(sender, hostname)),
        ("To", f"<{recipient}>"),
        ("Subject", encoded(subject)),
        *stamp(hostname, now),
        _MADE_BY_US,
    )
    return assembled(fields, "mixed", [text_part(text), message_part(original)])


def generated(sender: str, text: str, *, hostname: str, now: float) -> bytes:
    """Return a message that a script wrote, with any missing fields that RFC 5322 section 3.6 requires."""
    message = _LINE_BREAK.sub(b"\r\n", text.encode("utf-8", "surrogateescape"))
    if not message.endswith(b"\r\n"):
        message += b"\r\n"
    head, empty, body = (b"", b"", message) if message.startswith(b"\r\n") else message.partition(b"\r\n\r\n")
    message = b"\r\n".join(map(folded, head.split(b"\r\n"))) + empty + body
    lowered = b"" if message.startswith(b"\r\n") else b"\r\n" + message.partition(b"\r\n\r\n")[0].lower()
    wanted = (("From", mailbox(sender, hostname)), *stamp(hostname, now), _MADE_BY_US)
    return _written([field for field in wanted if f"\r\n{field[0].lower()}:".encode() not in lowered]) + message


def assembled(fields: Sequence[tuple[str, str]], kind: str, parts: Sequence[bytes]) -> bytes:
    """Return a multipart message. `kind` is its subtype, with parameters."""
    boundary = f"=_{secrets.token_hex(16)}"
    eight_bit = any(not part.isascii() for part in parts)
    mime = [("MIME-Version", "1.0"), ("Content-Type", f'multipart/{kind};\r\n\tboundary="{boundary}"')]
    if eight_bit:
        mime.append(("Content-Transfer-Encoding", "8bit"))
    line = f"--{boundary}".encode()
    body = b"".join(b"%b\r\n%b\r\n" % (line, part) for part in parts)
    return _written([*fields, *mime]) + b"\r\n" + body + line + b"--\r\n"


def text_part(text: str) -> bytes:
    """Return a plain text part."""
    octets = _LINE_BREAK.sub(b"\n", text.encode("utf-8", "replace"))
    encoding = "7bit" if octets.isascii() else "8bit"
    if any(len(line) > LONGEST_LINE for line in octets.split(b"\n")):
        octets, encoding = encodestring(octets), "quoted-printable"
    head = f"Content-Type: text/plain; charset=utf-8\r\nContent-Transfer-Encoding: {encoding}\r\n\r\n"
    return head.encode() + octets.replace(b"\n", b"\r\n")


def message_part(original: bytes, kind: str = "message/rfc822") -> bytes:
    """Return a part that is a message, or its header section.

    BINARYMIME may hold bare line breaks. In DATA, by which this part goes, one could end the message for another server
    (SMTP smuggling), so they become CRLF; a message has no other encoding (RFC 2046 section 5.2.1).
    """
    original = _LINE_BREAK.sub(b"\r\n", original)
    encoding = "7bit" if original.isascii() else "8bit"
    return f"Content-Type: {kind}\r\nContent-Transfer-Encoding: {encoding}\r\n\r\n".encode() + original


def mailbox(address: str, hostname: str) -> str:
    """Return an address for the From field; the null sender becomes MAILER-DAEMON on our host."""
    return f"<{address}>" if address else f"Mail Delivery System <MAILER-DAEMON@{hostname}>"


def received(hostname: str, origin: str, now: float) -> bytes:
    """Return our trace field for a message that starts here (RFC 5321 section 4.4)."""
    return f"Received: by {hostname} (Ringback) id {origin};\r\n\t{formatdate(now, localtime=True)}\r\n".encode()


def encoded(text: str) -> str:
    """Encode text for an unstructured field, folded if necessary (RFC 2047), without control characters."""
    clean = _CONTROLS.sub(" ", text).encode("utf-8", "replace").decode()
    return Header(clean, "us-ascii" if clean.isascii() else "utf-8", maxlinelen=76).encode(linesep="\r\n")


def stamp(hostname: str, now: float) -> tuple[tuple[str, str], ...]:
    """Return Date and Message-ID, which a message must or should have (RFC 5322 section 3.6)."""
    return (("Date", formatdate(now, localtime=True)), ("Message-ID", make_msgid(domain=hostname)))


def _written(fields: Sequence[tuple[str, str]]) -> bytes:
    return "".join(f"{name}: {body}\r\n" for name, body in fields).encode("utf-8", "surrogateescape")
