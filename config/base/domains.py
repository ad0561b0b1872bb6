"""Normalize domains for comparison: lower-case A-labels without a trailing dot (UTS 46, non-transitional).

Address literals are normalized as well. There are no DNS lookups.
"""

from __future__ import annotations

import ipaddress
from functools import lru_cache

LONGEST_DOMAIN = 255
"""Characters (RFC 5321 section 4.5.3.1.2). Also limits the encoder, whose time is quadratic."""

_LONGEST_U_LABEL = 59
"""An A-label is at least four characters longer than its U-label, and has at most 63 (RFC 5890 section 2.3.2.1)."""


@lru_cache(maxsize=1024)
def normal_domain(domain: str) -> str:
    """Return a domain normalized for comparison. If it cannot be written as A-labels, it is only lower-cased."""
    if domain.startswith("["):
        return _normal_literal(domain)
    lowered = domain.lower()
    for form in (domain, lowered):  # UTS 46 may allow a lower-case letter but not its capital
        try:
            return a_labels(form)
        except UnicodeError:
            continue
    return lowered.rstrip(".")


def a_labels(domain: str) -> str:
    """Return a domain in lower-case A-labels, without its trailing dot.

    UTS 46 without the transitional mappings: ß is kept as its own letter, as registries do.

    Raises:
        UnicodeError: the domain has no such form.
    """
    if domain.isascii():
        return domain.lower().rstrip(".")
    if len(domain) > LONGEST_DOMAIN:
        raise UnicodeError("longer than a domain may be")
    import idna  # noqa: PLC0415 — 12 ms, and few domains need it

    mapped = idna.uts46_remap(domain, std3_rules=False, transitional=False)
    return ".".join(_a_label(label) for label in mapped.rstrip(".").split("."))


def _a_label(label: str) -> str:
    if not label:
        raise UnicodeError("an empty label")
    if label.isascii():
        return label
    if len(label) > _LONGEST_U_LABEL:
        raise UnicodeError("a label is too long")
    return f"xn--{label.encode('punycode').decode()}"


def _normal_literal(text: str) -> str:
    """Return an address literal (RFC 5321 section 4.1.3) with the shortest form of its IPv6 address."""
    lowered = text.lower().rstrip(".")
    if not (lowered.startswith("[ipv6:") and lowered.endswith("]")):
        return lowered
    try:
        return f"[ipv6:{ipaddress.IPv6Address(lowered[len('[ipv6:') : -1])}]"
    except ValueError:
        return lowered
