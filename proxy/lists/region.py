"""`Region`: shared memory with the operators' entries. The supervisor makes it; the control process writes, all read.

So an entry applies in all workers at once, and survives a reload and the end of any process but the supervisor. There
are two halves: one is read while the other is written.
"""

from __future__ import annotations

import mmap
import struct
import zlib

import msgspec

from proxy.lists.entries import DECODE, ENCODE, Entries, Entry

_HALF = 4 << 20
_HEAD = struct.Struct("=QI")
_ROOM = _HALF - _HEAD.size


class Full(Exception):
    """The entries need more memory than there is."""


class Region:
    """Untouched pages of it cost nothing."""

    def __init__(self) -> None:
        """Make it, before any process is forked that shares it."""
        self.renew()

    def renew(self) -> None:
        """Make new memory, and share it with the processes that are forked from now on."""
        self._memory = mmap.mmap(-1, 2 * _HALF + mmap.PAGESIZE)
        self._version = memoryview(self._memory)[2 * _HALF : 2 * _HALF + 8].cast("Q")
        self._read = -1
        self._entries = Entries()

    @property
    def version(self) -> int:
        """How often it was written."""
        return self._version[0]

    @property
    def entries(self) -> Entries:
        """What was written last."""
        version = self._version[0]
        if version != self._read:
            self._take(version)
        return self._entries

    def _take(self, version: int) -> None:
        at = (version & 1) * _HALF
        length, sum_ = _HEAD.unpack_from(self._memory, at)
        octets = self._memory[at + _HEAD.size : at + _HEAD.size + min(length, _ROOM)]
        if version and zlib.crc32(octets) != sum_:
            return  # written twice meanwhile: the next reading gets it
        try:
            self._entries = Entries(DECODE(octets) if octets else [])
        except (msgspec.DecodeError, ValueError):
            return
        self._read = version

    def write(self, entries: list[Entry]) -> None:
        """Put other entries in the place of all.

        Raises:
            Full: they do not fit.
        """
        octets = ENCODE(entries)
        if len(octets) > _ROOM:
            raise Full
        version = self._version[0] + 1
        at = (version & 1) * _HALF
        self._memory[at : at + _HEAD.size] = _HEAD.pack(len(octets), zlib.crc32(octets))
        self._memory[at + _HEAD.size : at + _HEAD.size + len(octets)] = octets
        self._version[0] = version


SHARED = Region()
"""The service's: its supervisor renews it before it forks."""
