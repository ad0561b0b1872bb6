"""Verdicts in the memory of one process, packed: 100,000 remembered senders take 40 MB.

As an object, a remembered sender took 0.8 KB: fourteen fields, most of them small or empty. Packed, it takes 0.15 KB
and its key. The keeper sends verdicts to workers in the same form.

Memory is bounded in octets as well as in entries, because exchangers choose the length of their replies: a text of
1,000 characters displaces three others.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from typing import Protocol, Self

import msgspec

from proxy.callback.lives import CachedVerdict
from proxy.callback.verdict import CallbackVerdict, Status, finding_of

REFRESH_AT = 0.75
"""The fraction of a pass's lifetime after which a background probe checks it again."""

OCTETS_EACH = 400
"""Memory for each remembered verdict, on the average: key, verdict and the place of both in the dictionary."""

_COUNTED = 392
"""How much of that the entries may take by our count; the rest is for what is not counted."""

_PLACE = 44
"""Octets of a dictionary for each entry whose key is text, at the least favourable fill (CPython 3.11 to 3.13)."""


class Packed(msgspec.Struct, array_like=True, gc=False):
    """A `CachedVerdict` with times on the monotonic clock, which all processes of a machine share."""

    until: float
    """How long it may be believed without asking the owner of the truth again."""
    found: float
    expires: float
    streak: int
    doubted: bool
    status: Status
    reason: str
    text: str
    stage: str
    code: int
    exchanger: str
    address: str
    seconds: float
    tls: bool
    catchall: bool
    null_refused: bool
    listed: bool

    @classmethod
    def of(cls, record: CachedVerdict, until: float) -> Self:
        """Take a record."""
        v = record.verdict
        return cls(
            until,
            record.found,
            record.expires,
            record.streak,
            record.doubted,
            v.status,
            v.reason,
            _sound(v.text),
            v.stage,
            v.code,
            _sound(v.exchanger),
            v.address,
            v.seconds,
            v.tls,
            v.catchall,
            v.null_refused,
            v.listed,
        )

    @classmethod
    def of_verdict(cls, verdict: CallbackVerdict) -> Self:
        """Take a verdict that is not to be remembered."""
        return cls.of(CachedVerdict(verdict, 0.0, 0.0), 0.0)

    @property
    def record(self) -> CachedVerdict:
        """The record."""
        return CachedVerdict(self.verdict(), self.found, self.expires, self.streak, self.doubted)

    def verdict(self, *, cached: bool = False, age: float = 0.0) -> CallbackVerdict:
        """Return the verdict, as found, or as a cached one of an age in seconds."""
        return CallbackVerdict(*(*finding_of(self), cached, age))

    def answer(self, now: float) -> CallbackVerdict:
        """Return the verdict as `CachedVerdict.answer` does."""
        age = now - self.found
        return CallbackVerdict(*(*finding_of(self), True, round(age, 1) if age > 0 else 0.0))


_BUFFER = bytearray()
_encode_into = msgspec.msgpack.Encoder().encode_into
unpack = msgspec.msgpack.Decoder(Packed).decode


def pack(held: Packed) -> bytes:
    """Return a record's octets. What `encode` returns holds up to half as much memory again."""
    _encode_into(held, _BUFFER)
    return bytes(_BUFFER)


class Aged(Protocol):
    """A remembered verdict, in whatever form."""

    @property
    def found(self) -> float: ...
    @property
    def expires(self) -> float: ...
    @property
    def doubted(self) -> bool: ...


def is_due(passed: Aged, now: float) -> bool:
    """Whether a pass is old enough for a background probe; a doubted one ends soon anyway."""
    return not passed.doubted and now >= passed.found + REFRESH_AT * (passed.expires - passed.found)


def _sound(text: str) -> str:
    """Return text that can be encoded: names from DNS may have octets that are not UTF-8."""
    return text if text.isascii() else text.encode("ascii", "backslashreplace").decode()


class Untouched(Protocol):
    """For how long no other process has written to the store: `proxy.store.base.Untouched`."""

    since: float
    until: float


