"""Parts of mail addresses, plausibility checks, and the mailboxes of an address field."""

from __future__ import annotations

import re
from enum import StrEnum

import regex

from sieve.message.spelling import canonical_local_part, unquoted

SEPARATOR = "+"
"""The separator between user and detail in a localpart (RFC 5233 leaves the choice to the site)."""

_IMPOSSIBLE = re.compile(r"[\x00-\x20\x7f\x85\xa0\u2028\u2029\udc80-\udcff]")

_BREAKS = re.compile(r"[\x00-\x08\x0a-\x1f\x7f\x85\u2028\u2029]")

_PLAIN = re.compile(r"[A-Za-z0-9!#$%&'*+/=?^_`{|}~.-]{1,256}@[A-Za-z0-9.-]{1,255}")
"""Nearly every address: nothing in it means anything to the parser of address fields."""


def part_of(address: str, part: AddressPart) -> str | None:
    """Return a part of an address; None if it has no detail and the detail is requested (RFC 5233, 4)."""
    if part is AddressPart.ALL:
        return address
    localpart, at, domain = address.rpartition("@")
    if not at:
        localpart, domain = domain, ""
    if part is AddressPart.DOMAIN:
        return domain
    if part is AddressPart.LOCALPART:
        return localpart
    user, separator, detail = unquoted(localpart).partition(SEPARATOR)
    if part is AddressPart.USER:
        return canonical_local_part(user) if user else ""
    return (canonical_local_part(detail) if detail else "") if separator else None


def is_plausible(address: str) -> bool:
    """Tell whether a text can be an address: a localpart, `@`, a domain, and no character that breaks a command."""
    localpart, _, domain = address.rpartition("@")
    if len(localpart) > 1 and localpart[0] == localpart[-1] == '"':
        localpart = localpart.replace(" ", "_")  # a quoted localpart may have spaces (RFC 5321, 4.1.2)
    return bool(localpart and domain) and _IMPOSSIBLE.search(f"{localpart}@{domain}") is None


def address_in(text: str) -> str | None:
    """Return a bare address, or an address in angle brackets after a display name; None if the text is neither.

    RFC 5228, 2.4.2.3.
    """
    if _PLAIN.fullmatch(text) is not None:
        return text
    found = mailboxes(text) if _BREAKS.search(text) is None else []
    address = found[0][1] if len(found) == 1 else text
    return address if is_plausible(address) else None


_NAMED = regex.compile(r'(?:"(?:[^"\\]|\\.)*+"|[^"<>@,;:\\()]|\([^()]*+\))*+<([^<>]*+)>\s*(?:\([^()]*+\)\s*)?')
_NO_ROUTE = regex.compile(r'"(?:[^"\\]|\\.)*+"|\[[^\[\]]*+\]|\([^()]*+\)')
"""Where an address may have colons."""
_DOMAIN = re.compile(r"\[[^\s\[\]\\]{1,255}\]|[^\s\x00-,/:-@\[-`{-\x7f]{1,255}")
_LOCAL_PART = regex.compile(r'"(?:[^"\\]|\\.)*+"|[^\s\x00-\x20"(),:;<>@\[\]\\\x7f]++')


def outbound_address(text: str) -> str | None:
    """Return the address that `addr-spec` or `phrase <addr-spec>` names; None if it is neither (RFC 5228, 2.4.2.3)."""
    if _BREAKS.search(text) is not None:
        return None
    named = _NAMED.fullmatch(text.strip())
    if named is None and "<" in text:
        return None
    written = text if named is None else named[1]
    addresses = mailboxes(written)
    if len(addresses) != 1 or ":" in _NO_ROUTE.sub("", written):  # a route or a group
        return None
    local_part, _, domain = addresses[0][1].rpartition("@")
    fits = _LOCAL_PART.fullmatch(local_part) is not None and _DOMAIN.fullmatch(domain) is not None
    return addresses[0][1] if fits else None


_PIECE = regex.compile(
    r'"(?:[^"\\]|\\.)*+"'  # a quoted string
    r"|(?:(?<=@)|(?<=@ ))\[(?:[^\[\]\\]|\\.)*+\]"  # an address literal
    r'|[^"(),:;<>\\@]++|@ ?|\\.|["(),:;<>\\]',
    regex.DOTALL,
)
_COMMENT_PIECE = re.compile(r"[^()\\]++|\\.|[()\\]", re.DOTALL)
_ESCAPE = re.compile(r"\\(.)", re.DOTALL)
_GAP = regex.compile(r'("(?:[^"\\]|\\.)*+"|\\.)|(?<![ \t\r\n])[ \t\r\n]*+([@.])[ \t\r\n]*+', regex.DOTALL)
_LONGEST_FIELD = 1 << 20


class _Mailboxes:
    """Parses an address field in one pass, without recursion for nested comments.

    An unclosed quote or parenthesis is an ordinary character: it must not hide an address.
    """

    def __init__(self) -> None:
        self.found: list[tuple[str, str]] = []
        self._text: list[str] = []
        self._angle: list[str] | None = None
        self._in_angle = False

    def read(self, field: str) -> list[tuple[str, str]]:
        text, at, comments = field[:_LONGEST_FIELD], 0, True
        while (match := _PIECE.match(text, at)) is not None:
            if comments and match[0] == "(":
                end = _end_of_comment(text, match.end())
                comments = end is not None
                at = end or at
            else:
                at = match.end()
                self._piece(match[0])
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
        """Add a piece between angle brackets. A colon ends an obsolete route (RFC 5322, 4.4)."""
        if piece == ">":
            self._in_angle = False
        elif piece == ":":
            self._angle = []
        elif self._angle is not None:
            self._angle.append(piece)

    def _finish(self) -> None:
        """Finish one mailbox."""
        if self._angle is not None:
            name = "".join(_plain(piece) for piece in self._text).strip()
            self.found.append((name, _closed_up(self._angle)))
        else:
            bare = _closed_up(self._text)
            if bare:
                self.found.append(("", bare))
        self._text, self._angle, self._in_angle = [], None, False


def _end_of_comment(text: str, at: int) -> int | None:
    """Return the end of the comment whose text begins at `at`; None if it is never closed.

    Only parentheses and quoted pairs are special inside a comment; quotes are not (RFC 5322, 3.2.2).
    """
    depth = 1
    for piece in _COMMENT_PIECE.finditer(text, at):
        depth += {"(": 1, ")": -1}.get(piece[0], 0)
        if not depth:
            return piece.end()
    return None


def _closed_up(pieces: list[str]) -> str:
    """Return an address without optional spaces around `@` and dots (RFC 5322, 3.4.1 and 4.4)."""
    return _GAP.sub(lambda found: found[1] or found[2], "".join(pieces).strip())


def _plain(piece: str) -> str:
    """Return the text of a piece of a display name: a quoted string without its quotes."""
    return _ESCAPE.sub(r"\1", piece[1:-1]) if len(piece) > 1 and piece.startswith('"') else piece


def mailboxes(field: str) -> list[tuple[str, str]]:
    """Return the mailboxes of an address field as pairs of display name and address. Groups are expanded."""
    return _Mailboxes().read(field)


class AddressPart(StrEnum):
    """Type of a keyword-only parameter that takes one of the tags `:all :localpart :domain :user :detail`."""

    ALL = "all"
    LOCALPART = "localpart"
    DOMAIN = "domain"
    USER = "user"
    DETAIL = "detail"


ADDRESS_PARTS = frozenset(part.value for part in AddressPart)
