r"""Find the links in a message: the URLs and names that mail programs make clickable, and what they hide.

A URL is read as browsers read it (WHATWG URL Standard): `http:\\host`, user names before an @, octets as %41, addresses
as one number, HTML's character references, line breaks inside an attribute. A stranger writes the
text, so the characters, candidates and links have limits, and every expression takes linear time.
"""

from __future__ import annotations

import html
import ipaddress
import re
import unicodedata
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from urllib.parse import unquote

from config.base.domains import a_labels
from sieve.message.addresses import mailboxes
from sieve.message.mime import Structure

MOST_LINKS = 1000
"""Different links of a message that are kept."""

MOST_CANDIDATES = 20_000
"""Texts of a message that may be links and are looked at."""

MOST_CHARACTERS = 2 << 20
"""Characters of a message that are read."""

LONGEST_URL = 1000

_PIECE = 1 << 13
"""Characters that one search reads: `re` lets no other thread run meanwhile."""

_OVERLAP = 2 * LONGEST_URL


@dataclass(frozen=True, slots=True)
class Link:
    """One link."""

    url: str
    """As in the text, but decoded."""
    host: str
    """A name in lower-case A-labels without a trailing dot, or an IP address in its usual form without brackets."""


@dataclass(frozen=True, slots=True)
class Links:
    """The links of a message, each once, in the order of its text."""

    found: tuple[Link, ...]
    is_whole: bool
    """Whether everything was read within the limits."""

    @property
    def hosts(self) -> tuple[str, ...]:
        """The hosts, each once."""
        return tuple(dict.fromkeys(link.host for link in self.found))


_CANDIDATE = re.compile(
    r"(?:https?|ftps?)(?::|%3a)(?:[/\\]|%2f|%5c){1,4}(?P<after>[^\s<>\"`|\x00-\x1f]{1,1000})"
    r"|(?<![\w@.-])(?P<www>www\d{0,3}\.[^\s<>\"`|\x00-\x1f]{1,1000})"
    r"|mailto:[^\s<>\"`|\x00-\x1f@]{1,256}@(?P<mail>[^\s<>\"`|\x00-\x1f]{1,256})"
    r"|(?<![\w@./%-])(?P<bare>(?:[a-z0-9-]{1,63}\.){1,8}[a-z]{2,24})(?=[/:?])",
    re.IGNORECASE,
)
_ATTRIBUTE = re.compile(
    r"(?:href|src|action|background|cite|data|poster)\s{0,20}=\s{0,20}"
    r"(?:\"([^\"]{1,1000})\"|'([^']{1,1000})'|([^\s>\"']{1,1000}))",
    re.IGNORECASE,
)
_SCHEME = re.compile(r"[\x00-\x20]*(?:(?:https?|ftps?):)?[/\\]{2,}([^\x00-\x1f]{1,1000})", re.IGNORECASE)
_IGNORED = str.maketrans("", "", "\t\r\n")
"""Browsers remove these anywhere in a URL."""

_END_OF_AUTHORITY = re.compile(r"[/\\?#]|%2f|%5c|%3f|%23", re.IGNORECASE)
_NAME = re.compile(r"(?:[a-z0-9_](?:[a-z0-9_-]{0,61}[a-z0-9_])?\.){1,126}[a-z](?:[a-z0-9-]{0,61}[a-z0-9])?")
_DOTS = str.maketrans("。．｡", "...")  # noqa: RUF001 - the dots of IDNA (RFC 3490, 3.1)
_LONGEST_HOST = 253
_NOT_OF_A_HOST = ".,;:!'\")]}>*_~"
"""What ends a sentence or brackets, not a link."""


class _Finder:
    """Collects links within the limits."""

    def __init__(self) -> None:
        self.links: dict[str, Link] = {}
        self.is_whole = True
        self._candidates = MOST_CANDIDATES
        self._characters = MOST_CHARACTERS

    def read(self, text: str) -> None:
        """Find the links of a text."""
        room, self._characters = self._characters, max(0, self._characters - len(text))
        self.is_whole = self.is_whole and len(text) <= room
        for at in range(0, min(len(text), room), _PIECE):
            piece = text[at : at + _PIECE + _OVERLAP]
            for url, rest in _candidates(piece):
                if not self._take(url, rest):
                    return

    def _take(self, url: str, rest: str) -> bool:
        """Keep a link, if it is one; tell whether there is room for more."""
        self._candidates -= 1
        if self._candidates < 0 or len(self.links) >= MOST_LINKS:
            self.is_whole = False
            return False
        if url not in self.links and (host := host_of(rest)):
            self.links[url] = Link(url, host)
        return True


