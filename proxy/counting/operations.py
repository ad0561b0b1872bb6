"""The operations of counting, and their answers. Each is one atomic step, wherever it is performed.

They travel between worker and keeper as they are, so keys are octets: text from strangers may not be valid UTF-8.
`room` separates independent users. Times are seconds since the epoch, by the clock of the process that performs the
operation, not of the one that asks.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, ClassVar, Generic, TypeVar

import msgspec

A = TypeVar("A")


class Operation(msgspec.Struct, Generic[A], array_like=True, gc=False):
    """One atomic step. `A` is the type of its answer."""

    answer: ClassVar[Any] = None
    """The type of the answer, for decoding."""


# ---------------------------------------------------------------- sliding windows


class Counted(msgspec.Struct, array_like=True, gc=False):
    """A window after an operation."""

    allowed: bool
    """Whether it was counted."""
    total: int
    """Events in the last `seconds`. The oldest sub-window counts whole, so this may be up to a sixteenth too many."""
    wait: float
    """Seconds until one more is within the limit; 0: now. After `Reserve`: until the reserved moment."""
    count: int
    """The window's limit: the numbers of the operation that made it."""
    at: float
    """When it was counted."""


class Window(Operation[Counted | None], tag=1):
    """Count `change` events, maybe 0 or negative, in a sliding window.

    The first operation for a key decides the limit and the length; `count` 0 creates no window: without
    one, the answer is None. With `within`, nothing is counted if that exceeded the limit. A window is
    forgotten `seconds` + 1 after its last use, and if its room has more than `most`: the least recently used.
    """

    room: str
    key: bytes
    count: int = 0
    seconds: float = 0.0
    change: int = 0
    within: bool = False
    most: int = 65_536

    answer: ClassVar[Any] = Counted | None


class Reserve(Operation[Counted | None], tag=2):
    """Count one event at the first moment, now or later, at which the window allows it; `wait` says when that is.

    If that is later than in `patience` seconds, nothing is counted. Moments are given out in order.
    """

    room: str
    key: bytes
    patience: float
    count: int = 0
    seconds: float = 0.0
    most: int = 65_536

    answer: ClassVar[Any] = Counted | None


# ---------------------------------------------------------------- gauges


class Gauge(Operation[int | None], tag=3):
    """Change a gauge of the cache `room`, and answer its value; with `change` 0, only look.

    The first operation decides the cache's size and `lives`; `most` 0 asks only for a cache that is there: None if it
    is not. A gauge is 0 again `lives` seconds after its last change (0: never). A new one in a full cache takes
    the place of the one that was changed longest ago.
    """

    room: str
    key: bytes = b""
    change: int = 0
    most: int = 0
    lives: float = 0.0

    answer: ClassVar[Any] = int | None


# ---------------------------------------------------------------- series


class Add(Operation[None], tag=4):
    """Add to an address in the current window of a series: `number` windows of `interval` seconds, since the epoch.

    Neither an address nor an answer goes beyond `sieve.shared.MOST_AMOUNT`.
    """

    series: str
    interval: int
    number: int
    address: bytes
    """4 or 16 octets."""
    amount: int = 1
    keep: bool = False
    """Whether it outlives a restart."""
    here: bool = False
    """Whether it is this machine's own, even if machines share a store."""


class Sum(Operation[int], tag=5, frozen=True):  # type: ignore[misc]  # mypy takes it for a dataclass
    """Sum up an address's network in the windows `first` to `last` of a series; 0 is the current one.

    With `smooth`: the current window and what the window before it weighs by the time that has passed.
    """

    series: str
    interval: int
    number: int
    address: bytes
    mask: int
    first: int = 0
    last: int = 0
    smooth: bool = False
    here: bool = False

    answer: ClassVar[Any] = int


# ---------------------------------------------------------------- values


class Put(Operation[None], tag=6):
    """Keep a value for `lives` seconds; 0: until there is no room."""

    room: str
    key: bytes
    value: bytes
    lives: float = 0.0


class Get(Operation[bytes | None], tag=7):
    """Answer a value that was kept, or None."""

    room: str
    key: bytes

    answer: ClassVar[Any] = bytes | None


# ---------------------------------------------------------------- token buckets


class Taken(msgspec.Struct, array_like=True, gc=False):
    """A bucket after an operation."""

    allowed: bool
    left: float
    """Tokens in it."""


class Take(Operation[Taken], tag=8):
    """Take tokens, all or none, from a bucket of `count` that refills within `seconds`; 0 looks, negative returns.

    Buckets with other numbers are other buckets. A `count` of 0 is no limit.
    """

    room: str
    key: bytes
    count: int
    seconds: int
    tokens: int = 1

    answer: ClassVar[Any] = Taken


