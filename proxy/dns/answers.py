"""Parse a DNS response in time proportional to its length, whatever a hostile name server wrote into it.

dnspython takes 1.5 s for 16 KiB of names that point into each other, and blocks the event loop meanwhile. This parser
reads each offset once. `proxy.dns.stub` decides what a response means. Source: RFC 1035 section 4, RFC 6891 section
6.1.3.
"""

from __future__ import annotations

import re
import socket
import struct
from dataclasses import dataclass, field

import dns.name
import dns.rdatatype

MOST_RECORDS = 100
"""Records whose data are read; no mail domain has more exchangers."""

Name = tuple[bytes, "Name"] | tuple[()]
"""A label in lower case and its parent name; the root is empty. Names share suffixes, as they do in the message."""

Value = str | bytes | tuple[int, str]
"""The data of a record: an address or a name as text, the bytes of a TXT, preference and host of an MX."""

A, NS, CNAME, SOA, PTR, MX, TXT, AAAA = (
    int(dns.rdatatype.from_text(each)) for each in ("A", "NS", "CNAME", "SOA", "PTR", "MX", "TXT", "AAAA")
)
_OPT = int(dns.rdatatype.OPT)
_IN = 1
_HEADER = struct.Struct("!6H")
_FIXED = struct.Struct("!HHIH")
_QUESTION = struct.Struct("!HH")
_POINTER = 0xC0
_LONGEST_NAME, _LONGEST_LABEL = 255, 63
_MOST_STEPS = 255
"""Labels and pointers of one name."""
_PLAIN = re.compile(rb"[a-z0-9_-]+")


class Malformed(Exception):
    """The bytes are not a DNS message."""


@dataclass(frozen=True, slots=True)
class ResourceRecord:
    """One record of class IN, with its data still in the message."""

    owner: Name
    kind: int
    start: int
    end: int


@dataclass(slots=True)
class Response:
    """A message by section, filled by `ResponseReader`."""

    id: int
    flags: int
    rcode: int
    """With the upper bits from EDNS."""
    question: list[tuple[Name, int, int]] = field(default_factory=list)
    """Name, type and class."""
    answer: list[ResourceRecord] = field(default_factory=list)
    authority: list[ResourceRecord] = field(default_factory=list)
    additional: list[ResourceRecord] = field(default_factory=list)
    malformed: bool = False
    """Whether the message is cut off, or an answer record is unreadable, of another class, or beyond the limit."""


