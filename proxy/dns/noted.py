"""Notes of the answers that a task gets, for History_Answers."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextvars import ContextVar

from proxy.dns.answers import Value

Note = Callable[..., None]
"""Takes the kind of question, its arguments, and the answer's parts."""

_NOTE: ContextVar[Note | None] = ContextVar("note", default=None)


def noting(note: Note | None) -> None:
    """From now on, give `note` each answer that this task, or a task that it starts, gets; None ends that."""
    _NOTE.set(note)


def tell(record_type: str, name: str, server: str | None, status: str, records: Sequence[Value] = ()) -> None:
    """Add an answer, even a cached one, to the current task's notes."""
    note = _NOTE.get()
    if note is not None:
        note("dns", record_type.lower(), name, server, status, *map(_text, records))


def _text(value: Value) -> str:
    if isinstance(value, bytes):
        return value.decode("latin-1")
    return " ".join(map(str, value)) if isinstance(value, tuple) else value
