"""A remembered verdict as one string of octets: what memory holds, and what the keeper sends to workers.

As objects, a remembered sender took 0.8 KB: fourteen fields, of which most are small or empty. Packed, it takes 0.15 KB
and its key.
"""

from __future__ import annotations

from typing import Self

import msgspec

from proxy.callback.lives import CachedVerdict
from proxy.callback.verdict import CallbackVerdict, Status, finding_of


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


def _sound(text: str) -> str:
    """Return text that can be encoded: names from DNS may have octets that are not UTF-8."""
    return text if text.isascii() else text.encode("ascii", "backslashreplace").decode()
