"""How names and texts are written: the manual's `Relay_Domains`, though files may use any case; quotes if needed."""

from __future__ import annotations

_CAPITALS = frozenset({"ca", "dsn", "ehlo", "esmtp", "io", "ip", "lmtp", "rfc2822", "smtp", "tls"})
_BARE = frozenset("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_.:*-/")
_OF_TWO = {"ifavailable": "IfAvailable"}


def as_in_the_manual(name: str) -> str:
    """Return the manual's spelling of a global, listener or scope option."""
    return "_".join(
        word.upper() if word in _CAPITALS else _OF_TWO.get(word, word[:1].upper() + word[1:])
        for word in name.lower().split("_")
    )


def quoted(text: str) -> str:
    """Return a text in quotes, or bare if it is one word."""
    if text and all(char in _BARE for char in text) and "/*" not in text and not text.startswith("//"):
        return text
    return in_quotes(text)


def in_quotes(text: str) -> str:
    """Return a text in quotes, even a single word, as the shipped files write it."""
    return '"' + text.replace('"', '\\"') + '"'
