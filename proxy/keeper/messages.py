"""What workers, the keeper and its successor say to each other. Each is an array in MessagePack, its type first.

Times are on the monotonic clock, which all processes of a machine share. Text from strangers travels as octets, because
it may not be valid UTF-8.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Self, TypeAlias

import msgspec

from proxy.callback.limits.budgets import BreakerState, StormState
from proxy.callback.memory import Packed
from proxy.callback.question import Question
from proxy.callback.verdict import CallbackVerdict
from proxy.counting.operations import AnyOperation
from proxy.counting.tables import Tables
from proxy.store.base import decoded, encoded
from proxy.store.memory import BucketState, EntryState


class Hello(msgspec.Struct, array_like=True, frozen=True):
    """Comes with a connection: who is at its other end."""

    generation: int
    slot: int
    """The worker's number; 0 is the keeper of a new configuration, which takes over."""
    answers: bool = False
    """At the control process's door: this connection answers questions. Otherwise it brings rows."""
    counts: bool = False
    """At the keeper's door: this connection brings operations of counting. Otherwise it asks for verdicts."""


class Asked(msgspec.Struct, array_like=True, gc=False):
    """A question, as it is sent."""

    local_part: bytes
    domain: bytes
    sender: bytes
    raw: bytes

    @classmethod
    def of(cls, question: Question) -> Self:
        """Take a question."""
        local_part, domain, sender = encoded(question.local_part), encoded(question.domain), encoded(question.sender)
        return cls(local_part, domain, sender, question.raw)

    @property
    def question(self) -> Question:
        """The question."""
        return Question(decoded(self.local_part), decoded(self.domain), decoded(self.sender), self.raw)


class Told(msgspec.Struct, array_like=True, gc=False):
    """A verdict, as it is sent."""

    verdict: Packed
    cached: bool
    age: float

    @classmethod
    def of(cls, verdict: CallbackVerdict) -> Self:
        """Take a verdict."""
        return cls(Packed.of_verdict(verdict), verdict.cached, verdict.age)

    @property
    def as_it_was(self) -> CallbackVerdict:
        """The verdict."""
        return self.verdict.verdict(cached=self.cached, age=self.age)


# ---------------------------------------------------------------- worker and keeper


class Ask(msgspec.Struct, array_like=True, tag=1, gc=False):
    """A worker asks; `number` is its own for the question."""

    number: int
    asked: Asked
    client: str
    session: str


class Welcome(msgspec.Struct, array_like=True, tag=2, gc=False):
    """The keeper takes questions on this connection."""


class Answer(msgspec.Struct, array_like=True, tag=3, gc=False):
    """The keeper answers: what the worker may remember, or a verdict for this question only, or both."""

    number: int
    held: Packed | None
    told: Told | None


# ---------------------------------------------------------------- counting


class Count(msgspec.Struct, array_like=True, tag=9, gc=False):
    """A worker wants an operation performed; `number` is its own for it, and grows."""

    number: int
    operation: AnyOperation
    told: bool = False
    """It needs no answer: a later `Done` or `Performed` of the keeper says how far it has come."""


class Done(msgspec.Struct, array_like=True, tag=10, gc=False):
    """The keeper has performed it. The answer is what its type declares."""

    number: int
    answer: Any
    failed: bool = False
    """The store that all machines share does not answer, and counting alone is not allowed."""


class DoneUnread(Done, array_like=True, tag=10, gc=False):
    """The same, as it arrives: the worker knows of which type the answer is."""

    answer: msgspec.Raw


class Performed(msgspec.Struct, array_like=True, tag=12, gc=False):
    """The keeper has taken every operation up to this number that needs no answer."""

    number: int


# ---------------------------------------------------------------- a keeper and its successor


class Remembered(msgspec.Struct, array_like=True, tag=4):
    """Some of the verdicts in memory. `mark` says with which secret their keys were made."""

    mark: str
    entries: Sequence[tuple[bytes, Packed]]


class Limits(msgspec.Struct, array_like=True, tag=5):
    """Some of the state of the limits, each in the form of its owner's `states`."""

    breakers: Sequence[BreakerState] = ()
    storms: Sequence[StormState] = ()
    entries: Sequence[EntryState] = ()
    buckets: Sequence[BucketState] = ()


class InFlight(msgspec.Struct, array_like=True, tag=6):
    """Questions whose probes the old keeper finishes, each with the client network that pays."""

    probes: Sequence[tuple[Asked, str]]


class Counts(msgspec.Struct, array_like=True, tag=11):
    """Some of what was counted."""

    tables: Tables


class HandedOver(msgspec.Struct, array_like=True, tag=7):
    """That was everything: the successor takes the questions now."""


class Found(msgspec.Struct, array_like=True, tag=8):
    """A probe of the old keeper has ended."""

    asked: Asked
    client: str
    told: Told
    held: Packed | None


ToSuccessor: TypeAlias = Remembered | Limits | InFlight | Counts | HandedOver | Found

decode_hello = msgspec.msgpack.Decoder(Hello).decode
decode_asks = msgspec.msgpack.Decoder(list[Ask]).decode
decode_answers = msgspec.msgpack.Decoder(list[Welcome | Answer]).decode
decode_handover = msgspec.msgpack.Decoder(list[Remembered | Limits | InFlight | Counts | HandedOver | Found]).decode
decode_counts = msgspec.msgpack.Decoder(list[Count]).decode
decode_done = msgspec.msgpack.Decoder(list[Welcome | DoneUnread | Performed]).decode
