"""Counting in one process: every operation answers at once.

In the keeper, or the only worker, it has all counts of the machine. Other workers use one while the keeper is down.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any, TypeVar

from proxy.counting import operations as ops
from proxy.counting.clock import Clock, SteadyEpoch
from proxy.counting.gauges import Gauges
from proxy.counting.greylist import Key, Known, Triplet, Triplets
from proxy.counting.leases import ALONE, Leases
from proxy.counting.operations import Operation, Shown
from proxy.counting.series import Part, SeriesTable
from proxy.counting.values import Values
from proxy.counting.windows import Windows
from proxy.options.throttle import Buckets, Throttle

A = TypeVar("A")

Dirty = Callable[[str, Any], None]
"""Called with the kind and the key of what has changed and outlives a restart."""


class MemoryCounting:
    """Performs operations on its own tables. The event loop's thread owns them."""

    def __init__(self, clock: Clock | None = None, *, dirty: Dirty = lambda _kind, _key: None) -> None:
        """`clock` gives seconds since the epoch and does not go back."""
        self.clock = clock or SteadyEpoch()
        self.dirty = dirty
        self.windows, self.gauges = Windows(self.clock), Gauges(self.clock)
        self.series, self.values = SeriesTable(self.clock), Values(self.clock)
        self.leases, self.triplets = Leases(self.clock), Triplets(self.clock)
        self.buckets = Buckets(self.clock)
        self._do: dict[type[Any], Callable[[Any], Any]] = {
            ops.Window: self.windows.count,
            ops.Reserve: self.windows.reserve,
            ops.Gauge: self.gauges.change,
            ops.Add: self._add,
            ops.Sum: self.series.sum,
            ops.Put: lambda each: self.values.put(each.room, each.key, each.value, each.lives),
            ops.Get: lambda each: self.values.get(each.room, each.key),
            ops.Take: self._take,
            ops.Lease: lambda each: self.leases.lease(each.owner, each.places),
            ops.Return: lambda each: self.leases.give_back(each.owner, each.keys),
            ops.Hold: lambda each: self.leases.hold(each.owner, each.held),
            ops.Places: lambda each: self.leases.places(each.key),
            ops.Present: lambda each: self.leases.present(each.begin, each.address, each.mask),
            ops.Greylist: self._attempt,
            ops.Delivered: self._delivered,
            ops.Show: self._show,
            ops.Forget: self._forget,
        }

    alone = ALONE
    """This process as an owner of places."""

    def ask(self, operation: Operation[A]) -> A:
        """Perform it, and return the answer."""
        return self._do[operation.__class__](operation)  # type: ignore[no-any-return]  # it is the operation's A

    def tell(self, operation: Operation[A]) -> None:
        """Perform it."""
        self._do[operation.__class__](operation)

    async def start(self) -> None:
        """There is nothing to read."""

    async def close(self) -> None:
        """Everything goes with the process."""

    def pause(self) -> None:
        """Another process counts on. There is nothing that both would write."""

    def resume(self) -> None:
        """It has failed."""

    @property
    def local(self) -> MemoryCounting:
        """The tables of this process."""
        return self

    def disconnect(self, owner: str) -> None:
        """An owner is not known to live any more; it may say so."""
        self.leases.disconnect(owner)

    def connect(self, owner: str) -> None:
        """An owner of places is alive until it is dropped."""
        self.leases.connect(owner)

    def drop(self, owner: str) -> None:
        """An owner has ended."""
        self.leases.drop(owner)

    # ------------------------------------------------------------ those that are more than one call

    def _add(self, operation: ops.Add) -> None:
        part = self.series.add(operation)
        if part is not None:
            self.dirty("series", part)

    def _take(self, operation: ops.Take) -> ops.Taken:
        throttle = Throttle(operation.count, operation.seconds)
        key = _bucket(operation.room, operation.key)
        allowed = self.buckets.take(key, throttle, operation.tokens)
        return ops.Taken(allowed, self.buckets.left(key, throttle))

    def _attempt(self, operation: ops.Greylist) -> ops.Seen:
        seen = self.triplets.attempt(operation)
        if operation.look:
            return seen
        self.dirty("greylist", (operation.room, operation.key))
        if operation.client:
            self.dirty("client", (operation.room, operation.client))
        return seen

    def _delivered(self, operation: ops.Delivered) -> int:
        messages = self.triplets.delivered(operation)
        if operation.change:
            self.dirty("client", (operation.room, operation.client))
        return messages

    def sizes(self) -> dict[str, int]:
        """Return how many entries each table has."""
        return {
            "windows": len(self.windows),
            "gauges": len(self.gauges),
            "series": len(self.series.names()),
            "addresses": self.series.addresses,
            "values": len(self.values),
            "buckets": len(self.buckets),
            "places": self.leases.total,
            "triplets": len(self.triplets),
        }

    # ------------------------------------------------------------ what another process has counted

    def adopt_part(self, entry: tuple[Part, int, bool]) -> None:
        """Take a part of a series. What outlives a restart is to be written, here and below."""
        part, amount, kept = entry
        self.series.adopt(part, amount, kept=kept)
        if kept:
            self.dirty("series", part)

    def adopt_triplet(self, entry: tuple[Key, Triplet]) -> None:
        """Take a triplet."""
        self.triplets.adopt(*entry)
        self.dirty("greylist", entry[0])

    def adopt_client(self, entry: tuple[Key, Known]) -> None:
        """Take a client."""
        self.triplets.adopt_client(*entry)
        self.dirty("client", entry[0])

    # ------------------------------------------------------------ for operators

    def _show(self, operation: ops.Show) -> list[Shown]:
        found: list[Shown] = []
        for key, numbers in self._shown(operation.kind, operation.room):
            if key.startswith(operation.prefix):
                found.append(Shown(key, numbers))
                if len(found) >= operation.most:
                    break
        return found

    def _shown(self, kind: str, room: str) -> Iterator[tuple[bytes, tuple[float, ...]]]:
        match kind:
            case "window":
                return self.windows.shown(room)
            case "gauge":
                return self.gauges.shown(room)
            case "bucket":
                return self._buckets(room)
            case "lease":
                return self.leases.shown()
            case "greylist":
                return self.triplets.shown(room)
            case "client":
                return self.triplets.clients(room)
            case _:
                return self.values.shown(room)

    def _buckets(self, room: str) -> Iterator[tuple[bytes, tuple[float, ...]]]:
        for key, throttle, _, _ in self.buckets.states():
            of, _, rest = key.partition("\0")
            if of == room:
                yield rest.encode("latin-1"), (self.buckets.left(key, throttle), throttle.count, throttle.seconds)

    def _forget_of_series(self, operation: ops.Forget) -> int:
        """Forget an address, `prefix`, in the series that `room` names as `series NUL interval,number`."""
        series, _, monitor = operation.room.rpartition("\0")
        interval, _, number = monitor.partition(",")
        gone = self.series.forget((series, int(interval), int(number)), operation.prefix)
        for part in gone:
            self.dirty("series", part)
        return len(gone)

    def _forget(self, operation: ops.Forget) -> int:
        kind, room = operation.kind, operation.room
        if kind == "series":
            return self._forget_of_series(operation)
        matches = operation.prefix.__eq__ if operation.exact else None
        keys = [
            key
            for key, _ in self._shown(kind, room)
            if (matches(key) if matches is not None else key.startswith(operation.prefix))
        ]
        forget: Callable[[str, bytes], object] = {
            "window": self.windows.forget,
            "gauge": self.gauges.forget,
            "bucket": lambda of, key: self.buckets.forget({_bucket(of, key)}),
            "lease": lambda _of, _key: None,  # a place is free when its connection ends
            "greylist": self.triplets.forget,
            "client": self.triplets.forget_client,
        }.get(kind, self.values.forget)
        for key in keys:
            forget(room, key)
            if kind in {"greylist", "client"}:
                self.dirty(kind, (room, key))
        return len(keys)


def _bucket(room: str, key: bytes) -> str:
    return f"{room}\0{key.decode('latin-1')}"
