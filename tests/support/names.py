"""A name server over UDP whose answers are a function: for thousands of domains, and thousands of questions a second.

It knows A and MX records; any other type is no data. Names that the function does not know do not exist. There is no
recursion, no TCP and no EDNS: every answer fits a datagram.
"""

from __future__ import annotations

import asyncio
import socket
import struct
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import cast

A, MX = 1, 15
_TTL = 60
_HEADER = struct.Struct("!6H")
_RECORD = struct.Struct("!HHHIH")
_TO_QUESTION = 0xC00C
"""A pointer to the name behind the header (RFC 1035 section 4.1.4)."""

_ANSWER, _NXDOMAIN = 0x8400, 0x8403
"""The flags of an authoritative answer: no error, and no such name."""


@dataclass(frozen=True, slots=True)
class Known:
    """What is known of a name."""

    addresses: Sequence[str] = ()
    exchangers: Sequence[tuple[int, str]] = ()


Names = Callable[[str], Known | None]


class Nameserver(asyncio.DatagramProtocol):
    """Answers by a function."""

    def __init__(self, names: Names) -> None:
        """`names` returns what is known of a name, in lower case, and None of one that does not exist."""
        self._names = names
        self._transport: asyncio.DatagramTransport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Keep the transport to answer on."""
        self._transport = cast(asyncio.DatagramTransport, transport)

    def datagram_received(self, data: bytes, addr: tuple[str, int]) -> None:
        """Answer one question."""
        assert self._transport is not None
        end = data.index(b"\0", _HEADER.size)
        name, at = [], _HEADER.size
        while at < end:
            name.append(data[at + 1 : at + 1 + data[at]].decode("ascii").lower())
            at += 1 + data[at]
        (kind,) = struct.unpack_from("!H", data, end + 1)
        known = self._names(".".join(name))
        records = _records(known, kind) if known is not None else []
        flags = _ANSWER if known is not None else _NXDOMAIN
        head = data[:2] + _HEADER.pack(0, flags, 1, len(records), 0, 0)[2:]
        self._transport.sendto(head + data[_HEADER.size : end + 5] + b"".join(records), addr)


def _records(known: Known, kind: int) -> list[bytes]:
    if kind == A:
        return [_record(A, socket.inet_aton(each)) for each in known.addresses]
    if kind == MX:
        return [_record(MX, struct.pack("!H", rank) + _encoded(host)) for rank, host in known.exchangers]
    return []


def _record(kind: int, octets: bytes) -> bytes:
    return _RECORD.pack(_TO_QUESTION, kind, 1, _TTL, len(octets)) + octets


def _encoded(name: str) -> bytes:
    return b"".join(bytes((len(each),)) + each.encode("ascii") for each in name.split(".")) + b"\0"