class ResponseReader:
    """One message and the names parsed from it."""

    def __init__(self, octets: bytes) -> None:
        """Parse the message into `response`.

        Raises:
            Malformed: header or question cannot be read.
        """
        self._octets = octets
        self._names: dict[int, tuple[Name, int, int]] = {}
        """Offset → the name that begins there, its length, and the offset after it."""
        self.response = self._read()

    def _read(self) -> Response:
        try:
            ident, flags, *counts = _HEADER.unpack_from(self._octets)
            response, at = Response(ident, flags, flags & 0xF), _HEADER.size
            for _ in range(counts[0]):
                name, at = self._name(at)
                kind, group = _QUESTION.unpack_from(self._octets, at)
                response.question.append((name, kind, group))
                at += _QUESTION.size
        except (struct.error, IndexError) as error:
            raise Malformed from error
        sections = (response.answer, response.authority, response.additional)
        try:
            for section, count in zip(sections, counts[1:], strict=True):
                for _ in range(count):
                    at = self._record(response, section, at)
        except (struct.error, IndexError, Malformed):
            response.malformed = True
        return response

    def _record(self, response: Response, section: list[ResourceRecord], at: int) -> int:
        """Read one record and return the offset of the next."""
        owner, at = self._name(at)
        size: int
        kind, group, ttl, size = _FIXED.unpack_from(self._octets, at)
        start, end = at + _FIXED.size, at + _FIXED.size + size
        if end > len(self._octets):
            raise Malformed
        if kind == _OPT:
            response.rcode |= ttl >> 24 << 4
        elif group == _IN:
            section.append(ResourceRecord(owner, kind, start, end))
        elif section is response.answer:
            response.malformed = True
        return end

    def alias(self, record: ResourceRecord) -> Name:
        """Return the target of a CNAME.

        Raises:
            Malformed: its data are not a name.
        """
        return self._name_of_data(record.start, record.end)

    def values(self, records: list[ResourceRecord]) -> list[Value]:
        """Return the data of records. Unreadable ones are skipped and set `malformed`."""
        values: list[Value] = []
        self.response.malformed |= len(records) > MOST_RECORDS
        for record in records[:MOST_RECORDS]:
            try:
                values.append(self._value(record))
            except (Malformed, struct.error, IndexError):
                self.response.malformed = True
        return values

    def _value(self, record: ResourceRecord) -> Value:
        octets = self._octets[record.start : record.end]
        if record.kind in {A, AAAA}:
            if len(octets) != (4 if record.kind == A else 16):
                raise Malformed
            return socket.inet_ntop(socket.AF_INET if record.kind == A else socket.AF_INET6, octets)
        if record.kind == TXT:
            return _strings(octets)
        if record.kind == MX:
            (preference,) = struct.unpack_from("!H", octets)
            return int(preference), text_of(self._name_of_data(record.start + 2, record.end))
        return text_of(self._name_of_data(record.start, record.end))

    def _name_of_data(self, start: int, end: int) -> Name:
        try:
            name, after = self._name(start)
        except IndexError as error:
            raise Malformed from error
        if after != end:
            raise Malformed
        return name

    def _name(self, at: int) -> tuple[Name, int]:
        """Return the name at an offset, and the offset after it. Each offset is read once.

        Raises:
            Malformed, IndexError: there is no valid name.
        """
        first, lowest, path = at, at, list[tuple[int, bytes]]()
        while at not in self._names:
            length = self._octets[at]
            if not length:
                self._names[at] = (), 1, at + 1
            elif length >= _POINTER:
                path.append((at, b""))
                at = (length & 0x3F) << 8 | self._octets[at + 1]
                if at >= lowest:  # RFC 1035 section 4.1.4: to a prior occurrence
                    raise Malformed
                lowest = at
            else:
                path.append((at, self._label(at, length)))
                at += length + 1
            if len(path) > _MOST_STEPS:
                raise Malformed
        self._keep(path, self._names[at])
        name, _, after = self._names[first]
        return name, after

    def _label(self, at: int, length: int) -> bytes:
        label = self._octets[at + 1 : at + 1 + length].lower()
        if length > _LONGEST_LABEL or len(label) != length:
            raise Malformed
        return label

    def _keep(self, path: list[tuple[int, bytes]], rest: tuple[Name, int, int]) -> None:
        """Cache the names that begin at the offsets of a path, given the name that the path leads to."""
        name, size, after = rest
        for offset, label in reversed(path):
            if label:
                name, size = (label, name), size + 1 + len(label)
            else:
                after = offset + 2
            if size > _LONGEST_NAME:
                raise Malformed
            self._names[offset] = name, size, after


def _strings(octets: bytes) -> bytes:
    """Return the strings of a TXT record joined (RFC 7208 section 3.3)."""
    joined, at = bytearray(), 0
    while at < len(octets):
        end = at + 1 + octets[at]
        if end > len(octets):
            raise Malformed
        joined += octets[at + 1 : end]
        at = end
    return bytes(joined)


def name_of(name: dns.name.Name) -> Name:
    """Convert an absolute dnspython name to this module's form."""
    found: Name = ()
    for label in reversed(name.labels[:-1]):
        found = label.lower(), found
    return found


def text_of(name: Name) -> str:
    """Return a name as text, without the final dot; anything but letters, digits, `-` and `_` is escaped."""
    labels = []
    while name:
        label, name = name
        labels.append(label.decode() if _PLAIN.fullmatch(label) else dns.name.Name((label,)).to_text())
    return ".".join(labels)
