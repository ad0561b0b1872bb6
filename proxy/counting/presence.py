"""Which connections are open, by the address of their client. They are leases, so a dead worker's are gone.

They are this machine's own: no store that machines share gets them.
"""

from __future__ import annotations

BEGIN = b"open\0"
"""Begins the keys."""


def key_of(listener: tuple[str, int] | None) -> bytes:
    """Return what begins the keys of connections to a listener; None: to all of them."""
    return BEGIN + (b"*" if listener is None else f"{listener[0]} {listener[1]}".encode()) + b"\0"


def is_here_only(key: bytes) -> bool:
    """Whether a lease is this machine's own."""
    return key.startswith(BEGIN)


def split(key: bytes) -> tuple[bytes, bytes]:
    """Return a key's beginning, and the address."""
    end = key.index(b"\0", len(BEGIN)) + 1
    return key[:end], key[end:]
