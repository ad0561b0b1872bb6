"""The manual's spelling of names: `Relay_Domains`, `ESMTP_Listener`. Files may use any case."""

from __future__ import annotations

_CAPITALS = frozenset({"ca", "dsn", "ehlo", "esmtp", "io", "ip", "lmtp", "rfc2822", "smtp", "tls"})
_OF_TWO = {"ifavailable": "IfAvailable"}


def as_in_the_manual(name: str) -> str:
    """Return the manual's spelling of a global, listener or scope option."""
    return "_".join(
        word.upper() if word in _CAPITALS else _OF_TWO.get(word, word[:1].upper() + word[1:])
        for word in name.lower().split("_")
    )
