"""Find the MIME parts of a message in one pass over its octets (RFC 2046).

Open parts are on an explicit stack, without recursion. Its depth and the number of parts are limited, so a hostile
message costs time linear in its length. The same pass reads attached messages; `sieve.message.mime` starts another pass
for encoded ones.
"""

from __future__ import annotations

import enum
import re
from dataclasses import dataclass, field

import regex

from sieve.message import file_names
from sieve.message.mime_fields import content_fields, encodings
from sieve.message.parameters import Parameters, parameters

DEEPEST = 100
"""Maximum depth of nested parts. Deeper parts are content of the enclosing part."""

MOST_PARTS = 1000

LONGEST_HEADER = 1 << 20
"""Maximum octets read of a part's header section. The SMTP side limits the message's own."""

LONGEST_BOUNDARY = 100
"""Maximum octets of a boundary that may also match the beginning of a longer line; RFC 2046 allows 70."""

_FIELDS_BEHIND_A_DELIMITER = 4096
_EMPTY_LINE = re.compile(rb"\n\r?\n")
_HEADER_BREAK = re.compile(rb"\n(?:\r?\n|--)")
_FIELDS = regex.compile(rb"(?:[!-9;-~]++[ \t]*+:[^\n]*+\n?|[ \t][^\n]*+\n?|>?From [^\n]*+\n?)*+")
"""Lines that can be in a header section; `From ` comes from mailbox files."""

_SPACE = re.compile(r"\s+")
_IDENTITY = frozenset({"", "7bit", "8bit", "binary"})
_REPORTS = frozenset(
    {
        "message/delivery-status",
        "message/global-delivery-status",
        "message/disposition-notification",
        "message/global-disposition-notification",
        "message/feedback-report",
        "message/tracking-status",
    }
)
"""`message/` types that contain fields instead of a message."""


class MimeReading(enum.Enum):
    """Which type and boundary counts if a part has more than one."""

    FIRST = enum.auto()
    LAST = enum.auto()
    ANY = enum.auto()
    """Each boundary ends a part, even as the beginning of a longer line, and a multipart continues after its end."""


