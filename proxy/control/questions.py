"""The messages between the control process and the processes that it asks, in MessagePack, the type first.

A question has one answer, or a stream of answers that ends with `End`. `Stop` ends a stream from the asking side.
"""

from __future__ import annotations

from typing import Any, TypeAlias

import msgspec

MOST_OPEN = 16
"""Questions that a process answers at the same time."""

MOST_ANSWER = 1 << 20
"""Octets of an answer."""


REMEMBER, STANDING = "remember", "standing"
"""Questions that every process answers: remember a change for a control process after us; what is remembered."""


class Ask(msgspec.Struct, array_like=True, tag=1, frozen=True):
    """A question; `number` is the asking side's own for it."""

    number: int
    question: str
    arguments: dict[str, Any]


class Stop(msgspec.Struct, array_like=True, tag=2, frozen=True):
    """No more answers to this question are wanted."""

    number: int


class Answer(msgspec.Struct, array_like=True, tag=3, frozen=True):
    """An answer, or the next one of a stream."""

    number: int
    answer: Any


class Failed(msgspec.Struct, array_like=True, tag=4, frozen=True):
    """There is no answer."""

    number: int
    error: str
    unknown: bool = False
    """The process does not have what the question is about."""


class End(msgspec.Struct, array_like=True, tag=5, frozen=True):
    """The stream has ended."""

    number: int


Asking: TypeAlias = Ask | Stop
Answering: TypeAlias = Answer | Failed | End

decode_asking = msgspec.msgpack.Decoder(list[Ask | Stop]).decode
decode_answering = msgspec.msgpack.Decoder(list[Answer | Failed | End]).decode
