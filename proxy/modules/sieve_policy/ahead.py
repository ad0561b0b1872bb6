"""Asks the keeper or Redis in one round trip for all counts that a phase needs about its client.

A script asks one question after another, and each would be a round trip. So the first question takes along
everything that the scripts of the phase asked last time, and the later answers are then at hand. The questions of
RCPT TO leave at MAIL FROM, so RCPT TO mostly waits for nothing. Only questions that change nothing are asked ahead.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any, TypeAlias

import msgspec

from config.base.ip import packed_address
from proxy.counting.base import Counting, CountingUnavailable
from proxy.counting.operations import Greylist, Operation, Present, Seen, Sum
from proxy.mail.session import Session

MOST_HABITS = 8
"""Questions of a phase that are asked ahead; a script may compute their names."""

FRESH_SECONDS = 1.0
"""How old an answer may be when the script comes to its question: it may have waited for a callback in between."""

ASKS = frozenset(
    f"ec_ip_{what}{whose}" for what in ("connections", "receptions", "rejections") for whose in ("", "_cluster")
) | {"audit_series", "audit_connections_on_listener", "audit_connections_on_service", "audit_service"}
"""The functions that ask what was counted of a client."""

ASKED_AHEAD = (Sum, Present)
"""The questions that are asked ahead, of those that a script asks."""

Key: TypeAlias = tuple[Any, ...]
"""What a question is about, without the client's address."""

Answers: TypeAlias = dict[Any, asyncio.Future[Any]]
"""The answers by question; those about a greylist by its room and key."""

Begun: TypeAlias = tuple[Answers, float]
"""The answers to questions that were asked ahead, and until when they are valid."""

Ask: TypeAlias = Callable[[Session], "Operation[Any] | None"]
"""Makes the question for a session; None if that session does not need it."""


class Habits:
    """What the scripts of one phase ask. The event loop's thread owns it."""

    __slots__ = ("_known",)

    def __init__(self) -> None:
        self._known: dict[Key, Any] = {}
        """Questions about the latest client, and what makes others. The newest one is last."""

    def note(self, key: Key, asked: Operation[Any] | Ask) -> None:
        """A script has asked this."""
        known = self._known
        if key not in known:
            if len(known) >= MOST_HABITS:
                del known[next(iter(known))]
            known[key] = asked

    def others(self, asked: Key, session: Session) -> list[Any]:
        """Return what else scripts ask, for this session."""
        found: list[Any] = []
        known = self._known
        if not known:
            return found
        address = packed_address(session.client_ip)
        for key, habit in known.items():
            if key == asked:
                continue
            each = habit(session) if habit.__class__ not in ASKED_AHEAD else _about(habit, address)
            if each is not None:
                known[key] = habit if each.__class__ is Greylist else each
                found.append(each)
        return found


class Ahead:
    """The questions of one run of a phase."""

    __slots__ = ("_answers", "_counting", "_habits", "_session", "_until")

    def __init__(self, counting: Counting, habits: Habits, session: Session, begun: Begun | None = None) -> None:
        """Nothing is asked before the first question, except for what has `begun`."""
        self._counting, self._habits, self._session = counting, habits, session
        self._answers: Answers | None = None
        """None before the first question."""
        self._until = 0.0
        if begun is not None:
            self._answers, self._until = begun

    def ask(self, operation: Any) -> Any:
        """Ask; the first time, also ask ahead. Return the answer, or a future of it.

        Raises:
            CountingUnavailable: see `Counting`.
        """
        if operation.__class__ not in ASKED_AHEAD or operation.address != packed_address(self._session.client_ip):
            return self._counting.ask(operation)
        known = self._taken(operation) if self._answers else None
        if known is not None and not known.done():
            return known
        if known is not None and known.exception() is None:
            return known.result()
        answer = self._counting.ask(operation)
        is_first = self._answers is None
        if is_first and not isinstance(answer, asyncio.Future):
            return answer  # nothing is waited for here
        habit = _habit(operation)
        self._habits.note(habit, operation)
        if is_first:
            self._ask_others(habit)
        return answer

    def begin(self) -> Begun | None:
        """Ask everything now; return the answers for another `Ahead` of the session, if there are any."""
        self._ask_others(())
        return (self._answers, self._until) if self._answers else None

    def seen(self, attempt: Greylist) -> Seen | None:
        """Return what a look has found about an attempt; None if there was no look, or no answer yet."""
        known = self._taken(_key(attempt)) if self._answers else None
        return known.result() if known is not None and known.done() and known.exception() is None else None

    def will_look(self, name: str, ask: Ask) -> None:
        """A script of this phase asks a greylist."""
        self._habits.note((Greylist, name), ask)

    def forget(self) -> None:
        """Something is counted: what was asked before may no longer be true."""
        if self._answers:
            self._answers = {}

    def _taken(self, key: Any) -> asyncio.Future[Any] | None:
        answer = self._answers.pop(key, None) if self._answers else None
        return answer if answer is not None and answer.get_loop().time() < self._until else None

    def _ask_others(self, first: Key) -> None:
        self._answers, self._until = {}, asyncio.get_running_loop().time() + FRESH_SECONDS
        for each in self._habits.others(first, self._session):
            try:
                later = self._counting.ask(each)
            except CountingUnavailable:
                return
            if isinstance(later, asyncio.Future):
                self._answers[_key(each) if each.__class__ is Greylist else each] = later


def _key(attempt: Greylist) -> Key:
    """Return what an attempt and a look have in common."""
    return (Greylist, attempt.room, attempt.key)


def _about(asked: Any, address: bytes) -> Any:
    """Return the same question about another client; None if its address is of the other family."""
    if asked.address == address:
        return asked
    same = len(asked.address) == len(address)
    return msgspec.structs.replace(asked, address=address) if same else None


def _habit(operation: Any) -> Key:
    """Return what a question is about, without the client's address."""
    fields = msgspec.structs.astuple(operation)
    at = fields.index(operation.address)
    return (operation.__class__, len(operation.address), *fields[:at], *fields[at + 1 :])
