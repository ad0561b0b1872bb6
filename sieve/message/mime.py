"""Parse a message into its MIME parts, including parts of attached messages (RFC 2045, 2046).

Mail programs read a malformed message differently. `parts` follows the standards; `others` are the parts that programs
may find in other readings, so that a script sees everything that the recipient's program may show.
"""

from __future__ import annotations

import itertools
import operator
from collections.abc import Callable, Hashable, Iterable, Iterator
from dataclasses import dataclass
from typing import TypeVar

from sieve.message import charsets, transfer
from sieve.message.mime_parts import DEEPEST, MOST_PARTS, MimeReading, Part, PartReader

MOST_DECODED = 4
"""Maximum octets decoded to find parts inside encoded messages, as a multiple of the message's size. Three levels of
base64 need less than 3."""

MOST_READ = 4
"""Maximum octets or characters of other readings that a test compares, as a multiple of the message's size."""

_Read = TypeVar("_Read", bytes, str)


@dataclass(frozen=True, slots=True)
class Structure:
    """A message and its parts; the first part is the message itself."""

    raw: bytes
    parts: tuple[Part, ...]
    """Includes the parts of attached messages, if these are not encoded."""
    others: tuple[Part, ...]
    """Parts of encoded attached messages, and parts of other readings."""
    is_valid: bool
    """Whether every multipart is closed and has at least one part, and no limit was exceeded."""

    @property
    def body(self) -> bytes:
        """Everything after the header section."""
        return self.raw[self.parts[0].body :]

    def leaves(self) -> Iterator[Part]:
        """Yield the parts without subparts. An attached message counts as one."""
        return (part for part in self.parts if not part.is_multipart and not part.is_embedded)

    def all_leaves(self) -> Iterator[Part]:
        """Yield the leaves, then the leaves of attached messages and of other readings."""
        yield from self.leaves()
        yield from (part for part in self.parts if not part.is_multipart and part.is_embedded)
        yield from (part for part in self.others if not part.is_multipart)

    def every_part(self) -> tuple[Part, ...]:
        """Return all parts in all readings."""
        return self.parts + self.others

    def decoded(self, part: Part) -> bytes:
        """Return the body of a part with its transfer encoding decoded."""
        return transfer.decoded(part.source[part.body : part.end], part.encoding)

    def text(self, part: Part) -> str:
        """Decode the body of a text part by its character set; an unknown set is decoded as UTF-8."""
        return charsets.decoded(self.decoded(part), part.charset)

    def contents(self, part: Part) -> Iterator[bytes]:
        """Yield the possible decoded forms of the part's body, the standard's reading first.

        For an attached message, this is its header section (RFC 5173, 5.2); the rest belongs to other parts.
        """
        end = part.end if part.inner_body is None else min(part.inner_body, part.end)
        body = part.source[part.body : end]
        yield from _different(each for name in part.encodings for each in transfer.readings(body, name))

    def texts(self, part: Part) -> Iterator[str]:
        """Yield the part's text in each character set that it names."""
        contents = self.contents(part)
        yield from _different(charsets.decoded(each, name) for each in contents for name in part.charsets)

    def around(self, part: Part) -> tuple[bytes, ...]:
        """Return the text before the first part of a multipart, and after its last (RFC 2046, 5.1.1)."""
        at = self.parts.index(part)
        inside = list(itertools.takewhile(lambda each: each.depth > part.depth, self.parts[at + 1 :]))
        if not inside:
            return (part.source[part.body : part.end],)
        prologue = part.source[part.body : self._before_delimiter(inside[0].start)]
        if part.is_open:
            return (prologue,)
        follower = self.parts[at + 1 + len(inside)] if at + 1 + len(inside) < len(self.parts) else None
        holder = next((each for each in reversed(self.parts[:at]) if each.depth < part.depth), None)
        if follower is not None:
            end = self._before_delimiter(follower.start)
        elif holder is None or holder.is_open:
            end = len(part.source)
        else:
            end = self._before_delimiter(holder.end) if holder.is_multipart else holder.end
        return prologue, part.source[part.end : end]

    def _before_delimiter(self, after: int) -> int:
        """Return the end of what a delimiter line ends, of which `after` is the end."""
        line = self.raw.rfind(b"\n", 0, after - 1) + 1
        return line - 2 if self.raw.startswith(b"\r\n", line - 2) else max(line - 1, 0)

    def read(self, parts: Iterable[Part], reading: Callable[[Part], Iterator[_Read]]) -> tuple[_Read, ...]:
        """Return one reading of each part, then other readings, shortest parts first, up to a total limit."""
        own, others = [], []
        for part in parts:
            ways = reading(part)
            if not part.is_in_other_reading:
                own += list(itertools.islice(ways, 1))
            others.append((part.end - part.body, ways))
        room = MOST_READ * len(self.raw)
        for _, ways in sorted(others, key=operator.itemgetter(0)):
            for result in ways:
                room -= len(result)
                if room < 0:
                    return tuple(own)
                own.append(result)
        return tuple(own)


