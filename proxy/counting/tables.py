"""The state of counting as it travels from a keeper to its successor."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import chain, islice
from typing import Any, TypeVar

import msgspec

from proxy.counting.clock import SteadyEpoch
from proxy.counting.gauges import GaugeState
from proxy.counting.greylist import Key, Known, Triplet
from proxy.counting.leases import ALONE, LeaseState
from proxy.counting.memory import MemoryCounting
from proxy.counting.series import Part
from proxy.counting.values import ValueState
from proxy.counting.windows import WindowState
from proxy.options.throttle import Throttle
from proxy.store.base import decoded, encoded

CHUNK = 250
"""Entries of one message: some milliseconds of work between two turns of the loop."""

E = TypeVar("E")


class Tables(msgspec.Struct, array_like=True):
    """Some of what was counted, each in the form of its owner's `states`."""

    windows: Sequence[WindowState] = ()
    gauges: Sequence[GaugeState] = ()
    series: Sequence[tuple[Part, int, bool]] = ()
    values: Sequence[ValueState] = ()
    buckets: Sequence[tuple[bytes, int, int, float, float]] = ()
    leases: Sequence[LeaseState] = ()
    triplets: Sequence[tuple[Key, Triplet]] = ()
    clients: Sequence[tuple[Key, Known]] = ()
    offset: float = 0.0
    """Of the clock that all times are by."""


def tables_of(counting: MemoryCounting, alone: str = ALONE) -> Iterator[Tables]:
    """Yield everything, in pieces; the largest tables come last. `alone`: how others call this process as an owner."""
    if isinstance(counting.clock, SteadyEpoch):
        yield Tables(offset=counting.clock.offset)
    leases = ((owner or alone, held) for owner, held in counting.leases.states())
    parts = chain.from_iterable(map(counting.series.parts, counting.series.names()))
    buckets = ((encoded(key), each.count, each.seconds, left, at) for key, each, left, at in counting.buckets.states())
    states: dict[str, Iterable[Any]] = {
        "leases": leases,
        "windows": counting.windows.states(),
        "gauges": counting.gauges.states(),
        "buckets": buckets,
        "values": counting.values.states(),
        "clients": counting.triplets.every_client(),
        "triplets": counting.triplets.triplets(),
        "series": parts,
    }
    for field, entries in states.items():
        for part in _chunks(entries):
            of_table: dict[str, Any] = {field: part}
            yield Tables(**of_table)


def adopt(counting: MemoryCounting, tables: Tables) -> None:
    """Count on from what another process of this machine has counted; what outlives a restart is to be written."""
    if tables.offset and isinstance(counting.clock, SteadyEpoch):
        counting.clock.follow(tables.offset)
    takers: dict[str, Callable[[Any], None]] = {
        "leases": counting.leases.adopt,
        "windows": counting.windows.adopt,
        "gauges": counting.gauges.adopt,
        "buckets": lambda each: counting.buckets.adopt(decoded(each[0]), Throttle(each[1], each[2]), each[3], each[4]),
        "values": counting.values.adopt,
        "clients": counting.adopt_client,
        "triplets": counting.adopt_triplet,
        "series": counting.adopt_part,
    }
    for field, take in takers.items():
        for entry in getattr(tables, field):
            take(entry)


def _chunks(entries: Iterable[E]) -> Iterator[list[E]]:
    rest = iter(entries)
    while part := list(islice(rest, CHUNK)):
        yield part
