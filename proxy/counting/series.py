"""Series in memory: for each of the last windows, how much was added to each address.

The windows follow each other without gaps, from the epoch on. `networks` makes the sums.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterator

from proxy.counting.clock import Clock
from proxy.counting.networks import ByNetwork
from proxy.counting.operations import Add, Sum
from sieve.shared import MOST_AMOUNT

MOST_SERIES = 1000
"""A script may compute their names. The one that was used longest ago is forgotten."""

MOST_ADDRESSES = 1_000_000
"""Addresses in all windows of all series: an IPv6 network has as many as it likes. When there are more, a series that
is added to loses its oldest window. One that has only its current window takes no new addresses."""

Name = tuple[str, int, int]
"""Series, seconds of a window, and number of windows."""

Part = tuple[Name, int, bytes]
"""A series, a window's number since the epoch, and an address."""


class _Series:
    __slots__ = ("addresses", "kept", "masks", "windows")

    def __init__(self) -> None:
        self.kept = False
        self.addresses = 0
        self.masks: list[tuple[int, int]] = []
        self.windows: dict[int, ByNetwork] = {}
        """By the window's number."""

    def add(self, index: int, address: bytes, amount: int) -> None:
        window = self.windows.get(index)
        if window is None:
            window = self.windows[index] = ByNetwork(self.masks)
        self.addresses += window.add(address, amount)

    def total(self, index: int, address: bytes, mask: int) -> int:
        window = self.windows.get(index)
        if window is None:
            return 0
        if window.wants(len(address), mask):
            self.masks.append((len(address), mask))
            for each in self.windows.values():
                each.begin(len(address), mask)
        return window.total(address, mask)

    def drop(self, index: int) -> None:
        window = self.windows.pop(index, None)
        if window is not None:
            self.addresses -= len(window.addresses)


def _bounded(total: int) -> int:
    return max(-MOST_AMOUNT, min(MOST_AMOUNT, total))


class SeriesTable:
    """Every series of this process. The event loop's thread owns them."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._series: OrderedDict[Name, _Series] = OrderedDict()
        self.addresses = 0
        """In all windows of all series."""

    def add(self, operation: Add) -> Part | None:
        """Perform the operation; return what outlives a restart, if it does."""
        name = (operation.series, operation.interval, operation.number)
        series = self._series.get(name)
        if series is None:
            if len(self._series) >= MOST_SERIES:
                _, forgotten = self._series.popitem(last=False)
                self.addresses -= forgotten.addresses
            series = self._series[name] = _Series()
        self._series.move_to_end(name)
        series.kept = series.kept or operation.keep
        index = self._current(name, series)
        if not self._has_room(series, index, operation.address):
            return None
        before = series.addresses
        held = self.part((name, index, operation.address))
        amount = max(-MOST_AMOUNT - held, min(MOST_AMOUNT - held, operation.amount))
        series.add(index, operation.address, amount)
        self.addresses += series.addresses - before
        return (name, index, operation.address) if series.kept else None

    def _has_room(self, series: _Series, index: int, address: bytes) -> bool:
        """Return whether an address may be added, after dropping what is old enough."""
        window = series.windows.get(index)
        if self.addresses < MOST_ADDRESSES or (window is not None and address in window.addresses):
            return True
        oldest = min(series.windows, default=index)
        if oldest == index:
            return False
        self._drop(series, oldest)
        return self._has_room(series, index, address)

    def _drop(self, series: _Series, index: int) -> None:
        before = series.addresses
        series.drop(index)
        self.addresses += series.addresses - before

    def sum(self, operation: Sum) -> int:
        """Perform the operation."""
        name = (operation.series, operation.interval, operation.number)
        series = self._series.get(name)
        if series is None:
            return 0
        index, address, mask = self._current(name, series), operation.address, operation.mask
        if operation.smooth:
            now, interval = self._clock(), operation.interval
            passed = min(1.0, max(0.0, now - index * interval) / interval)
            before = series.total(index - 1, address, mask) * (1 - passed)
            return _bounded(int(series.total(index, address, mask) + before))
        total = 0
        for each in range(operation.first, min(operation.last, operation.number - 1) + 1):
            total += series.total(index - each, address, mask)
        return _bounded(total)

    def _current(self, name: Name, series: _Series) -> int:
        """Return the number of the window that is running, and drop those that are over."""
        index = int(self._clock() // name[1])
        if len(series.windows) >= name[2]:
            for each in [each for each in series.windows if each <= index - name[2]]:
                self._drop(series, each)
        return index

    # ------------------------------------------------------------ for operators, and for other processes

    def names(self) -> list[Name]:
        """Return the series that there are."""
        return list(self._series)

    def parts(self, name: Name) -> Iterator[tuple[Part, int, bool]]:
        """Yield what a series has added to each address, and whether it outlives a restart."""
        series = self._series.get(name)
        if series is not None:
            self._current(name, series)
            for index, window in series.windows.items():
                for address, amount in window.addresses.items():
                    yield (name, index, address), amount, series.kept

    def part(self, part: Part) -> int:
        """Return what was added to an address in a window."""
        name, index, address = part
        series = self._series.get(name)
        window = series.windows.get(index) if series is not None else None
        return window.addresses.get(address, 0) if window is not None else 0

    def adopt(self, part: Part, amount: int, *, kept: bool) -> None:
        """Take what was added elsewhere in all. A file may have told a part of it before."""
        name, index, address = part
        amount -= self.part(part)
        series = self._series.setdefault(name, _Series())
        series.kept = series.kept or kept
        before = series.addresses
        series.add(index, address, amount)
        self.addresses += series.addresses - before

    def forget(self, name: Name, address: bytes) -> list[Part]:
        """Forget an address in all windows of a series; return where it was."""
        series = self._series.get(name)
        gone = []
        for index, window in series.windows.items() if series is not None else ():
            if address in window.addresses:
                window.forget(address)
                gone.append((name, index, address))
        if series is not None:
            series.addresses -= len(gone)
            self.addresses -= len(gone)
        return gone
