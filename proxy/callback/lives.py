"""The rules of the cache: how long a verdict is valid, and how a new one replaces the previous one.

A cache hit never extends a lifetime. A transient verdict never replaces a valid `pass`. Nor does a first `fail`: it
shortens the `pass` to a few minutes, and the next rejection decides.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, fields, replace

from proxy.callback.verdict import CallbackVerdict, Status
from proxy.store.clocks import AHEAD_SECONDS

DOMAIN_REASONS = frozenset({"nxdomain", "null_mx", "no_address", "unroutable"})
"""Reasons about the domain, which apply to each of its addresses."""

_FIELDS = tuple([each.name for each in fields(CallbackVerdict)])
_ENCODER = json.JSONEncoder(separators=(",", ":"))

NEVER_KEPT = frozenset(
    {
        "internal",
        "syntax",
        "throttled",
        "client_throttled",
        "pending",
        "busy_here",
        "storm",
        "breaker",
        "upstream_down",
        "keeper",
        "no_probe",
    }
)
"""Reasons about the moment or our configuration: nothing was learned about the address."""

DNS_SECONDS = 5.0
"""How long `dns` is valid. Our own resolver may have failed; once it recovers, no mail should wait for it."""


CATCHALL_SECONDS = 7 * 86400.0
NULL_REFUSED_SECONDS = 7 * 86400.0
NO_PROBE_SECONDS = 86400.0
FACT_SECONDS: Mapping[str, float] = {
    "catchall": CATCHALL_SECONDS,
    "null_refused": NULL_REFUSED_SECONDS,
    "no_probe": NO_PROBE_SECONDS,
}
"""The longest time for which each fact about a domain is remembered."""


@dataclass(frozen=True, slots=True)
class Lives:
    """How long verdicts are valid, in seconds."""

    passed: float = 86400.0
    failed: float = 7200.0
    transient: float = 300.0
    transient_most: float = 3600.0
    error: float = 3600.0
    domain: float = 3600.0

    @property
    def longest(self) -> float:
        """The longest of them: nothing is kept beyond it."""
        return max(self.passed, self.failed, self.transient_most, self.error, self.domain)


@dataclass(frozen=True, slots=True)
class CachedVerdict:
    """A remembered verdict.

    In a store, its times are seconds since the epoch, because machines share them. In memory, they come from a
    monotonic clock, so that a verdict ages correctly if the time of day jumps. `moved` converts between the two.
    """

    verdict: CallbackVerdict
    found: float
    expires: float
    streak: int = 0
    """How many transient verdicts came directly before this one."""
    doubted: bool = False
    """A later probe contradicted this pass."""

    def fresh(self, now: float) -> bool:
        """Whether it is still valid."""
        return now < self.expires

    def answer(self, now: float) -> CallbackVerdict:
        """Return the verdict as a cached one, with its age."""
        age = now - self.found
        return self.verdict.recalled(round(age, 1) if age > 0 else 0.0)

    def said(self, verdict: CallbackVerdict, now: float) -> CallbackVerdict:
        """Return what to report if a probe found `verdict` and this record is valid: mostly the verdict itself."""
        return verdict if self.found >= now - 1.0 and not self.doubted else self.answer(now)

    def moved(self, seconds: float) -> CachedVerdict:
        """Return it for a clock that is `seconds` ahead of the present one."""
        return replace(self, found=self.found + seconds, expires=self.expires + seconds)

    def believable(self, now: float, lives: Lives) -> CachedVerdict | None:
        """Return a record from the store, with the lifetime of its class at most; None if it comes from the future.

        A clock that was ahead, perhaps by years, wrote such a record, and it would be valid until then. The lifetime
        counts from when the verdict was found, so reading it again does not prolong it.
        """
        if self.found > now + AHEAD_SECONDS:
            return None
        return replace(self, expires=min(self.expires, min(now, self.found) + longest_life(self.verdict, lives)))

    def encoded(self) -> bytes:
        """Return it in the store's format."""
        verdict = self.verdict
        values = {name: value for name in _FIELDS if (value := getattr(verdict, name)) or name == "text"}
        found = {"v": values, "f": self.found, "e": self.expires, "n": self.streak, "d": self.doubted}
        return _ENCODER.encode(found).encode()

    @classmethod
    def decoded(cls, stored: bytes) -> CachedVerdict | None:
        """Parse what a store kept; None if the format is unknown, as from another version."""
        try:
            found = json.loads(stored)
            values = found["v"] | {"status": Status(found["v"]["status"])}
            return cls(
                CallbackVerdict(**values), float(found["f"]), float(found["e"]), int(found["n"]), bool(found["d"])
            )
        except (ValueError, KeyError, TypeError):
            return None


def successor(previous: CachedVerdict | None, verdict: CallbackVerdict, now: float, lives: Lives) -> CachedVerdict:
    """Return what to remember after a new verdict, given the previous record."""
    before = previous.verdict.status if previous is not None else None
    if previous is not None and before is Status.PASS and previous.fresh(now) and verdict.status is not Status.PASS:
        if verdict.status is not Status.FAIL:
            return previous  # nothing new was learned
        if not previous.doubted:
            return replace(previous, expires=min(previous.expires, now + lives.transient), doubted=True)
    streak = 0
    if previous is not None and _is_exchangers(verdict) and _is_exchangers(previous.verdict):
        streak = previous.streak + 1
    return CachedVerdict(verdict, now, now + _life(verdict, streak, lives), streak)


def _is_exchangers(verdict: CallbackVerdict) -> bool:
    """Whether an exchanger deferred us; each time in a row it is left alone for longer."""
    return verdict.status is Status.TRANSIENT and verdict.reason != "dns"


def longest_life(verdict: CallbackVerdict, lives: Lives) -> float:
    """Return the longest lifetime of a verdict of this class."""
    return lives.transient_most if verdict.status is Status.TRANSIENT else _life(verdict, 0, lives)


def _life(verdict: CallbackVerdict, streak: int, lives: Lives) -> float:
    if verdict.status is Status.PASS:
        return lives.passed
    if verdict.reason in DOMAIN_REASONS:
        return lives.domain
    if verdict.status is Status.FAIL:
        return lives.failed
    if verdict.status is Status.ERROR:
        return lives.error
    if verdict.reason == "dns":
        return min(lives.transient, DNS_SECONDS)
    return min(lives.transient * float(1 << min(streak, 16)), lives.transient_most)
