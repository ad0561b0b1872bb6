"""Delivers letters: to the next hop of the recipient's domain, with retries until it accepts them.

A delivery ends when the next hop says 250, refuses permanently, or the letter is too old. In the last two cases, the
letter's sender gets a report; if the sender is null, the failure is only logged. If the process is killed at the wrong
moment, the letter is delivered again: at least once.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from functools import partial

from proxy.base.log import get_logger, printable
from proxy.base.tasks import TaskOwner, spawn
from proxy.mail import replies
from proxy.mail.address import BadParameter, BadPath, path_of
from proxy.mail.message import Message
from proxy.mail.replies import Reply
from proxy.mail.session import NULL_PATH, Letter, Path
from proxy.options.outbound import OutboundOptions
from proxy.outbox.circles import traced
from proxy.outbox.file import Delivery
from proxy.outbox.marks import FIELD, marks_of
from proxy.outbox.reports import Failure, Occasion, report
from proxy.outbox.store import LEASE_SECONDS, OutboxStore
from proxy.outbox.transaction import deliver
from proxy.smtp.ports import OutboxUnavailable
from proxy.upstream.pool import ConnectionPool
from proxy.upstream.pools import Pools
from proxy.upstream.routes import Router
from proxy.upstream.upstream import Upstream
from proxy.upstream.verdicts import TROUBLE, Asked, heard_of, is_about_mail

log = get_logger()

PLACES_PER_ROUTE = 5
"""Concurrent deliveries of one worker to one next hop, so that clients still find places in its pool.

There is no limit over all routes: a hanging next hop would use it up and delay the others. The configuration bounds the
number of routes.
"""

MOST_CLAIMED = 100
"""Deliveries that start in one round."""

LOOK_SECONDS = 60.0
"""How often to check for other processes' letters; our own are known at once."""

STOP_SECONDS = 5.0
"""For running deliveries when the worker ends; another worker repeats those that are cut off."""

_GIVEN_UP = replies.reply(550, "5.7.0", "The operator removed the message from the queue")
_NO_ANSWER = replies.reply(451, "4.4.7", "Delivery attempt timed out")


@dataclass(frozen=True, slots=True)
class _Parcel:
    """Everything that one delivery needs."""

    delivery: Delivery
    sender: Path
    recipient: Path
    content: bytes


class _Places:
    """How many deliveries of each route may start in one round. Only the outbox's thread uses it."""

    def __init__(self, router: Router, under_way: Mapping[Upstream, int]) -> None:
        self._router, self._taken = router, Counter(under_way)

    def has_place(self, recipient: bytes) -> bool:
        """Take a place on the recipient's route, if one is free."""
        route = self._router.of_domain(_path(recipient).domain)
        if self._taken[route] >= PLACES_PER_ROUTE:
            return False
        self._taken[route] += 1
        return True


