r"""The canonical spelling of an address for comparisons, and a valid spelling for SMTP (RFC 5321, 4.1.2).

Quotes are no part of a local part: `"secret"@d` and `"sec\ret"@d` are `secret@d`. They stay if the local part is empty
or holds anything but atext and dots. Its octets and letter case stay; the domain's form is `config.base.domains`'s.
"""

from __future__ import annotations

import re

from config.base.domains import a_labels, normal_domain

LONGEST_ADDRESS = 512

_ATEXT = r"A-Za-z0-9!#$%&'*+/=?^_`{|}~\-\x80-\U0010ffff"
_NEEDS_NO_QUOTES = re.compile(rf"[{_ATEXT}.]+")
_DOT_STRING = re.compile(rf"[{_ATEXT}]+(?:\.[{_ATEXT}]+)*")
_ESCAPE = re.compile(r"\\(.)", re.DOTALL)
_TO_ESCAPE = re.compile(r'(["\\])')


def unquoted(local_part: str) -> str:
    """Return a local part without quotes and quoted pairs."""
    if len(local_part) > 1 and local_part[0] == local_part[-1] == '"':
        return _ESCAPE.sub(r"\1", local_part[1:-1])
    return local_part


def quoted(text: str) -> str:
    """Return a text in quotes."""
    escaped = _TO_ESCAPE.sub(r"\\\1", text)
    return f'"{escaped}"'


def canonical_local_part(local_part: str) -> str:
    """Return the canonical form of a local part."""
    text = unquoted(local_part)
    return text if _NEEDS_NO_QUOTES.fullmatch(text) else quoted(text)


def canonical(address: str) -> str:
    """Return the canonical form of an address. A text without `@` is a local part."""
    local_part, at, domain = address.rpartition("@")
    if not at:
        return canonical_local_part(domain) if domain else ""
    return f"{canonical_local_part(local_part)}@{normal_domain(domain)}"


def canonical_in_field(address: str) -> str:
    """Return the canonical form of a header field's address. The domain's letter case is left to the comparator."""
    local_part, at, domain = address.rpartition("@")
    if not at:
        return address
    return f"{canonical_local_part(local_part)}@{domain.rstrip('.') if domain.isascii() else normal_domain(domain)}"


_LABEL = r"[^\s@.,;:!?()<>\[\]{}$%&=+*/\\\"']+"
_NAMES_A_DOMAIN = re.compile(rf"(?P<before>(?:[^@\s]*@)?(?:\*\.?|\.)?)(?P<domain>{_LABEL}(?:\.{_LABEL})+\.?)")


def in_a_labels(text: str) -> str | None:
    """Convert a domain, a domain pattern or the domain of an address to A-labels.

    Returns None for any other text, or if there are no U-labels.
    """
    if text.isascii() or len(text) > LONGEST_ADDRESS:
        return None
    match = _NAMES_A_DOMAIN.fullmatch(text)
    if match is None or match["domain"].isascii():
        return None
    try:
        return match["before"] + a_labels(match["domain"])
    except UnicodeError:
        return None


def spoken_local_part(local_part: str) -> str:
    """Return a local part that is valid in SMTP: unchanged if it has quotes or is a dot-string, else quoted."""
    if local_part[:1] == '"' or _DOT_STRING.fullmatch(local_part):
        return local_part
    return quoted(local_part)
