"""What scripts count: throttles, gauges, series and caches, by the worker's counting."""

from __future__ import annotations

import asyncio
import time
from collections import OrderedDict
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from hashlib import blake2b
from typing import Any, TypeVar

from proxy.base.log import get_logger, printable
from proxy.counting import operations as ops
from proxy.counting.base import Counting, CountingUnavailable, is_later
from proxy.counting.presence import key_of
from proxy.counting.traffic import of_script, series_of
from proxy.counting.windows import AGED_SECONDS
from proxy.mail.session import Session
from proxy.modules.sieve_policy.ahead import Ahead, Habits
from proxy.options.core import CoreOptions
from proxy.store.base import decoded, encoded
from sieve.phases import Phase
from sieve.run import reasons
from sieve.run.patience import Soon
from sieve.run.values import ScriptError
from sieve.shared import SeriesName, Traffic

log = get_logger()

A = TypeVar("A")
T = TypeVar("T")

LONGEST_KEY = 256
"""Octets of a name or key. Of a longer one, which a stranger may have written, a hash is used."""

LONGEST_VALUE = 64 * 1024
"""Octets of a cached value."""

MOST_GAUGE_CACHES = 1000
"""Caches whose numbers a worker remembers."""

_CREATE = {False: "ec_throttle_create", True: "ec_shared_throttle_create"}
_ROOM = {False: "throttle", True: "shared"}

Note = Callable[..., None]


@dataclass(slots=True)
class _Throttle:
    count: int
    seconds: float
    used: float
    warned: bool = False


