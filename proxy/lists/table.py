"""`Table`: a list as it is asked. Its ranges do not overlap and are sorted, in a file that all processes map.

A look-up is a bisection over mapped arrays: it copies nothing, and a million networks cost the machine 12 MB once.
"""

from __future__ import annotations

import json
import mmap
import os
import struct
from array import array
from bisect import bisect_left, bisect_right
from collections.abc import Iterator, Mapping
from pathlib import Path
from socket import AF_INET, AF_INET6, inet_pton
from typing import Any, Literal

from proxy.lists.networks import EXCLUDED, SIX_BITS, Gathered

_MAGIC = b"RBLIST1\n"
_HEAD = struct.Struct("<8sI")
_ALIGNED = 8
_HALF = (1 << 64) - 1

NOT_LISTED = -1


class Broken(Exception):
    """A file is not a table."""


# ---------------------------------------------------------------- making


def flattened(keys: list[int], bits: int) -> Iterator[tuple[int, int, int]]:
    """Yield disjoint ranges in order: first address, last address, number of the value. Sorts `keys`.

    The most specific network decides. Networks are nested or disjoint, so a stack of open ones is enough.
    """
    keys.sort()
    shift, mask = (6, 63) if bits == 32 else (8, 255)
    open_: list[tuple[int, int]] = []
    at = 0
    for key in keys:
        number, place = key & 0xFFFF_FFFF, key >> 32
        start = place >> shift
        end = start | ((1 << (bits - (place & mask))) - 1)
        while open_ and open_[-1][0] < start:
            last, value = open_.pop()
            if at <= last:
                yield at, last, value
                at = last + 1
        if open_ and at < start:
            yield at, start - 1, open_[-1][1]
        at = start
        open_.append((end, number))
    while open_:
        last, value = open_.pop()
        if at <= last:
            yield at, last, value
            at = last + 1


def _joined(ranges: Iterator[tuple[int, int, int]]) -> Iterator[tuple[int, int, int]]:
    """Join neighbours of the same value; leave out what is excluded."""
    before: tuple[int, int, int] | None = None
    for each in ranges:
        if each[2] == EXCLUDED:
            continue
        if before is not None and before[1] + 1 == each[0] and before[2] == each[2]:
            before = before[0], each[1], each[2]
            continue
        if before is not None:
            yield before
        before = each
    if before is not None:
        yield before


def packed(gathered: Gathered, **about: Any) -> list[bytes]:
    """Return the pieces of a table's file. `about` is kept with it. Uses up what was gathered."""
    networks = len(gathered)
    four = [array("I"), array("I"), array("I")]
    for found in _joined(flattened(gathered.four, 32)):
        for column, number in zip(four, found, strict=True):
            column.append(number)
    gathered.four.clear()
    six = [array("Q"), array("Q"), array("Q"), array("Q"), array("I")]
    for start, end, value in _joined(flattened(gathered.six, SIX_BITS)):
        parts = start >> 64, start & _HALF, end >> 64, end & _HALF, value
        for column, number in zip(six, parts, strict=True):
            column.append(number)
    gathered.six.clear()
    texts = [value.encode("utf-8", "backslashreplace") for value in gathered.values]
    ends, size = array("Q"), 0
    for text in texts:
        size += len(text)
        ends.append(size)
    columns = [*six[:4], ends, *four, six[4]]
    head = json.dumps({"columns": [len(each) for each in columns], "text": size, "networks": networks, **about})
    first = _HEAD.pack(_MAGIC, len(head)) + head.encode()
    pieces = [first + bytes(-len(first) % _ALIGNED)]
    pieces += [octets + bytes(-len(octets) % _ALIGNED) for octets in (each.tobytes() for each in columns)]
    return [*pieces, *texts]


def write(path: Path, pieces: list[bytes]) -> None:
    """Put a table in the place of the one before, in one step.

    Raises:
        OSError: it cannot be written.
    """
    new = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        with new.open("wb") as file:
            file.writelines(pieces)
        new.chmod(0o640)
        new.rename(path)
    except OSError:
        new.unlink(missing_ok=True)
        raise


