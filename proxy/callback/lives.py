"""How long a verdict is believed, and what a new one does to the one before: the rules of the cache, without the cache.

A hit never prolongs anything. A transient never hides a `pass` that is still believed, and one refusal does not undo
it either: the `pass` is believed for a few minutes more, and the next refusal decides.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace

from proxy.callback.verdict import CallbackVerdict, Status
from proxy.store.base import AHEAD_SECONDS

REFRESH_AT = 0.75
"""The part of a pass's life after which a probe in the background looks whether it is still true."""

DOMAIN_REASONS = frozenset({"nxdomain", "null_mx", "no_address", "unroutable"})
"""Reasons that are about the domain and so answer for each of its addresses."""

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
        "no_probe",
    }
)
"""Reasons that are about this moment, or about our configuration: nothing that was found out."""

DNS_SECONDS = 5.0
"""How long `dns` is believed. It may be our own resolver that failed: once that is well again, no mail waits for it."""


CATCHALL_SECONDS = 7 * 86400.0
NULL_REFUSED_SECONDS = 7 * 86400.0
NO_PROBE_SECONDS = 86400.0
FACT_SECONDS: Mapping[str, float] = {
    "catchall": CATCHALL_SECONDS,
    "null_refused": NULL_REFUSED_SECONDS,
    "no_probe": NO_PROBE_SECONDS,
}
"""How long each fact about a domain is remembered at most."""


@dataclass(frozen=True, slots=True)
class Lives:
    """How long verdicts are believed, in seconds."""

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
class Record:
    """A verdict that is remembered.

    In a store its times are seconds since the epoch, since machines share them; in memory they are those of a clock
    that nobody sets, so that a verdict ages while the time of day jumps. `moved` makes one of the other.
    """

    verdict: CallbackVerdict
    found: float
    expires: float
    streak: int = 0
    """How many transient verdicts came before this one, without another between."""
    doubted: bool = False
    """A pass that a later probe contradicted."""

    def fresh(self, now: float) -> bool:
        """Whether it is still believed."""
        return now < self.expires

    def due(self, now: float) -> bool:
        """Whether a pass is old enough to be looked at again before it ends; one in doubt ends soon enough."""
        if self.doubted:
            return False
        return self.verdict.status is Status.PASS and now >= self.found + REFRESH_AT * (self.expires - self.found)

    def answer(self, now: float) -> CallbackVerdict:
        """Return the verdict as a remembered one, with its age."""
        return replace(self.verdict, cached=True, age=round(max(0.0, now - self.found), 1))

    def said(self, verdict: CallbackVerdict, now: float) -> CallbackVerdict:
        """Return what is said after a probe found `verdict` and this is believed: mostly the verdict itself."""
        return verdict if self.found >= now - 1.0 and not self.doubted else self.answer(now)

    def moved(self, seconds: float) -> Record:
        """Return it by a clock that is so many seconds ahead of the one by which it is now."""
        return replace(self, found=self.found + seconds, expires=self.expires + seconds)

    def believable(self, now: float, lives: Lives) -> Record | None:
        """Return what a store held, with no more life than its class has; None if it comes from the future.

        It was written by a clock that was ahead, perhaps by years; it would be believed until then. The life counts
        from when it was found, so that who reads it again and again does not prolong it.
        """
        if self.found > now + AHEAD_SECONDS:
            return None
        return replace(self, expires=min(self.expires, min(now, self.found) + longest_life(self.verdict, lives)))

    def encoded(self) -> bytes:
        """Return it as the store keeps it."""
        fields = {name: value for name, value in asdict(self.verdict).items() if value or name == "text"}
        found = {"v": fields, "f": self.found, "e": self.expires, "n": self.streak, "d": self.doubted}
        return json.dumps(found, separators=(",", ":")).encode()

    @classmethod
    def decoded(cls, stored: bytes) -> Record | None:
        """Read what a store kept; None where it is none of ours, as of another version."""
        try:
            found = json.loads(stored)
            fields = found["v"] | {"status": Status(found["v"]["status"])}
            return cls(
                CallbackVerdict(**fields), float(found["f"]), float(found["e"]), int(found["n"]), bool(found["d"])
            )
        except (ValueError, KeyError, TypeError):
            return None


def successor(previous: Record | None, verdict: CallbackVerdict, now: float, lives: Lives) -> Record:
    """Return what is remembered after a new verdict, given what was remembered before."""
    before = previous.verdict.status if previous is not None else None
    if previous is not None and before is Status.PASS and previous.fresh(now) and verdict.status is not Status.PASS:
        if verdict.status is not Status.FAIL:
            return previous  # nothing was found out
        if not previous.doubted:
            return replace(previous, expires=min(previous.expires, now + lives.transient), doubted=True)
    streak = 0
    if previous is not None and _is_exchangers(verdict) and _is_exchangers(previous.verdict):
        streak = previous.streak + 1
    return Record(verdict, now, now + _life(verdict, streak, lives), streak)


def _is_exchangers(verdict: CallbackVerdict) -> bool:
    """Whether an exchanger put us off; each time in a row it is left alone for longer."""
    return verdict.status is Status.TRANSIENT and verdict.reason != "dns"


def longest_life(verdict: CallbackVerdict, lives: Lives) -> float:
    """Return the most that a verdict of this class is believed for."""
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
