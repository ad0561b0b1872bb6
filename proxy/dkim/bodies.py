"""The hashes of a body, taken while it arrives: one for each canonical form, algorithm and length that is asked for."""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import Iterable
from dataclasses import dataclass

from proxy.dkim.canonical import PIECE, RelaxedBody, SimpleBody
from proxy.mail.stuffing import unstuffed

_FORMS = {"simple": SimpleBody, "relaxed": RelaxedBody}


@dataclass(frozen=True, slots=True)
class Wanted:
    """A hash that a signature asks for."""

    canon: str
    hash_name: str = "sha256"
    length: int | None = None
    """How many octets of the canonical body; None: all."""


@dataclass(frozen=True, slots=True)
class BodyHash:
    """A hash, and what it covers."""

    digest: bytes
    octets: int
    """Octets of the whole canonical body."""


class _Running:
    """One hash that is not finished."""

    __slots__ = ("_hash", "_left")

    def __init__(self, wanted: Wanted) -> None:
        self._hash = hashlib.new(wanted.hash_name, usedforsecurity=False)
        self._left = wanted.length

    def update(self, octets: bytes) -> None:
        if self._left is not None:
            octets = octets[: self._left]
            self._left -= len(octets)
        self._hash.update(octets)

    def digest(self) -> bytes:
        return self._hash.digest()


class _Form:
    """A canonical form and the hashes of it."""

    __slots__ = ("body", "octets", "running")

    def __init__(self, canon: str) -> None:
        self.body = _FORMS[canon]()
        self.octets = 0
        self.running: dict[Wanted, _Running] = {}

    def take(self, pieces: Iterable[bytes]) -> None:
        for piece in pieces:
            self.octets += len(piece)
            for each in self.running.values():
                each.update(piece)


class BodyHashes:
    """Takes the octets after the header section as they are on the wire: the empty line, and the stuffed body."""

    def __init__(self, wanted: Iterable[Wanted]) -> None:
        """Start before the first octet."""
        self._forms: dict[str, _Form] = {}
        for each in wanted:
            form = self._forms.setdefault(each.canon, _Form(each.canon))
            form.running.setdefault(each, _Running(each))
        self._at_start = True
        """Before the empty line."""
        self._held = b""
        self._line_begins = True

    async def feed(self, block: bytes) -> None:
        """Take a block. After each piece, others get their turn."""
        for at in range(0, len(block), PIECE):
            self.take(block[at : at + PIECE])
            await asyncio.sleep(0)

    def take(self, block: bytes) -> None:
        """Take at most PIECE octets."""
        block = self._held + block
        self._held = b""
        if block.endswith(b"\r"):  # its LF may be in the next piece
            block, self._held = block[:-1], b"\r"
        if block and self._at_start:
            block, self._at_start = block.removeprefix(b"\r\n"), False
        if block:
            self._hash(block)

    def _hash(self, block: bytes) -> None:
        plain = unstuffed(block) if self._line_begins else unstuffed(b"x" + block)[1:]
        self._line_begins = block.endswith(b"\r\n")
        for form in self._forms.values():
            form.take(form.body.feed(plain))

    def finish(self) -> dict[Wanted, BodyHash]:
        """Return the hashes."""
        if self._held:
            self._hash(self._held)
        found = {}
        for form in self._forms.values():
            form.take(form.body.finish())
            for wanted, running in form.running.items():
                found[wanted] = BodyHash(running.digest(), form.octets)
        return found