class Deliverer:
    """A worker's task that delivers what is in the outbox. It owns the deliveries that it leased."""

    def __init__(self, store: OutboxStore, router: Router, pools: Pools, hostname: str) -> None:
        """Deliver over the worker's pools; `hostname` appears in reports."""
        self._store, self._router, self._pools, self._hostname = store, router, pools, hostname
        self._owner = TaskOwner("outbox")
        self._deliveries = TaskOwner("outbox deliveries")
        self._under_way: Counter[Upstream] = Counter()
        """Running deliveries by route."""
        self._woken = asyncio.Event()

    def turn_to(self, router: Router) -> None:
        """Find routes by another configuration."""
        self._router = router

    def start(self) -> None:
        """Start the task, unless it runs already."""
        if not len(self._owner):
            spawn(self._run(), name="outbox", owner=self._owner)

    def wake(self) -> None:
        """Check now: a letter is due."""
        self.start()
        self._woken.set()

    async def stop(self) -> None:
        """Start no further deliveries, and let running ones finish."""
        await self._owner.cancel()
        await self._deliveries.wait(STOP_SECONDS)
        await self._deliveries.cancel()

    async def fail(self, letter: int) -> int:
        """Give a letter up as if the next hop had refused it, with a report to its sender; return for how many."""
        taken = await self._store.take(letter)
        for delivery in taken:
            content = await self._store.content(delivery.letter)
            parcel = _Parcel(delivery, _path(delivery.sender), _path(delivery.recipient), content)
            await self._store.finish(delivery, await self._report(parcel, _GIVEN_UP))
            log.warning(
                "outbox_failed",
                letter=delivery.letter,
                purpose=delivery.purpose,
                origin=delivery.origin,
                recipient=printable(parcel.recipient.text),
                upstream=self._router.of_domain(parcel.recipient.domain).name,
                reply=f"{_GIVEN_UP.code} {_GIVEN_UP.text}",
                reported=bool(parcel.sender.raw),
            )
        if taken:
            self.wake()
        return len(taken)

    async def _run(self) -> None:
        while True:
            self._woken.clear()
            try:
                seconds = await self._round()
            except OutboxUnavailable:  # already logged
                seconds = LOOK_SECONDS
            with suppress(TimeoutError):
                async with asyncio.timeout(seconds):
                    await self._woken.wait()

    async def _round(self) -> float:
        """Start the deliveries that are due; return the seconds until the next check."""
        now = self._store.clock()
        places = _Places(self._router, self._under_way)
        claimed = await self._store.claim(MOST_CLAIMED, places.has_place)
        for delivery in claimed:
            route = self._route_of(delivery.recipient)
            self._under_way[route] += 1
            task = spawn(self._deliver(delivery), name=f"delivery {delivery.id}", owner=self._deliveries)
            task.add_done_callback(partial(self._ended, route))
        if len(claimed) == MOST_CLAIMED:
            return 0.0
        due = await self._store.next_due(now)  # a due delivery without a place starts when one is free
        return LOOK_SECONDS if due is None else min(max(due - self._store.clock(), 1.0), LOOK_SECONDS)

    def _route_of(self, recipient: bytes) -> Upstream:
        return self._router.of_domain(_path(recipient).domain)

    def _ended(self, route: Upstream, _: asyncio.Task[None]) -> None:
        self._under_way[route] -= 1
        if not self._under_way[route]:
            del self._under_way[route]
        self._woken.set()

    async def _deliver(self, delivery: Delivery) -> None:
        try:
            content = await self._store.content(delivery.letter)
            parcel = _Parcel(delivery, _path(delivery.sender), _path(delivery.recipient), content)
            pool = self._pools.of(self._router.of_domain(parcel.recipient.domain))
            await self._judge(parcel, await self._attempt(pool, parcel), pool)
        except OutboxUnavailable:  # already logged; the lease ends, and the letter is delivered again
            return

    async def _attempt(self, pool: ConnectionPool, parcel: _Parcel) -> Reply:
        """Deliver once; return the next hop's verdict, or 451 for any failure on the way."""
        try:
            async with asyncio.timeout(LEASE_SECONDS / 2):
                return await deliver(pool, parcel.sender, parcel.recipient, parcel.content)
        except TROUBLE as trouble:
            return heard_of(trouble)
        except TimeoutError:
            return _NO_ANSWER

    async def _judge(self, parcel: _Parcel, answer: Reply, pool: ConnectionPool) -> None:
        """Remove the delivery, postpone it, or fail it with a report."""
        delivery, age = parcel.delivery, self._store.clock() - parcel.delivery.created
        about = {
            "letter": delivery.letter,
            "purpose": delivery.purpose,
            "origin": delivery.origin,
            "recipient": printable(parcel.recipient.text),
            "upstream": pool.name,
            "reply": printable(f"{answer.code} {answer.text}"),
        }
        asked = Asked(pool.standing, (parcel.sender, parcel.recipient))
        if answer.accepted:
            await self._store.finish(delivery)
            log.info("outbox_delivered", **about)
        elif (answer.permanent and is_about_mail(answer, asked)) or age >= pool.policy.message_expiration:
            await self._store.finish(delivery, await self._report(parcel, answer))
            log.warning("outbox_failed", reported=bool(parcel.sender.raw), **about)
        else:
            seconds = pause(delivery.attempts, pool.policy)
            await self._store.postpone(delivery, seconds)
            log.warning("outbox_deferred", seconds=round(seconds), **about)

    async def _report(self, parcel: _Parcel, answer: Reply) -> Letter | None:
        """Return the report for the letter's sender; None if the sender is null."""
        if not parcel.sender.raw:
            return None
        status = "" if answer.permanent else "4.4.7"  # RFC 3463 section 3.5: delivery time expired
        occasion = Occasion(parcel.sender, self._hostname, self._store.clock(), parcel.delivery.created, {})
        head = parcel.content.partition(b"\r\n\r\n")[0] + b"\r\n"
        told = report(occasion, [Failure(parcel.recipient, answer, {}, status)], head, whole=False)
        key, before, origin = await self._store.key(), marks_of(Message(head).header(FIELD)), parcel.delivery.origin
        return traced(told, key, before, hostname=self._hostname, origin=origin, now=self._store.clock())


def pause(attempts: int, policy: OutboundOptions) -> float:
    """Return the seconds until the next try, after `attempts` earlier tries."""
    # The exponent is bounded: a float overflows at 1024.
    return float(min(policy.retry_interval * 2 ** min(attempts, 64), policy.max_retry_interval))


def _path(raw: bytes) -> Path:
    """Return the path for stored bytes, which are sent upstream unchanged."""
    if not raw:
        return NULL_PATH
    try:
        path = path_of(raw.decode("utf-8", "surrogateescape"))
        return Path(raw, path.local_part, path.domain)
    except (BadPath, BadParameter):  # stored by a release that accepted it
        return Path(raw, raw.decode("utf-8", "surrogateescape"), "")
