"""The slots of a pool, if several workers or machines share the limit on connections to its next hop.

A worker leases each slot before it makes the connection, and returns it when the connection is closed, also if the
connection was idle. A worker that gets no slot says how many it wants. The others look for that: they end as many idle
connections, or give up the next slot that comes back. Otherwise one busy worker could keep every connection, and
clients of the others would get 451.
"""

from __future__ import annotations

import asyncio
import secrets
from socket import gethostname
from typing import TypeVar

from config.base.hosts import is_address
from config.base.ip import read_address
from proxy.base.tasks import TaskOwner, spawn
from proxy.counting.base import Counting, CountingUnavailable, answered
from proxy.counting.operations import Get, Lease, Put, Return
from proxy.upstream.places import Places
from proxy.upstream.slots import Pool, Slots
from proxy.upstream.upstream import Upstream

LOOK_SECONDS = 0.5
"""How often those who have slots look whether others want one, and those who want one ask again."""

WANTED_SECONDS = 2.0
"""How long a wish for slots is remembered, unless it is repeated."""

_ROOM = "wanted"
_MOST_WANTED = 0xFFFF

C = TypeVar("C")


def shared_name(upstream: Upstream) -> str:
    """Return the name by which all who share an upstream know it.

    An upstream behind a Unix socket or a loopback address is another one on each machine.
    """
    own = [each for each in upstream.routes if each.is_socket or _is_loopback(each.host)]
    return f"{gethostname()} {upstream.name}" if own else upstream.name


def _is_loopback(host: str) -> bool:
    return read_address(host).is_loopback if is_address(host) else host == "localhost"


class Sharing:
    """How one pool shares its next hop."""

    def __init__(self, counting: Counting, name: str, most: int) -> None:
        """`name` is the next hop, `most` how many connections to it there may be."""
        self._counting, self._most = counting, most
        self._key = f"max_outbound_connections {name}".encode()
        self._mark = secrets.token_bytes(8)
        self.is_counted = True
        """Whether counting was possible when it was last tried."""

    async def lease(self) -> bool:
        """Lease a slot; return whether there was one. If counting is not possible now, there is not."""
        try:
            leased = await answered(self._counting, Lease([(self._key, self._most)]))
        except CountingUnavailable:
            self.is_counted = False
            return False
        self.is_counted = True
        return leased.full < 0

    def give_back(self) -> None:
        """Return a slot."""
        self._counting.tell(Return([self._key]))

    def want(self, slots: int) -> None:
        """Say how many slots are wanted."""
        said = min(slots, _MOST_WANTED).to_bytes(2) + self._mark
        self._counting.tell(Put(_ROOM, self._key, said, WANTED_SECONDS))

    async def wanted(self) -> int:
        """Return how many slots another worker wants."""
        try:
            said = await answered(self._counting, Get(_ROOM, self._key))
        except CountingUnavailable:
            return 0
        return 0 if said is None or said[2:] == self._mark else int.from_bytes(said[:2])


class SharedSlots(Slots[C]):
    """`Slots` that are leased: all workers share the limit."""

    __slots__ = ("_looks", "_owner", "_sharing")

    def __init__(self, pool: Pool[C], most: int, places: Places, number: int, sharing: Sharing) -> None:
        """As `Slots`."""
        super().__init__(pool, most, places, number)
        self._sharing, self._looks = sharing, False
        self._owner = TaskOwner("slots")

    async def take(self, identity: tuple[object, ...]) -> C | None:
        """Take a slot, or wait for one, as in `Slots`.

        Raises:
            PoolFull: as in `Slots`, or counting is not possible now, and the configuration says to defer.
        """
        if self._take_now():
            if await self.lease():
                return None
            if not self._sharing.is_counted:
                raise self._full()
            self._pool.end_one_unused()
        return await self._wait(identity)

    async def lease(self) -> bool:
        """Lease a slot that was just taken here. If that fails, free it again."""
        if not self._looks:
            self._looks = True
            spawn(self._look(), name="look who wants a connection", owner=self._owner)
        asking = spawn(self._sharing.lease(), name="lease a connection", owner=self._owner)
        try:
            leased = await asyncio.shield(asking)
        except asyncio.CancelledError:
            asking.add_done_callback(self._not_waited_for)
            raise
        if not leased:
            self._sharing.want(len(self.waiting) + 1)
            super()._let_go()
        return leased

    def take_offered_place(self) -> bool:
        """Lease a slot for the longest waiter, because the worker has a place for it."""
        if self.taken >= self.most or not self.waiting:
            return False
        self.taken += 1
        spawn(self._lease_for_waiter(), name="lease an offered connection", owner=self._owner)
        return True

    def free(self) -> None:
        """Hand over a slot, unless others want it, or count one less."""
        if self.owes:
            self.owes = False
            self._let_go()
        else:
            super().free()

    async def close(self) -> None:
        """Look no more."""
        await self._owner.cancel()

    def _let_go(self) -> None:
        super()._let_go()
        self._sharing.give_back()

    def _not_waited_for(self, asking: asyncio.Task[bool]) -> None:
        if asking.cancelled() or not asking.result():
            super()._let_go()
        else:
            self.free()

    async def _lease_for_waiter(self) -> bool:
        leased = await self.lease()
        if leased:
            self.free()  # which hands it over
        return leased

    async def _look(self) -> None:
        """While there are slots or waiters here, take what others return, and return what they want."""
        try:
            while self.taken or self.waiting:
                await asyncio.sleep(LOOK_SECONDS)
                while self.waiting and self.take_free() and await self._lease_for_waiter():
                    pass
                wanted = await self._sharing.wanted() if self.taken else 0
                while wanted and self._pool.end_one_unused():
                    wanted -= 1
                self.owes = bool(wanted)
        finally:
            self._looks = False