@dataclass(slots=True)
class Part:
    """One part: the offsets of its header section and body, and its header fields."""

    source: bytes
    start: int
    body: int
    end: int
    fields: dict[str, tuple[str, ...]]
    depth: int
    in_digest: bool = False
    is_embedded: bool = False
    """Whether it is inside an attached message, such as a forwarded one."""
    is_open: bool = True
    is_multipart: bool = False
    """Whether the reader searched for its boundary."""
    children: int = 0
    inner_body: int | None = None
    """The offset of the attached message's body, if the part has one that is not encoded."""
    is_in_other_reading: bool = False
    """Whether a standards-compliant program does not find it, or it was encoded."""
    types: tuple[Parameters, ...] = field(init=False)
    content_types: tuple[str, ...] = field(init=False)
    """Its type in lower case, then other types that programs may see."""
    encodings: tuple[str, ...] = field(init=False)

    def __post_init__(self) -> None:
        """Set the types. The default is text/plain, or a message in a digest (RFC 2045, 5.2; 2046, 5.1.5)."""
        default = "message/rfc822" if self.in_digest else "text/plain"
        self.types = tuple(map(parameters, self.fields.get("content-type", ())))
        declared = [_SPACE.sub("", kind.value) for kind in self.types]
        named = dict.fromkeys(text if text.count("/") == 1 else _type_in(text) for text in declared)
        if any(name.startswith("multipart/") for name in named) and not self.boundaries(MimeReading.ANY):
            named["text/plain"] = None  # shown by a program that finds no parts
        self.content_types = tuple(named) or (default,)
        self.encodings = encodings(self.fields.get("content-transfer-encoding", ()))

    @property
    def content_type(self) -> str:
        """Its first type."""
        return self.content_types[0]

    @property
    def is_attachment(self) -> bool:
        """Whether its disposition makes it an attachment (RFC 2183)."""
        return any(
            parameters(each).value.startswith("attachment") for each in self.fields.get("content-disposition", ())
        )

    @property
    def encoding(self) -> str:
        """The transfer encoding in lower case; empty if no decoding is needed."""
        return self.encodings[0]

    @property
    def charsets(self) -> tuple[str, ...]:
        """Its possible character sets: the first and the last one it names."""
        every = [name for each in self.types for name in each.all("charset")] or ["utf-8"]
        return tuple(dict.fromkeys((every[0], every[-1])))

    @property
    def charset(self) -> str:
        """The character set of its text."""
        return self.charsets[0]

    @property
    def file_names(self) -> tuple[str, ...]:
        """The file names in its disposition and type, in all readings."""
        dispositions = map(parameters, self.fields.get("content-disposition", ()))
        given = [
            value for each in (*dispositions, *self.types) for key in ("filename", "name") for value in each.all(key)
        ]
        return file_names.readings(dict.fromkeys(given), self.charset)

    @property
    def holds_message(self) -> bool:
        """Whether it contains a message."""
        return any(each.startswith("message/") and each not in _REPORTS for each in self.content_types)

    @property
    def holds_parts(self) -> bool:
        """Whether its type is multipart."""
        return any(each.startswith("multipart/") for each in self.content_types)

    def is_of(self, kinds: tuple[str, ...]) -> bool:
        """Tell whether it has one of these types: `text/html`, `text` for all its subtypes, or "" for any type."""
        names = {name for each in self.content_types for name in ("", each.partition("/")[0], each)}
        return not names.isdisjoint(kinds)

    @property
    def first_type(self) -> bytes:
        """Its first Content-Type as written."""
        return self.fields.get("content-type", ("",))[0].encode("utf-8", "surrogateescape")

    @property
    def is_encoded(self) -> bool:
        """Whether its body may be encoded."""
        return not _IDENTITY.issuperset(self.encodings)

    def boundaries(self, reading: MimeReading) -> tuple[bytes, ...]:
        """Return the boundaries that a program may use if it treats the part as a multipart."""
        which = {MimeReading.FIRST: self.types[:1], MimeReading.LAST: self.types[-1:], MimeReading.ANY: self.types}[
            reading
        ]
        boundaries = tuple(
            dict.fromkeys(
                value.rstrip().encode("utf-8", "surrogateescape")
                for declared in which
                if _SPACE.sub("", declared.value).startswith("multipart")
                for value in declared.all("boundary")
            )
        )
        chosen = {MimeReading.FIRST: boundaries[:1], MimeReading.LAST: boundaries[-1:], MimeReading.ANY: boundaries}
        return chosen[reading]

    @property
    def is_ambiguous(self) -> bool:
        """Whether programs may find different content: it has two types or boundaries, or no boundary."""
        if self.holds_parts:
            return len(self.types) > 1 or len(self.boundaries(MimeReading.ANY)) != 1
        return self.holds_message and self.is_encoded


def _type_in(value: str) -> str:
    """Return the type for a value without exactly one slash: multipart if it begins with `multipart`, else text."""
    return "multipart/mixed" if value.startswith("multipart") else "text/plain"


