"""`Searching`: searches the history's files in a thread, a few searches at a time, each with a time limit."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass, field
from typing import TypeVar

from proxy.history.addresses import Addresses
from proxy.history.search import Found, search
from proxy.history.settings import HistorySettings
from proxy.page.drawing import ladder_of
from proxy.page.ladder import Ladder

MOST_SEARCHES = 2
MOST_WAITING = 4
SECONDS = 10.0

LONGEST_SUBJECT = 400

T = TypeVar("T")


class Unsearchable(Exception):
    """The search did not take place, or did not end in time."""

    def __init__(self, *, busy: bool = False, reason: str = "") -> None:
        super().__init__(reason)
        self.busy, self.reason = busy, reason


@dataclass(slots=True)
class Searching:
    """The event loop's thread owns it. A search that takes too long keeps its thread until it ends, and no other."""

    settings: HistorySettings
    _threads: ThreadPoolExecutor = field(
        default_factory=lambda: ThreadPoolExecutor(MOST_SEARCHES, thread_name_prefix="search")
    )
    _open: int = 0

    def close(self) -> None:
        """Search no more."""
        self._threads.shutdown(wait=False, cancel_futures=True)

    async def about(self, subject: str, seconds: float = 0.0) -> Found:
        """Return what the history has about an address, session, client, Message-ID or queue id.

        Raises:
            Unsearchable: too many searches are running, this one takes too long, or the files cannot be read.
        """
        since = time.time() - seconds if seconds else 0.0
        return await self._in_thread(lambda: self._search(subject, since))

    async def ladder(self, session: str) -> Ladder | None:
        """Return the picture of a session; None if the history does not have it.

        Raises:
            Unsearchable: as above.
        """
        return await self._in_thread(lambda: self._drawn(session))

    def _drawn(self, session: str) -> Ladder | None:
        found = self._search(session, 0.0)
        stories = [each for each in found.stories if each.session.get("id") == session]
        return ladder_of(stories) if stories else None

    def _search(self, subject: str, since: float) -> Found:
        addresses = Addresses()
        with suppress(FileNotFoundError):  # nothing was kept yet
            addresses = self.settings.addresses()
        return search(self.settings.folder, subject[:LONGEST_SUBJECT], addresses, since=since)

    async def _in_thread(self, work: Callable[[], T]) -> T:
        if self._open >= MOST_WAITING:
            raise Unsearchable(busy=True)
        self._open += 1
        future = asyncio.get_running_loop().run_in_executor(self._threads, work)
        future.add_done_callback(self._ended)
        try:
            async with asyncio.timeout(SECONDS):
                return await asyncio.shield(future)
        except TimeoutError:
            raise Unsearchable from None
        except OSError as error:
            raise Unsearchable(reason=error.strerror or str(error)) from None

    def _ended(self, future: asyncio.Future[T]) -> None:
        self._open -= 1
        if not future.cancelled():
            future.exception()  # otherwise asyncio would log it as never retrieved
