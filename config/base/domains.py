"""The one form in which domains are compared: lower-case A-labels without a trailing dot (UTS 46, non-transitional).

Address literals have one form, too. What a name means to DNS, and whether it exists, is not judged here.
"""

from __future__ import annotations

import ipaddress

LONGEST_DOMAIN = 255
"""Characters (RFC 5321 section 4.5.3.1.2); also a bound for the encoder, whose time grows with the square."""

_LONGEST_U_LABEL = 59
"""An A-label has four characters more than its U-label at least, and 63 at most (RFC 5890 section 2.3.2.1)."""


def normal_domain(domain: str) -> str:
    """Return a domain as it is compared; one that has no A-labels is only put in lower case."""
    if domain.startswith("["):
        return _normal_literal(domain)
    lowered = domain.lower()
    for form in (domain, lowered):  # a capital letter may have no place in UTS 46 while its small one has
        try:
            return a_labels(form)
        except UnicodeError:
            continue
    return lowered.rstrip(".")


def a_labels(domain: str) -> str:
    """Return a domain in lower-case A-labels, without its trailing dot.

    By UTS 46 without the transitional mappings: ß stays a letter of its own, as it is for registries.

    Raises:
        UnicodeError: it has no such form.
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