class VerdictMemory:
    """Packed verdicts by key; those that were not used for the longest time go first, roughly.

    There are three dictionaries. An entry that is used moves to the young one. When the old one is empty, the next
    younger one takes its place, so an entry is given up only if it was not used while others filled a third of the
    memory. An exact order took more memory than the verdicts: `cachetools.LRUCache` needs 250 octets an entry. The
    event loop's thread owns it.
    """

    __slots__ = ("_middle", "_most", "_octets", "_old", "_order", "_trusted", "_untouched", "_young", "evicted")

    def __init__(self, most: int, untouched: Untouched | None = None, trusted: float = 0.0) -> None:
        """`most` bounds the entries, and their memory to OCTETS_EACH times as many octets.

        Entries are put with a trust of `trusted` seconds; `untouched` may prolong it.
        """
        self._most = most
        self._untouched, self._trusted = untouched, trusted
        self.evicted = 0
        """Evicted entries. The reader resets it."""
        self.clear()

    def clear(self) -> None:
        """Forget everything."""
        self._young: dict[str, bytes] = {}
        self._middle: dict[str, bytes] = {}
        self._old: dict[str, bytes] = {}
        self._order: list[str] = []
        """The keys of `_old` when it became so, oldest last."""
        self._octets = 0

    def __len__(self) -> int:
        return len(self._young) + len(self._middle) + len(self._old)

    def __iter__(self) -> Iterator[tuple[str, Packed]]:
        """Yield keys and verdicts, the less recently used first. Changes meanwhile are not seen."""
        for key, packed in (*self._old.items(), *self._middle.items(), *self._young.items()):
            yield key, unpack(packed)

    @property
    def octets(self) -> int:
        """Memory that the entries take."""
        return self._octets

    def held(self, key: str, now: float) -> Packed | None:
        """Return what is remembered and may be believed now."""
        packed = self._young.get(key)
        held = self.get(key) if packed is None else unpack(packed)
        if held is None or now >= held.expires or (now >= held.until and not self.holds_on(held, now)):
            return None
        return held

    def holds_on(self, held: Packed, now: float) -> bool:
        """Whether a verdict may be believed for longer: no other process has written to the store since then."""
        untouched = self._untouched
        if untouched is None or now >= untouched.until or untouched.since > held.until - self._trusted:
            return False
        held.until = untouched.until
        return True

    def get(self, key: str) -> Packed | None:
        """Return what is remembered, valid or not."""
        packed = self._young.get(key)
        if packed is None:
            packed = self._middle.pop(key, None) or self._old.pop(key, None)
            if packed is None:
                return None
            self._young[key] = packed
        return unpack(packed)

    def peek(self, key: str, now: float) -> CallbackVerdict | None:
        """Return the verdict that may be believed without a question, and leave it as recently used as it was."""
        packed = self._young.get(key) or self._middle.get(key) or self._old.get(key)
        held = None if packed is None else unpack(packed)
        return held.answer(now) if held is not None and now < held.expires and now < held.until else None

    def put(self, key: str, held: Packed) -> None:
        """Remember a verdict, and forget others if memory is full."""
        self.drop(key)
        packed = self._young[key] = pack(held)
        self._octets += _cost(key, packed)
        while self._octets > self._most * _COUNTED or len(self) > self._most:
            self._forget_one()
        if not self._old and len(self._young) * 3 >= self._most:
            self._age()

    def drop(self, key: str) -> None:
        """Forget one key, if it is remembered."""
        packed = self._young.pop(key, None) or self._middle.pop(key, None) or self._old.pop(key, None)
        if packed is not None:
            self._octets -= _cost(key, packed)

    def _age(self) -> None:
        self._old, self._middle, self._young = self._middle, self._young, {}
        self._order = list(self._old)
        self._order.reverse()

    def _forget_one(self) -> None:
        while not self._old:
            self._age()
        while self._old:
            key = self._order.pop()
            if key in self._old:
                self.drop(key)
                self.evicted += 1
                return


def _cost(key: str, packed: bytes) -> int:
    return sys.getsizeof(key) + sys.getsizeof(packed) + _PLACE
