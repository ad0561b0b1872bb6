"""The time for which a process is the keeper, from when it takes over until it has handed over."""

from __future__ import annotations

import asyncio

from proxy.callback.verifier import CallbackVerifier
from proxy.keeper.counters import Owning
from proxy.keeper.door import Doors
from proxy.keeper.handover import Successor
from proxy.keeper.messages import Hello
from proxy.keeper.service import SUCCESSOR, KeeperService


class Tenure:
    """Takes over from the keeper of the configuration before, answers at all doors, and hands over to the next one."""

    def __init__(self, doors: Doors, counting: Owning, verifier: CallbackVerifier | None) -> None:
        """Without callbacks, there is no verifier."""
        self._doors = doors
        self._service = KeeperService(verifier, doors.insides, doors.generation, counting)
        self._successor = Successor(verifier, counting.local)

    @property
    def deserted(self) -> asyncio.Event:
        """Set while no worker is connected."""
        return self._service.deserted

    async def begin(self) -> None:
        """Take over, and answer. Never raises."""
        before = self._doors.predecessor
        if before is not None:
            await self._successor.take_over(before, Hello(self._doors.generation, SUCCESSOR))
        self._service.open()

    def retire(self) -> None:
        """Do not begin again if the successor ends: the supervisor replaces it."""
        self._service.retire()

    async def end(self) -> None:
        """Answer no more. If a successor has taken over, finish the probes in flight for it."""
        await self._service.leave()
        await self._successor.close()
