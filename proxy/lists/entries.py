"""`Entry`: a network that an operator listed, until when, and why. `Entries`: all of them, as they are asked."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from socket import AF_INET, AF_INET6, inet_ntop, inet_pton

import msgspec

from proxy.lists.networks import SIX_BITS, NotANetwork, blocks

MOST_ENTRIES = 5000
"""Every worker reads all of them when one changes: 5 ms."""

LONGEST_REASON = 200
LONGEST_NAME = 64

NEVER = 0.0


class Entry(msgspec.Struct, frozen=True):
    """One network of a list."""

    list: str
    network: str
    until: float
    """When it ends, in seconds since 1970; NEVER if it does not."""
    reason: str
    user: str
    added: float


ENCODE = msgspec.json.Encoder().encode
DECODE = msgspec.json.Decoder(list[Entry]).decode

_Key = tuple[int, int, int]
"""Bits of the family, first address, prefix length."""


def network_of(text: str) -> tuple[str, _Key]:
    """Return a network in its usual form, and its key.

    Raises:
        NotANetwork: it is not an address, a network, or a range that is one network.
    """
    found = blocks(text)
    if len(found) != 1:
        raise NotANetwork(text)
    bits, start, length = found[0]
    family = AF_INET6 if bits == SIX_BITS else AF_INET
    return f"{inet_ntop(family, start.to_bytes(bits // 8))}/{length}", found[0]


class Entries:
    """Finds the entry of an address. It never changes; ended entries are not found."""

    __slots__ = ("_lengths", "_lists", "every")

    def __init__(self, every: Sequence[Entry] = ()) -> None:
        """Arrange the entries by list and network."""
        self.every = every
        self._lists: dict[str, dict[_Key, Entry]] = {}
        lengths: dict[str, set[tuple[int, int]]] = {}
        for entry in every:
            _, key = network_of(entry.network)
            self._lists.setdefault(entry.list, {})[key] = entry
            lengths.setdefault(entry.list, set()).add((key[0], key[2]))
        self._lengths: Mapping[str, list[tuple[int, int]]] = {
            name: sorted(found, reverse=True) for name, found in lengths.items()
        }

    def __bool__(self) -> bool:
        return bool(self.every)

    @property
    def names(self) -> Iterable[str]:
        """The lists that have entries."""
        return self._lists

    def find(self, name: str, address: str, now: float) -> Entry | None:
        """Return the entry of the most specific network that holds an address.

        Raises:
            ValueError: it is not an address.
        """
        entries = self._lists.get(name)
        if entries is None:
            return None
        bits, number = _number(address)
        for family, length in self._lengths[name]:
            if family == bits:
                shift = bits - length
                entry = entries.get((bits, number >> shift << shift, length))
                if entry is not None and (entry.until == NEVER or entry.until > now):
                    return entry
        return None


def _number(address: str) -> tuple[int, int]:
    try:
        if ":" not in address:
            return 32, int.from_bytes(inet_pton(AF_INET, address))
        number = int.from_bytes(inet_pton(AF_INET6, address.partition("%")[0]))
    except OSError:
        raise ValueError(address) from None
    return (32, number & 0xFFFF_FFFF) if number >> 32 == 0xFFFF else (SIX_BITS, number)