# ---------------------------------------------------------------- leases


class Leased(msgspec.Struct, array_like=True, gc=False):
    """Places after an operation."""

    full: int
    """The position in `places` of the first key that has no place left; -1: all were leased."""
    totals: Sequence[int]
    """For each key, how many places are leased now, by everybody."""


class Lease(Operation[Leased], tag=9):
    """Lease one place of each key, or of none if one of them is full.

    Places belong to the process that asks; they are free again when it returns them, or 5 s after its death.
    """

    places: Sequence[tuple[bytes, int]]
    """Each key, with the most places that it has; 0: no limit, only counted."""
    owner: str = ""
    """The process; filled in on the way to the store."""

    answer: ClassVar[Any] = Leased


class Return(Operation[None], tag=10):
    """Return one place of each key that `Lease` gave."""

    keys: Sequence[bytes]
    owner: str = ""


class Hold(Operation[bool], tag=11):
    """A process says that it lives, and with `held`, all places that it has: after this, it has no others.

    The answer is whether it was known. If not, it has no places, whatever it believes.
    """

    owner: str = ""
    held: Sequence[tuple[bytes, int]] | None = None

    answer: ClassVar[Any] = bool


class Places(Operation[int], tag=12):
    """Answer how many places of a key are leased now, by everybody."""

    key: bytes

    answer: ClassVar[Any] = int


class Present(Operation[int], tag=17, frozen=True):  # type: ignore[misc]  # as above
    """Answer how many of this machine's places whose keys are `begin` and an address are leased within a network."""

    begin: bytes
    address: bytes
    mask: int

    answer: ClassVar[Any] = int


# ---------------------------------------------------------------- greylisting


class Seen(msgspec.Struct, array_like=True, gc=False):
    """What is known of a triplet, after this attempt."""

    passes: bool
    wait: float
    """Seconds until an attempt passes; 0 if this one does."""
    first: float
    """When the first attempt was that counts."""
    last: float
    """When the attempt before this one was; equal to `first` at the first."""
    passed: int
    """How often it has passed, this time included."""
    client: int
    """Messages that the client has delivered (`Delivered`)."""


class Greylist(Operation[Seen], tag=13):
    """An attempt to deliver.

    The first one for a key never passes. One `delay` to `window` seconds later does, as do all later ones, until
    `life` seconds have passed without one. After an attempt that is later than `window`, it begins anew. If the
    client has delivered at least `enough` messages, it passes always; `enough` 0: no client is known. A `look`
    gets the same answer, but does not count as an attempt.
    """

    room: str
    key: bytes
    delay: float
    window: float
    life: float
    client: bytes = b""
    enough: int = 0
    look: bool = False

    answer: ClassVar[Any] = Seen


class Delivered(Operation[int], tag=14):
    """A client has delivered `change` more messages (0: look). The answer is the total, kept for `life` s."""

    room: str
    client: bytes
    change: int = 1
    life: float = 0.0

    answer: ClassVar[Any] = int


# ---------------------------------------------------------------- for operators


class Shown(msgspec.Struct, array_like=True, gc=False):
    """A state, for people. What the numbers are depends on its kind."""

    key: bytes
    numbers: Sequence[float]


class Show(Operation[Sequence[Shown]], tag=15):
    """Answer states of a kind whose keys begin so, at most `most`.

    | kind | room | numbers |
    |---|---|---|
    | `window` | its room | total, count, seconds |
    | `gauge` | its cache | value |
    | `bucket` | its room | tokens left, count, seconds |
    | `lease` | "" | places leased |
    | `greylist` | its room | first, last, passed, expires |
    | `client` | its room | messages, expires |
    | `value` | its room | expires (0: never) |
    """

    kind: str
    room: str = ""
    prefix: bytes = b""
    most: int = 1000

    answer: ClassVar[Any] = list[Shown]


class Forget(Operation[int], tag=16):
    """Forget the states of a kind whose keys begin so, or with `exact` this key only; answer how many there were.

    Of the kind `series`, an address is forgotten in all windows; the room is the series, NUL, and "interval,number".
    """

    kind: str
    room: str = ""
    prefix: bytes = b""
    exact: bool = False

    answer: ClassVar[Any] = int


AnyOperation = (
    Window
    | Reserve
    | Gauge
    | Add
    | Sum
    | Put
    | Get
    | Take
    | Lease
    | Return
    | Hold
    | Places
    | Present
    | Greylist
    | Delivered
    | Show
    | Forget
)
"""All of them, for decoding."""