def links_of(message: Structure) -> Links:
    """Return the links in every text part of a message, in all readings of it."""
    finder = _Finder()
    parts = [part for part in message.all_leaves() if part.is_of(("text",))]
    for text in message.read(parts, message.texts):
        finder.read(text)
    return Links(tuple(finder.links.values()), finder.is_whole)


def links_in(texts: Iterable[str]) -> Links:
    """Return the links in texts, such as header fields."""
    finder = _Finder()
    for text in texts:
        finder.read(text)
    return Links(tuple(finder.links.values()), finder.is_whole)


def address_domains(fields: Iterable[str], most: int = MOST_LINKS) -> tuple[str, ...]:
    """Return the domains in address fields, each once: names and IP addresses as in `Link.host`."""
    found: dict[str, None] = {}
    for field in fields:
        for _, address in mailboxes(field):
            if len(found) >= most:
                return tuple(found)
            if "@" in address and (host := host_of(address)):
                found[host] = None
    return tuple(found)


def _candidates(text: str) -> Iterator[tuple[str, str]]:
    """Yield what may be a link: all of it, and its part from the authority on."""
    readings = dict.fromkeys((text, html.unescape(text) if "&" in text else text))
    for reading in readings:
        for match in _CANDIDATE.finditer(reading):
            rest = match["after"] or match["www"] or match["mail"] or match["bare"]
            yield match[0], rest
            inner = unquote(rest[:LONGEST_URL]) if "%" in rest else rest
            for nested in _CANDIDATE.finditer(inner, 1):  # http://example.com/?to=http://…
                if nested["after"]:
                    yield nested[0], nested["after"]
        if "=" in reading:
            yield from _attributes(reading)


def _attributes(text: str) -> Iterator[tuple[str, str]]:
    """Yield the links in HTML's attributes, in which browsers ignore line breaks, and which need no scheme."""
    for match in _ATTRIBUTE.finditer(text):
        value = html.unescape(match[1] or match[2] or match[3] or "").translate(_IGNORED)
        link = _SCHEME.match(value)
        if link is not None:
            yield value.strip(), link[1]


def host_of(rest: str) -> str:
    """Return the host of a URL's part from the authority on, or of an address; else empty."""
    authority = _END_OF_AUTHORITY.split(rest[:LONGEST_URL], maxsplit=1)[0].rpartition("@")[2]
    if authority.startswith("["):
        return _six(authority[1:].partition("]")[0])
    host = unquote(authority.partition(":")[0]).strip(_NOT_OF_A_HOST)
    if not host.isascii():
        host = unicodedata.normalize("NFKC", host[:_LONGEST_HOST]).translate(_DOTS)
    try:
        name = a_labels(host)
    except UnicodeError:
        return ""
    if len(name) <= _LONGEST_HOST and _NAME.fullmatch(name):
        return name
    return _four(name)


def _six(text: str) -> str:
    literal = text[5:] if text[:5].lower() == "ipv6:" else text
    try:
        return str(ipaddress.ip_address(literal))
    except ValueError:
        return ""


def _four(text: str) -> str:
    """Read an IPv4 address as browsers do: one to four numbers, decimal, octal or hexadecimal."""
    parts = text.split(".")
    if not 1 <= len(parts) <= 4:
        return ""
    numbers = [_number(part) for part in parts]
    last = numbers.pop()
    if last is None or last >= 256 ** (4 - len(numbers)) or any(each is None or each > 255 for each in numbers):
        return ""
    whole = last
    for at, each in enumerate(numbers):
        whole += (each or 0) << 8 * (3 - at)
    return str(ipaddress.IPv4Address(whole)) if len(parts) > 1 or whole > 0xFFFF else ""


_NUMERAL = re.compile(r"0x([0-9a-f]{1,12})|(0[0-7]{0,12})|([1-9][0-9]{0,11})")


def _number(text: str) -> int | None:
    match = _NUMERAL.fullmatch(text)
    if match is None:
        return None
    return int(match[1], 16) if match[1] else int(match[2], 8) if match[2] else int(match[3])