class ScriptCounters:
    """A worker's counting, and which throttles and gauges its scripts have created.

    What a script has created here travels with each operation. So it need not wait until that is created elsewhere, and
    goes on if whoever counts was replaced meanwhile.
    """

    def __init__(
        self,
        counting: Counting,
        core: CoreOptions,
        monitors: Sequence[tuple[int, int]] = (),
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """`monitors` belong to inbound_audit; `clock` ages the throttles."""
        self.counting = counting
        self.shares = core.shares_counts
        self.answers_later = core.processes > 1 or core.shares_counts
        """Whether an answer has to be waited for."""
        self.most = core.siv_throttle_cache_size
        declared = core.replicated_caches
        self.caches = declared if declared or self.answers_later else None
        """The declared caches; None: whatever scripts name, because the only worker knows it and none is declared."""
        self.monitors = monitors
        self._clock = clock
        self._habits = {phase: Habits() for phase in Phase}
        self._throttles: OrderedDict[tuple[bool, str], _Throttle] = OrderedDict()
        self._gauges: OrderedDict[str, tuple[int, float]] = OrderedDict()

    def ahead(self, session: Session, phase: Phase) -> Ahead:
        """Return what asks for one run of a phase."""
        begun: Any = session.transaction.heard.pop(self, None) if phase is Phase.RCPTTO else None
        return Ahead(self.counting, self._habits[phase], session, begun)

    def foresee(self, session: Session) -> None:
        """Ask what the scripts of RCPT TO will ask. The transaction keeps the answers for the next recipient."""
        begun = Ahead(self.counting, self._habits[Phase.RCPTTO], session).begin()
        if begun is not None:
            session.transaction.heard[self] = begun

    def awaited(self, session: Session) -> list[asyncio.Future[Any]]:
        """Return the answers for the next recipient that are not there yet."""
        begun: Any = session.transaction.heard.get(self)
        return [] if begun is None else [each for each in begun[0].values() if not each.done()]

    def define(self, name: str, count: int, seconds: float, *, shared: bool) -> _Throttle | None:
        """Remember a throttle; return it if it is new."""
        known = self.throttle(name, shared=shared)
        if known is None:
            known = self._throttles[shared, name] = _Throttle(count, seconds, self._clock())
            if len(self._throttles) > self.most:
                self._throttles.popitem(last=False)
            return known
        if (known.count, known.seconds) != (count, seconds) and not known.warned:
            known.warned = True
            log.warning(
                "throttle_unchanged",
                name=printable(name),
                limit=f"{known.count}/{known.seconds:g}",
                wanted=f"{count}/{seconds:g}",
            )
        return None

    def throttle(self, name: str, *, shared: bool) -> _Throttle | None:
        """Return a throttle that this worker's scripts have created, as used just now."""
        known = self._throttles.get((shared, name))
        now = self._clock()
        if known is None or now > known.used + known.seconds + AGED_SECONDS:
            self._throttles.pop((shared, name), None)
            return None
        known.used = now
        self._throttles.move_to_end((shared, name))
        return known

    def define_gauges(self, cache: str, most: int, lives: float) -> bool:
        """Remember a cache; return whether it is new. The first numbers hold."""
        known = self._gauges.get(cache)
        if known is None:
            self._gauges[cache] = (most, lives)
            if len(self._gauges) > MOST_GAUGE_CACHES:
                self._gauges.popitem(last=False)
        else:
            self._gauges.move_to_end(cache)
        return known is None

    def gauges(self, cache: str) -> tuple[int, float]:
        """Return a cache's size and how long its gauges live; zeros if this worker does not know."""
        return self._gauges.get(cache, (0, 0.0))


class SessionCounters:
    """The counters for one phase of one session."""

    __slots__ = ("_counters", "_note", "_session", "ahead")

    def __init__(
        self, session: Session, counters: ScriptCounters, phase: Phase = Phase.CONNECT, note: Note | None = None
    ) -> None:
        """`note` gets the answers that a script gets."""
        self._session, self._counters, self._note = session, counters, note
        self.ahead = counters.ahead(session, phase)

    # ------------------------------------------------------------ throttles

    def define_throttle(self, name: str, count: int, seconds: float, *, shared: bool) -> None:
        """Create a throttle, unless one has this name."""
        if self._counters.define(name, count, seconds, shared=shared) is not None:
            self._tell(self._window(name, shared=shared))

    def add_to_throttle(self, name: str, change: int, *, shared: bool) -> Soon[None]:
        """Count events. Nobody waits if this worker's scripts have created the throttle."""
        window = self._window(name, shared=shared, change=change)
        if window.count:
            self._tell(window)
            return None

        def done(counted: ops.Counted | None) -> None:
            _known(counted, name, shared=shared)

        return self._asked(window, done)

    def is_exceeded(self, name: str, *, shared: bool) -> Soon[bool]:
        """Return whether more events were counted than the throttle permits."""

        def exceeded(counted: ops.Counted | None) -> bool:
            known = _known(counted, name, shared=shared)
            return known.total > known.count

        return self._asked(self._window(name, shared=shared), exceeded, "throttle", name)

    def reserve(self, name: str, patience: float, *, shared: bool) -> Soon[float | None]:
        """Count an event at the first permitted moment."""
        window = self._window(name, shared=shared)

        def waits(counted: ops.Counted | None) -> float | None:
            known = _known(counted, name, shared=shared)
            return known.wait if known.allowed else None

        wanted = ops.Reserve(window.room, window.key, patience, window.count, window.seconds, window.most)
        return self._asked(wanted, waits, "throttle", name)

    def _window(self, name: str, *, shared: bool, change: int = 0) -> ops.Window:
        known = self._counters.throttle(name, shared=shared)
        count, seconds = (known.count, known.seconds) if known is not None else (0, 0.0)
        return ops.Window(_ROOM[shared], _key(name), count, seconds, change, most=self._counters.most)

    # ------------------------------------------------------------ gauges

    def define_gauges(self, cache: str, most: int, lives: float) -> None:
        """Create a cache, unless one has this name."""
        if self._counters.define_gauges(cache, most, lives):
            self._tell(ops.Gauge(_room(cache), most=most, lives=lives))

    def gauge(self, cache: str, key: str, change: int) -> Soon[int]:
        """Change a gauge, and return its value."""

        def value(found: int | None) -> int:
            if found is None:
                raise ScriptError(reasons.unknown_gauges(cache))
            return found

        return self._asked(
            ops.Gauge(_room(cache), _key(key), change, *self._counters.gauges(cache)), value, "gauge", cache, key
        )

    # ------------------------------------------------------------ series

    def add_to_series(self, series: SeriesName, address: bytes, amount: int, *, keep: bool) -> None:
        """Add to an address in the current window."""
        self._tell(ops.Add(_room(series.name), series.interval, series.number, address, amount, keep))

    def series(self, series: SeriesName, address: bytes, mask: int, first: int, last: int) -> Soon[int]:
        """Sum up an address's network in these windows."""
        wanted = ops.Sum(_room(series.name), series.interval, series.number, address, mask, first, last)
        return self._asked(wanted, _same, "series", series.name)

    @property
    def monitors(self) -> Sequence[tuple[int, int]]:
        """Seconds and number of the windows that `inbound_audit` keeps."""
        return self._counters.monitors

    def traffic(self, what: Traffic, address: bytes, mask: int) -> Soon[int]:
        """Return how much came from a network."""
        interval, number = what.monitor
        here = not (what.cluster and self._counters.shares)
        windows = (what.first, what.last, what.smooth, here)
        wanted = ops.Sum(series_of(what.kind, here=here), interval, number, address, mask, *windows)
        return self._asked(wanted, _same, what.kind)

    def connections(self, address: bytes, mask: int, *, listener: bool) -> Soon[int]:
        """Return how many connections a network has open."""
        place = key_of(self._session.local if listener else None)
        return self._asked(ops.Present(place, address, mask), _same, "connections")

    # ------------------------------------------------------------ caches

    def cached(self, cache: str, key: str) -> Soon[str]:
        """Return a value that was kept."""
        return self._asked(ops.Get(self._cache(cache), _key(key)), _text, "cache", cache, key)

    def keep_cached(self, cache: str, key: str, value: str, lives: float) -> None:
        """Keep a value."""
        octets = encoded(value)
        if len(octets) > LONGEST_VALUE:
            raise ScriptError(reasons.string_too_long(LONGEST_VALUE))
        self._tell(ops.Put(self._cache(cache), _key(key), octets, lives))

    def _cache(self, name: str) -> str:
        declared = self._counters.caches
        if declared is not None and name not in declared:
            raise ScriptError(reasons.unknown_cache(name))
        return _room(name)

    # ------------------------------------------------------------ asking

    def _tell(self, operation: ops.Operation[Any]) -> None:
        self.ahead.forget()
        self._counters.counting.tell(operation)

    def _asked(self, operation: ops.Operation[A], make: Callable[[A], T], *about: str) -> Soon[T]:
        """Return what `make` makes of the answer, at once if it is at hand.

        Raises:
            ScriptError: nothing can be counted now. A coroutine raises it, too.
        """
        try:
            answer = self.ahead.ask(operation)
        except CountingUnavailable:
            raise ScriptError(reasons.cannot_count()) from None
        if is_later(answer):
            return self._later(answer, make, about)
        found = make(answer)
        if self._note is not None and about:
            self._note("counting", *about, found)
        return found

    async def _later(self, answer: Awaitable[A], make: Callable[[A], T], about: tuple[str, ...]) -> T:
        try:
            found = make(await answer)
        except CountingUnavailable:
            raise ScriptError(reasons.cannot_count()) from None
        if self._note is not None and about:
            self._note("counting", *about, found)
        return found


def _key(text: str) -> bytes:
    octets = encoded(text)
    return octets if len(octets) <= LONGEST_KEY else b"\xff" + blake2b(octets, digest_size=32).digest()


def _room(name: str) -> str:
    if len(name) <= LONGEST_KEY:
        return of_script(name)
    return of_script(blake2b(encoded(name), digest_size=32).hexdigest())


def _same(found: int) -> int:
    return found


def _text(found: bytes | None) -> str:
    return decoded(found) if found is not None else ""


def _known(counted: ops.Counted | None, name: str, *, shared: bool) -> ops.Counted:
    if counted is None:
        raise ScriptError(reasons.unknown_throttle(name, _CREATE[shared]))
    return counted
