"""Sums by network. To avoid looking at every address, each mask that was ever requested has its own table."""

from __future__ import annotations

from collections.abc import Sequence

MOST_MASKS = 8
"""Masks with tables of their own. Sums for others look at every address."""


class ByNetwork:
    """A number for each address, and sums of networks. Addresses have 4 or 16 octets."""

    __slots__ = ("_masks", "_sums", "addresses")

    def __init__(self, masks: Sequence[tuple[int, int]] = ()) -> None:
        """`masks`, octets of an address and mask, get tables from the start."""
        self.addresses: dict[bytes, int] = {}
        self._masks = [*masks]
        self._sums: dict[tuple[int, int, int], int] = {}
        """By octets, mask, and the network's number."""

    def add(self, address: bytes, amount: int) -> bool:
        """Add to an address; return whether it is new."""
        addresses = self.addresses
        is_new = address not in addresses
        addresses[address] = addresses.get(address, 0) + amount
        for octets, mask in self._masks:
            if octets == len(address):
                self._change((octets, mask, _network(address, mask)), amount)
        return is_new

    def forget(self, address: bytes) -> None:
        """Forget an address."""
        amount = self.addresses.pop(address, 0)
        for octets, mask in self._masks:
            if octets == len(address):
                self._change((octets, mask, _network(address, mask)), -amount)

    def total(self, address: bytes, mask: int) -> int:
        """Return the sum of an address's network."""
        octets = len(address)
        if mask == 8 * octets:
            return self.addresses.get(address, 0)
        network = _network(address, mask)
        if (octets, mask) in self._masks:
            return self._sums.get((octets, mask, network), 0)
        sums = [n for each, n in self.addresses.items() if len(each) == octets and _network(each, mask) == network]
        return sum(sums)

    def wants(self, octets: int, mask: int) -> bool:
        """Return whether a mask has no table yet, and may have one."""
        return mask < 8 * octets and (octets, mask) not in self._masks and len(self._masks) < MOST_MASKS

    def begin(self, octets: int, mask: int) -> None:
        """Make the table of a mask."""
        self._masks.append((octets, mask))
        for address, amount in self.addresses.items():
            if len(address) == octets:
                self._change((octets, mask, _network(address, mask)), amount)

    def _change(self, network: tuple[int, int, int], amount: int) -> None:
        total = self._sums.get(network, 0) + amount
        if total:
            self._sums[network] = total
        else:
            self._sums.pop(network, None)


def _network(address: bytes, mask: int) -> int:
    return int.from_bytes(address) >> (8 * len(address) - mask)