class PartReader:
    """Finds the parts of one message in one reading."""

    def __init__(self, raw: bytes, reading: MimeReading, depth: int = 0, most: int = MOST_PARTS) -> None:
        """Read at most `most` parts. `depth` is the message's depth in other messages, 0 for the outer one."""
        self._raw = raw
        self._reading = reading
        self._depth = depth
        self._most = most
        self.parts: list[Part] = []
        self._open: list[tuple[tuple[bytes, ...], Part]] = []
        self._places: dict[bytes, list[int]] = {}
        """Boundary → its positions in `_open`, so that a lookup costs the same at any depth."""
        self._lengths: list[int] = []
        """The lengths of the open multiparts' boundaries, shortest first."""
        self._ended: set[bytes] = set()
        self._unclosed: list[Part] = []
        self.is_closed = True
        """Whether every multipart of the message itself is closed."""
        self.is_whole = True
        """Whether everything was read within the limits."""
        self.is_ambiguous = False
        """Whether another reading finds other parts."""

    def read(self) -> list[Part]:
        """Return the parts; the first is the message itself."""
        at = self._begin(0, self._depth)
        find = self._raw.find
        while self._open:
            line = at if self._raw.startswith(b"--", at) else find(b"\n--", at) + 1
            if line <= 0 and not self._raw.startswith(b"--", at):
                break
            at = self._delimiter(line, self._line_end(line))
        self.is_closed = all(part.is_embedded for _, part in self._open)
        for part in self.parts:
            part.end = len(self._raw) if part.is_open else part.end
        return self.parts

    def _line_end(self, line: int) -> int:
        return self._raw.find(b"\n", line) + 1 or len(self._raw)

    def _begin(self, start: int, depth: int, around: Part | None = None) -> int:
        """Add the part that begins at `start` and messages directly inside it; return the offset to continue at."""
        part = self._part(start, depth, around)
        while self._holds_message_here(part) and self._may_open(part):
            outer, part = part, self._part(part.body, part.depth + 1, part)
            outer.inner_body = part.body
        return part.body

    def _holds_message_here(self, part: Part) -> bool:
        """Tell whether a message begins in the part. Some programs read it as is even if it is declared as encoded."""
        is_plain = "" in part.encodings or self._reading is MimeReading.ANY
        return part.holds_message and not part.is_multipart and is_plain

    def _body(self, start: int, end: int) -> int:
        """Return the start of the body. For some programs, it begins at the first line that is not a field."""
        fields = _FIELDS.match(self._raw, start, end)
        stop = fields.end() if fields is not None else end
        if stop >= end or not self._raw[stop:end].strip():
            return end
        self.is_ambiguous = True
        return stop if self._reading is MimeReading.ANY else end

    def _part(self, start: int, depth: int, around: Part | None) -> Part:
        end = self._header_end(start, len(self._raw) if depth == 0 else start + LONGEST_HEADER)
        body = self._body(start, end)
        in_message = around is not None and not around.is_multipart
        part = Part(
            self._raw,
            start,
            body,
            len(self._raw),
            content_fields(self._raw[start:end]),
            depth,
            in_digest=around is not None and around.is_multipart and "multipart/digest" in around.content_types,
            is_embedded=in_message or self._depth > 0 or (around is not None and around.is_embedded),
        )
        self.parts.append(part)
        self._unclosed.append(part)
        self.is_ambiguous = self.is_ambiguous or part.is_ambiguous
        boundaries = part.boundaries(self._reading) or self._guessed(part)
        if boundaries and self._may_open(part):
            part.is_multipart = True
            for boundary in boundaries:
                self._places.setdefault(boundary, []).append(len(self._open))
            self._open.append((boundaries, part))
            self._sort_lengths()
        return part

    def _may_open(self, part: Part) -> bool:
        """Tell whether the part's content may be read within the limits of depth and number."""
        is_within = part.depth < DEEPEST and len(self.parts) < self._most
        self.is_whole = self.is_whole and is_within
        return is_within

    def _guessed(self, part: Part) -> tuple[bytes, ...]:
        """Guess a missing boundary like some programs: the multipart's first line that begins with two dashes."""
        if self._reading is not MimeReading.ANY or not part.content_type.startswith("multipart/"):
            return ()
        at = part.body if self._raw.startswith(b"--", part.body) else self._raw.find(b"\n--", part.body) + 1
        line = self._raw[at + 2 : min(self._line_end(at), at + 1000)].rstrip()
        return (line,) if line and self._raw.startswith(b"--", at) else ()

    def _header_end(self, start: int, most: int) -> int:
        """Return the start of the body after the header section at `start`, which a delimiter also ends."""
        if self._raw.startswith((b"\r\n", b"\n"), start):
            return self._raw.index(b"\n", start) + 1
        if self._raw.startswith(b"--", start) and self._is_delimiter(start):
            self.is_ambiguous = True  # for some programs, fields after it belong to this part
            match = _EMPTY_LINE.search(self._raw, start, start + _FIELDS_BEHIND_A_DELIMITER)
            return match.end() if match is not None and self._reading is MimeReading.ANY else start
        end = min(most, len(self._raw))
        for match in _HEADER_BREAK.finditer(self._raw, max(start - 1, 0), end):
            if not match[0].endswith(b"--"):
                return match.end()
            if self._is_delimiter(match.start() + 1):
                return match.start() + 1
        return end

    def _is_delimiter(self, line: int) -> bool:
        return bool(self._open) and max(self._at_line(line, self._line_end(line))) >= 0

    def _delimiter(self, line: int, end: int) -> int:
        """Handle the line if it is a boundary of an open multipart; return the offset to continue at."""
        opened, closed = self._at_line(line, end)
        number = max(opened, closed)
        if number < 0:
            return end
        _, part = self._open[number]
        self._close(line, part)
        self._leave(number + 1)
        if closed > opened:
            return self._end_multipart(number, end)
        if len(self.parts) >= self._most:
            self._open.clear()
            self.is_whole = False
            return end
        part.children += 1
        return self._begin(end, part.depth + 1, part)

    def _end_multipart(self, number: int, end: int) -> int:
        boundaries, part = self._open[number]
        if self._reading is not MimeReading.ANY:
            self._ended.update(boundaries)
            self._leave(number)
            part.is_open, part.end = False, end
            self._unclosed.pop()
        if not self._open:  # this reading ends here, but another may continue
            self.is_ambiguous = self.is_ambiguous or any(
                self._raw.find(b"\n--" + boundary, end - 1) > 0 for boundary in boundaries
            )
        return end

    def _at_line(self, line: int, end: int) -> tuple[int, int]:
        """Return the open multipart in which a line begins a part, and the one that it ends; -1 for neither."""
        text = self._raw[line + 2 : end].rstrip()
        opened, closed = self._place(text), self._place(text[:-2]) if text.endswith(b"--") else -1
        if max(opened, closed) >= 0:
            return opened, closed
        longer = -1
        for length in self._lengths:
            if length > len(text):
                break
            longer = max(longer, self._place(text[:length]))
        self.is_ambiguous = self.is_ambiguous or longer >= 0 or text in self._ended
        return (longer if self._reading is MimeReading.ANY else -1), -1

    def _place(self, boundary: bytes) -> int:
        """Return the position of the innermost open multipart with this boundary; -1 if no open one has it."""
        places = self._places.get(boundary)
        return places[-1] if places else -1

    def _leave(self, number: int) -> None:
        """Remove the open multiparts from `number` on."""
        for boundaries, _ in reversed(self._open[number:]):
            for boundary in boundaries:
                self._places[boundary].pop()
        if number < len(self._open):
            del self._open[number:]
            self._sort_lengths()

    def _sort_lengths(self) -> None:
        every = {len(each) for boundaries, _ in self._open for each in boundaries}
        self._lengths = sorted(length for length in every if 0 < length <= LONGEST_BOUNDARY)

    def _close(self, line: int, around: Part) -> None:
        """End every part inside `around` before the line break that belongs to the delimiter (RFC 2046, 5.1.1)."""
        end = line - 1 if line and self._raw[line - 1 : line] == b"\n" else line
        end = end - 1 if end and self._raw[end - 1 : end] == b"\r" else end
        while self._unclosed[-1] is not around:
            part = self._unclosed.pop()
            part.is_open, part.end = False, max(end, part.body)
