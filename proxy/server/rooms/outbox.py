"""Questions about Ringback's own messages. One worker is asked, because all of them share the file."""

from __future__ import annotations

import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Protocol

from proxy.base.log import printable
from proxy.outbox.file import Delivery, exists
from proxy.outbox.store import OutboxStore
from proxy.server.answering import Question, Unanswerable
from proxy.smtp.ports import OutboxUnavailable

_MOST_ROWS = 1000
_HEAD = 4000
"""Octets of a letter's header section that are shown; its body never is."""


class Delivering(Protocol):
    """What delivers letters: `proxy.outbox.deliver.Deliverer`."""

    def wake(self) -> None:
        """Check now: a letter is due."""
        ...

    async def fail(self, letter: int) -> int:
        """Give a letter up; return for how many recipients."""
        ...


def questions(folder: Path, store: OutboxStore, deliverer: Delivering) -> dict[str, Question]:
    """Return the questions about an outbox."""
    room = _Room(folder, store, deliverer)
    return {
        "outbox": room.listed,
        "outbox_letter": room.letter,
        "outbox_retry": room.retry,
        "outbox_fail": room.fail,
    }


class _Room:
    def __init__(self, folder: Path, store: OutboxStore, deliverer: Delivering) -> None:
        self._folder, self._store, self._deliverer = folder, store, deliverer

    async def listed(self, _given: Mapping[str, Any]) -> dict[str, Any]:
        found = await self._deliveries(0)
        return {"deliveries": [_row(*each) for each in found]}

    async def letter(self, given: Mapping[str, Any]) -> dict[str, Any]:
        found = await self._deliveries(int(given["letter"]))
        if not found:
            return {}
        content = await self._content(int(given["letter"]))
        head = content.partition(b"\r\n\r\n")[0][:_HEAD]
        return {
            "deliveries": [_row(*each) for each in found],
            "octets": len(content),
            "header": [printable(line.decode("latin-1"), 998) for line in head.split(b"\r\n")],
        }

    async def retry(self, given: Mapping[str, Any]) -> int:
        """Deliver letters now, or all."""
        found = await self._deliveries(int(given.get("letter") or 0))
        waiting = {each.letter for each, _, is_taken in found if not is_taken}
        if given.get("dry_run"):
            return sum(not is_taken for *_, is_taken in found)
        try:
            count = await self._store.hasten(sorted(waiting))
        except OutboxUnavailable as error:
            raise Unanswerable(f"the outbox cannot be used: {error}") from None
        if count:
            self._deliverer.wake()
        return count

    async def fail(self, given: Mapping[str, Any]) -> int:
        """Give a letter up."""
        letter = int(given["letter"])
        if given.get("dry_run"):
            return sum(not is_taken for *_, is_taken in await self._deliveries(letter))
        if not exists(self._folder):
            return 0
        try:
            return await self._deliverer.fail(letter)
        except OutboxUnavailable as error:
            raise Unanswerable(f"the outbox cannot be used: {error}") from None

    async def _deliveries(self, letter: int) -> list[tuple[Delivery, float, bool]]:
        if not exists(self._folder):
            return []
        try:
            return await self._store.listed(_MOST_ROWS, letter)
        except OutboxUnavailable as error:
            raise Unanswerable(f"the outbox cannot be read: {error}") from None

    async def _content(self, letter: int) -> bytes:
        try:
            return await self._store.content(letter)
        except OutboxUnavailable as error:
            raise Unanswerable(f"the outbox cannot be read: {error}") from None


def _row(delivery: Delivery, due: float, is_taken: bool) -> dict[str, Any]:  # noqa: FBT001 — as the outbox returns it
    now = time.time()
    return {
        "letter": delivery.letter,
        "sender": printable(delivery.sender),
        "recipient": printable(delivery.recipient),
        "purpose": delivery.purpose,
        "origin": delivery.origin,
        "age_seconds": round(now - delivery.created),
        "attempts": delivery.attempts,
        "due_in_seconds": 0 if is_taken else max(0, round(due - now)),
        "under_way": is_taken,
    }