def _different(ways: Iterable[_Read]) -> Iterator[_Read]:
    """Yield each value once. A linear search is enough for a handful of values."""
    seen: list[_Read] = []
    for each in ways:
        if each not in seen:
            seen.append(each)
            yield each


def _key(part: Part) -> Hashable:
    """Return a key that is equal for parts with the same fields and content."""
    return id(part.source), part.body, part.end, tuple(part.fields.items())


class _Opener:
    """Collects the parts of other readings and of encoded messages, which can be nested."""

    def __init__(self, size: int) -> None:
        self._octets = MOST_DECODED * size
        self._most = 2 * MOST_PARTS
        self._seen: set[Hashable] = set()
        self.found: list[Part] = []
        self.is_whole = True
        """Whether everything was read within the limits."""

    def open(self, first: list[Part], *, is_ambiguous: bool) -> None:
        """Read the content of the parts that the first reading found."""
        self._note(first)
        waiting = list(first)
        if is_ambiguous:
            waiting += self._other_readings(first[0].source, first[0].depth)
        while waiting:
            waiting += self._inside(waiting.pop())

    def _note(self, parts: list[Part]) -> list[Part]:
        """Return the parts that no earlier reading found."""
        new = [part for part in parts if _key(part) not in self._seen]
        self._seen.update(map(_key, new))
        return new

    def _other_readings(self, raw: bytes, depth: int) -> list[Part]:
        return [part for reading in (MimeReading.LAST, MimeReading.ANY) for part in self._read(raw, depth, reading)[0]]

    def _read(self, raw: bytes, depth: int, reading: MimeReading) -> tuple[list[Part], bool]:
        if self._most <= 0:
            self.is_whole = False
            return [], False
        reader = PartReader(raw, reading, depth, min(self._most, MOST_PARTS))
        new = self._note(reader.read())
        self._most -= len(reader.parts)
        self.is_whole = self.is_whole and reader.is_whole
        for part in new:
            part.is_in_other_reading = True
        self.found += new
        return new, reader.is_ambiguous

    def _inside(self, part: Part) -> list[Part]:
        """Return the parts of an encoded message, or of a multipart that is encoded as a whole."""
        if not part.is_encoded or not (part.holds_message or part.holds_parts):
            return []
        parts: list[Part] = []
        end = part.end if part.start else len(part.source)  # the whole message, including text after its last boundary
        for encoding in filter(None, part.encodings):
            self._octets -= end - part.body
            if self._octets < 0 or part.depth >= DEEPEST:
                self.is_whole = False
                return parts
            raw = transfer.decoded(part.source[part.body : end], encoding)
            head = b"" if part.holds_message else b"Content-Type: " + part.first_type + b"\r\n\r\n"
            new, is_ambiguous = self._read(head + raw, part.depth + 1, MimeReading.FIRST)
            parts += new
            if is_ambiguous and new:
                parts += self._other_readings(new[0].source, new[0].depth)
        return parts


def structure(raw: bytes) -> Structure:
    """Parse a message: header section and body."""
    reader = PartReader(raw, MimeReading.FIRST)
    parts = reader.read()
    opener = _Opener(len(raw))
    opener.open(parts, is_ambiguous=reader.is_ambiguous)
    is_whole = reader.is_whole and opener.is_whole
    childless = any(part.is_multipart and not part.children and not part.is_embedded for part in parts)
    is_valid = is_whole and reader.is_closed and not childless
    return Structure(raw, tuple(parts), tuple(opener.found), is_valid)
