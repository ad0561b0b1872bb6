"""Sliding windows in memory.

A window consists of sub-windows; the oldest, which it covers in part, counts in full. So a window may keep refusing for
up to a sixteenth of its length too long, and never lets more than its count through in any `seconds`: any such period
touches at most PARTS + 1 sub-windows, which are never above the count.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterator

from proxy.counting.clock import Clock
from proxy.counting.operations import Counted, Reserve, Window

PARTS = 16
"""Sub-windows of one window."""

AGED_SECONDS = 1.0
"""How much longer than itself an unused window is remembered, as in Momentum."""

WindowState = tuple[str, bytes, int, float, float, list[tuple[int, int]]]
"""Room, key, count, seconds, last use, and the sub-windows: index and events."""


class _Window:
    """Events by sub-window. The index is the sub-window's number since the epoch; reserved ones are in the future."""

    __slots__ = ("count", "events", "part", "seconds", "used")

    def __init__(self, count: int, seconds: float, used: float) -> None:
        self.count, self.seconds, self.used = count, seconds, used
        self.part = seconds / PARTS
        self.events: dict[int, int] = {}

    def at(self, now: float) -> int:
        """Return the sub-window that is running, and drop those that are over."""
        index, events = int(now // self.part), self.events
        if len(events) > PARTS:
            for each in [each for each in events if each < index - PARTS]:
                del events[each]
        return index

    def total(self, index: int) -> int:
        """Return how many events the window has that ends with this sub-window."""
        total, first = 0, index - PARTS
        for each, events in self.events.items():
            if first <= each <= index:
                total += events
        return total

    def fits(self, index: int, change: int) -> bool:
        """Return whether a change leaves every window within its count; some may be reserved for later."""
        if self.total(index) + change > self.count:
            return False
        for each in self.events:
            if index < each <= index + PARTS and self.total(each) + change > self.count:
                return False
        return True

    def free_at(self, index: int) -> int:
        """Return the first sub-window, this one or a later one, that has room for one event and none after it."""
        first = max(index, max(self.events, default=index))
        for candidate in sorted({first, *(each + PARTS + 1 for each in self.events)}):
            if candidate >= first and self.total(candidate) < self.count:
                return candidate
        return first

    def change(self, index: int, change: int) -> None:
        events = self.events
        if change > 0:
            events[index] = events.get(index, 0) + change
        for each in sorted(events, reverse=True) if change < 0 else ():
            if each <= index and change:
                taken = min(events[each], -change)
                events[each] -= taken
                change += taken

    def counted(self, index: int, now: float, *, allowed: bool) -> Counted:
        total = self.total(index)
        wait = 0.0 if total < self.count else max(0.0, self.free_at(index) * self.part - now)
        return Counted(allowed, total, wait, self.count, now)


class Windows:
    """Every window of this process. The event loop's thread owns them."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._rooms: dict[str, OrderedDict[bytes, _Window]] = {}

    def __len__(self) -> int:
        """Return how many windows there are."""
        return sum(map(len, self._rooms.values()))

    def count(self, operation: Window) -> Counted | None:
        """Perform the operation."""
        now = self._clock()
        window = self._window(operation, now)
        if window is None:
            return None
        window.used = max(window.used, now)
        index, change = window.at(now), operation.change
        allowed = not operation.within or change <= 0 or window.fits(index, change)
        if change and allowed:
            window.change(index, change)
        return window.counted(index, now, allowed=allowed)

    def reserve(self, operation: Reserve) -> Counted | None:
        """Perform the operation."""
        now = self._clock()
        window = self._window(operation, now)
        if window is None:
            return None
        index = window.at(now)
        free = window.free_at(index)
        wait = max(0.0, free * window.part - now) if free > index else 0.0
        allowed = wait <= operation.patience
        window.used = max(window.used, now + wait if allowed else now)
        if allowed:
            window.change(free, 1)
        return Counted(allowed, window.total(index), wait, window.count, now)

    def _window(self, wanted: Window | Reserve, now: float) -> _Window | None:
        """Return the window of a key, as used just now; make it if it is not there and its numbers are given."""
        room = self._rooms.get(wanted.room)
        if room is None:
            room = self._rooms[wanted.room] = OrderedDict()
        window = room.get(wanted.key)
        if window is not None and now > window.used + window.seconds + AGED_SECONDS:
            del room[wanted.key]
            window = None
        if window is None:
            if not wanted.count or wanted.seconds <= 0:
                return None
            while len(room) >= max(1, wanted.most):
                room.popitem(last=False)
            window = room[wanted.key] = _Window(wanted.count, wanted.seconds, now)
        else:
            room.move_to_end(wanted.key)
        return window

    def shown(self, room: str) -> Iterator[tuple[bytes, tuple[float, ...]]]:
        """Yield each key of a room with its total, count and seconds."""
        now = self._clock()
        for key, window in self._rooms.get(room, {}).items():
            if now <= window.used + window.seconds + AGED_SECONDS:
                yield key, (window.total(window.at(now)), window.count, window.seconds)

    def forget(self, room: str, key: bytes) -> None:
        """Forget a window."""
        self._rooms.get(room, OrderedDict()).pop(key, None)

    def states(self) -> Iterator[WindowState]:
        """Yield each window's state, the least recently used first."""
        for room, windows in self._rooms.items():
            for key, window in windows.items():
                yield room, key, window.count, window.seconds, window.used, list(window.events.items())

    def adopt(self, state: WindowState) -> None:
        """Take a window as it was elsewhere."""
        room, key, count, seconds, used, events = state
        window = self._rooms.setdefault(room, OrderedDict())[key] = _Window(count, seconds, used)
        window.events = dict(events)