# ---------------------------------------------------------------- asking

_FORMATS: tuple[Literal["Q", "I"], ...] = ("Q", "Q", "Q", "Q", "Q", "I", "I", "I", "I")


class Table:
    """A mapped table. It never changes; a new one comes in its place."""

    __slots__ = ("_four", "_six", "_text", "_text_ends", "about")

    def __init__(self, octets: memoryview) -> None:
        """Read the head.

        Raises:
            Broken: it is not a whole table.
        """
        try:
            magic, length = _HEAD.unpack_from(octets)
            about: dict[str, Any] = json.loads(bytes(octets[_HEAD.size : _HEAD.size + length]))
            counts = about["columns"]
            at = _HEAD.size + length
            columns = []
            for count, letter in zip(counts, _FORMATS, strict=True):
                at += -at % _ALIGNED
                size = count * array(letter).itemsize
                columns.append(octets[at : at + size].cast(letter))
                at += size
            at += -at % _ALIGNED
            text = octets[at : at + about["text"]]
        except (struct.error, ValueError, KeyError, TypeError) as error:
            raise Broken(str(error)) from None
        if magic != _MAGIC or len(text) != about["text"] or any(map(_differ, columns, counts)):
            raise Broken("it is cut off")
        self.about: Mapping[str, Any] = about
        self._six, self._text_ends, self._four = columns[:4] + columns[8:], columns[4], columns[5:8]
        self._text = text

    @classmethod
    def mapped(cls, path: Path) -> Table:
        """Map a file.

        Raises:
            OSError: it cannot be read.
            Broken: it is not a table.
        """
        with path.open("rb") as file:
            try:
                return cls(memoryview(mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)))
            except ValueError as error:  # an empty file
                raise Broken(str(error)) from None

    @property
    def networks(self) -> int:
        """How many networks were listed."""
        return int(self.about["networks"])

    def find(self, address: str) -> int:
        """Return the number of an address's value, or NOT_LISTED.

        Raises:
            ValueError: it is not an address.
        """
        try:
            if ":" not in address:
                return self._find_four(int.from_bytes(inet_pton(AF_INET, address)))
            high, low = struct.unpack("!QQ", inet_pton(AF_INET6, address.partition("%")[0]))
        except OSError:
            raise ValueError(address) from None
        if high == 0 and low >> 32 == 0xFFFF:  # IPv4-mapped (RFC 4291, 2.5.5.2)
            return self._find_four(low & 0xFFFF_FFFF)
        return self._find_six(high, low)

    def _find_four(self, address: int) -> int:
        starts, ends, values = self._four
        at = bisect_right(starts, address) - 1
        return values[at] if at >= 0 and ends[at] >= address else NOT_LISTED

    def _find_six(self, high: int, low: int) -> int:
        starts_high, starts_low, ends_high, ends_low, values = self._six
        right = bisect_right(starts_high, high)
        at = bisect_right(starts_low, low, bisect_left(starts_high, high, 0, right), right) - 1
        is_inside = at >= 0 and (ends_high[at], ends_low[at]) >= (high, low)
        return values[at] if is_inside else NOT_LISTED

    def value(self, number: int) -> str:
        """Return a value."""
        start = self._text_ends[number - 1] if number else 0
        return bytes(self._text[start : self._text_ends[number]]).decode("utf-8", "backslashreplace")


def stamp_of(status: os.stat_result) -> list[int]:
    """Return what changes when a file is written."""
    return [status.st_mtime_ns, status.st_size, status.st_ino]


def is_current(table: Table, source: str) -> bool:
    """Whether a table was made from the current file."""
    try:
        return bool(table.about.get("stamp") == stamp_of(Path(source).stat()))
    except OSError:
        return False


def _differ(column: memoryview, count: int) -> bool:
    return len(column) != count
