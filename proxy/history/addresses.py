"""Addresses as the history keeps them: in plain text, or as keyed hashes."""

from __future__ import annotations

import base64
import hashlib
import re
import zlib
from collections.abc import Iterable, Sequence
from itertools import repeat

_ADDRESS = re.compile(
    r"""(?:"(?:[^"\\]|\\.){1,320}"|(?<![^\s<>()\[\],;:"@])[^\s<>()\[\],;:"@]+)"""
    r"""@(?:\[[0-9A-Fa-f.:IPVipv]{2,64}\]|[^\s<>()\[\],;:"@/']{1,255})"""
)
"""A local part has 64 octets, but each may be an escape of five characters. A match
may only begin at the start of a word; otherwise a long text would take quadratic time."""

_PATH = re.compile(
    r"""(\b(?:(?:MAIL|RCPT)\s+(?:FROM|TO)\s*:\s?|(?:VRFY|EXPN)\s+)<?)(?![~<>\s])([^\s<>]+(?:\s[^\s<>=]+(?=>))?)""",
    re.IGNORECASE,
)
_ARGUMENT = re.compile(r"""(^(?:(?:FROM|TO)\s*:\s?)?<?)(?![~<>\s])([^\s<>]+(?:\s[^\s<>=]+(?=>))?)""", re.IGNORECASE)
"""What a command names, even if it is not an address, has no domain, or was cut before its domain."""

_WORD = re.compile(r"[^\s<>()\[\],;:\"@'/=]+")
_SHORTEST_NAME = 3
"""Characters of a local part that is replaced even on its own: replies say `anna: unknown user`."""

_EVERYBODY = frozenset({"postmaster", "abuse", "mailbox", "user", "recipient", "sender", "address", "mail", "unknown"})
"""Local parts that are ordinary words of replies."""

_AROUND = " \t<>"
"""What does not belong to a subject."""

MARK = "~"
"""The first character of a hash."""


def canonical(text: str) -> str:
    """Return an address, Message-ID, queue id, session or client in the form in which it is looked for."""
    return text.strip(_AROUND).lower()


def key_of(text: str) -> int:
    """Return the number under which a subject's sessions are found. Different subjects may have the same one."""
    return zlib.crc32(canonical(text).encode("utf-8", "surrogateescape"))


def keys_of(texts: Sequence[str]) -> Iterable[int]:
    """Return the numbers of many texts, for less than half of what it costs to ask for each."""
    known = map(str.lower, map(str.strip, texts, repeat(_AROUND)))
    try:
        return [*map(zlib.crc32, map(str.encode, known))]
    except UnicodeEncodeError:
        return map(key_of, texts)


def addresses_in(text: str) -> list[str]:
    """Return what looks like an address in foreign text."""
    return _ADDRESS.findall(text)


class Addresses:
    """Replaces addresses by keyed hashes. Without a key, it changes nothing."""

    def __init__(self, key: bytes = b"") -> None:
        self._key = key

    @property
    def hashed(self) -> bool:
        """Whether there is a key."""
        return bool(self._key)

    @property
    def mark(self) -> str:
        """Tell one key from another, without telling it; empty without a key."""
        return self._hash("mark") if self._key else ""

    def of(self, address: str) -> str:
        """Return an address, or a name that a client logged in with."""
        return self._hash(address) if self._key and address and not address.startswith(MARK) else address

    def within(self, text: str, *known: str) -> str:
        """Return foreign text with its addresses replaced, and the local parts of the known ones."""
        if not self._key or not text:
            return text
        text = _ADDRESS.sub(lambda found: self._hash(found[0]), text)
        names = {each.rpartition("@")[0].lower() for each in known if "@" in each}
        names = {each for each in names if len(each) >= _SHORTEST_NAME} - _EVERYBODY
        if not names:
            return text
        return _WORD.sub(lambda found: self._hash(found[0]) if found[0].lower() in names else found[0], text)

    def in_commands(self, dialogue: str, *known: str) -> str:
        """Return a dialogue's words as `within`, also with what its commands name in place of an address replaced."""
        return self._named(_PATH, self.within(dialogue, *known))

    def in_argument(self, argument: str) -> str:
        """Return the argument of a MAIL, RCPT, VRFY or EXPN command in the same way."""
        return self._named(_ARGUMENT, self.within(argument))

    def _named(self, pattern: re.Pattern[str], text: str) -> str:
        return pattern.sub(lambda found: found[1] + self._hash(found[2]), text) if self._key else text

    def _hash(self, text: str) -> str:
        octets = canonical(text).encode("utf-8", "surrogateescape")
        digest = hashlib.blake2b(octets, key=self._key, digest_size=10).digest()
        return MARK + base64.b32encode(digest).decode("ascii").lower()


def key_from(secret: bytes) -> bytes:
    """Return the key of the history's hashes; other files with the same secret have other hashes."""
    return hashlib.blake2b(b"ringback history", key=secret[:64], digest_size=32).digest()
