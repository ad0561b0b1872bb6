"""Parts of a mail address, and whether a text can be one."""

from __future__ import annotations

import re

from sieve.library import AddressPart

SEPARATOR = "+"
"""Between user and detail in a localpart (RFC 5233 leaves the choice to the site)."""

_IMPOSSIBLE = re.compile(r"[\x00-\x20\x7f\x85\xa0\u2028\u2029\udc80-\udcff]")


def part_of(address: str, part: AddressPart) -> str | None:
    """Return a part of an address; None where it has no such part, which is only a detail (RFC 5233, 4)."""
    if part is AddressPart.ALL:
        return address
    localpart, at, domain = address.rpartition("@")
    if not at:
        localpart, domain = domain, ""
    if part is AddressPart.DOMAIN:
        return domain
    if part is AddressPart.LOCALPART:
        return localpart
    user, separator, detail = localpart.partition(SEPARATOR)
    if part is AddressPart.USER:
        return user
    return detail if separator else None


def is_plausible(address: str) -> bool:
    """Tell whether a text can be an address: a localpart, `@`, a domain, and nothing that breaks a command line."""
    localpart, _, domain = address.rpartition("@")
    if len(localpart) > 1 and localpart[0] == localpart[-1] == '"':
        localpart = localpart.replace(" ", "_")  # a quoted one may hold blanks (RFC 5321, 4.1.2)
    return bool(localpart and domain) and _IMPOSSIBLE.search(f"{localpart}@{domain}") is None


_PIECE = re.compile(r'"(?:[^"\\]|\\.)*+(?:"|\Z)|[^"(),:;<>\\]++|\\.|[(),:;<>\\]', re.DOTALL)
_ESCAPE = re.compile(r"\\(.)", re.DOTALL)
_LONGEST_FIELD = 1 << 20


class _Mailboxes:
    """Reads an address field: one pass over its pieces, no recursion for nested comments."""

    def __init__(self) -> None:
        self.found: list[tuple[str, str]] = []
        self._text: list[str] = []
        self._angle: list[str] | None = None
        self._in_angle = False
        self._comment = 0

    def read(self, field: str) -> list[tuple[str, str]]:
        for piece in _PIECE.findall(field[:_LONGEST_FIELD]):
            if self._comment or piece in {"(", ")"}:
                self._comment = max(0, self._comment + {"(": 1, ")": -1}.get(piece, 0))
            else:
                self._piece(piece)
        self._finish()
        return self.found

    def _piece(self, piece: str) -> None:
        if self._in_angle:
            self._angled(piece)
        elif piece == "<":
            self._angle, self._in_angle = [], True
        elif piece == ":":
            self._text.clear()
        elif piece in {",", ";"}:
            self._finish()
        else:
            self._text.append(piece)

    def _angled(self, piece: str) -> None:
        """Take a piece between angle brackets; a colon ends an obsolete route (RFC 5322, 4.4)."""
        if piece == ">":
            self._in_angle = False
        elif piece == ":":
            self._angle = []
        elif self._angle is not None:
            self._angle.append(piece)

    def _finish(self) -> None:
        """One mailbox is complete."""
        if self._angle is not None:
            name = "".join(_unquoted(piece) for piece in self._text).strip()
            self.found.append((name, "".join(self._angle).strip()))
        else:
            bare = "".join(self._text).strip()
            if bare:
                self.found.append(("", bare))
        self._text, self._angle, self._in_angle = [], None, False


def _unquoted(piece: str) -> str:
    return _ESCAPE.sub(r"\1", piece[1:].removesuffix('"')) if piece.startswith('"') else piece


def mailboxes(field: str) -> list[tuple[str, str]]:
    """Return the mailboxes of an address field as display name and address; groups are opened, comments dropped."""
    return _Mailboxes().read(field)
