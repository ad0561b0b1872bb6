"""Mail that flows while something happens; what is accepted is counted against the sink."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from tests.support.exchanger import Exchanger
from tests.support.ringback import Ringback
from tests.support.waiting import eventually

MESSAGE = b"Subject: one truth\r\n\r\nsome text\r\n"


class Load:
    """Deliveries without a pause: each from a fresh sender and from a known one."""

    def __init__(self, ringback: Ringback, upstream: Exchanger, *, reloads: bool = False) -> None:
        """`reloads`: workers are replaced meanwhile."""
        self._ringback, self._upstream = ringback, upstream
        self._reloads = reloads
        self.accepted = 0
        self.others: list[str] = []
        self._stop = asyncio.Event()

    async def run(self, number: int) -> None:
        fresh = 0
        while not self._stop.is_set():
            fresh += 1
            for sender in (f"f{number}-{fresh}@ok.test", "known@ok.test"):
                try:
                    await self._deliver(sender)
                except AssertionError as told:
                    if "421 4.3.2 " not in str(told):  # between two commands, on a reload: its client comes again
                        raise
                except ConnectionResetError:
                    if not self._reloads:  # the command crossed the 421 on its way; what arrived is compared at the end
                        raise

    async def _deliver(self, sender: str) -> None:
        async with await self._ringback.conversation() as client:
            reply = await client.deliver(sender, ["b@example.com"], MESSAGE)
            if reply.startswith("250 "):
                self.accepted += 1
            else:
                self.others.append(reply)

    async def goes_on(self) -> None:
        aim = self.accepted + 20
        await eventually(lambda: self.accepted >= aim, "twenty more messages are accepted")

    @asynccontextmanager
    async def under_way(self) -> AsyncIterator[None]:
        async with asyncio.TaskGroup() as group:
            for number in range(4):
                group.create_task(self.run(number))
            try:
                await self.goes_on()
                yield
                await self.goes_on()
            finally:
                self._stop.set()
        assert self.others == []
        assert len(self._upstream.messages) == self.accepted
