"""Limits password guessing: failures are counted before a password is hashed or the next hop is asked.

They are counted by client network, and by user and network together. They are never counted by user alone, because then
anyone could lock a user out. Each network gets one login check at a time, so a hundred parallel sessions learn no more
than one, and other networks do not wait for them. A network with a successful login within a day is exempt, because an
office behind one address has users who mistype.

If workers share limits, failures and logins count for all of them. A guess is counted before the password is judged and
taken back unless it was wrong, so parallel sessions of several workers get no more guesses than one.
"""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from hashlib import blake2b
from itertools import count

from cachetools import LRUCache

from proxy.base.log import get_logger, printable
from proxy.mail.session import Session
from proxy.metrics.book import BOOK
from proxy.metrics.metric import OTHER
from proxy.metrics.table import AUTHENTICATIONS, LIMIT_HITS, MECHANISM
from proxy.options.throttle import Buckets
from proxy.smtp.line import Line
from proxy.smtp.ports import Authenticator, Credentials, Verification
from proxy.smtp.shared import Rate, SharedLimits

log = get_logger()

EXEMPT_SECONDS = 86_400.0
"""How long a network is exempt after a login. Each login restarts the time."""

MOST_REMEMBERED = 65_536
"""Most counters, and most exempt networks, per worker. Those not seen for longest are forgotten."""

TURN_SECONDS = 60.0
"""Longest wait for a login's turn among the logins of its network."""

MOST_AT_ONCE = {"file": 2, "upstream": 20}
"""Logins checked at the same time, by method: a hash from a password file takes a core and 32 MiB."""


class Guesses:
    """An `Authenticator` that wraps another one. Its state is owned by the event loop's thread."""

    def __init__(
        self,
        authenticator: Authenticator,
        clock: Callable[[], float] = time.monotonic,
        shared: SharedLimits | None = None,
    ) -> None:
        """Wrap `authenticator`, without failures so far. With `shared`, they are counted there."""
        self._authenticator, self._clock, self._shared = authenticator, clock, shared
        self._failures = Buckets(clock, MOST_REMEMBERED)
        self._logged_in: LRUCache[str, float] = LRUCache(MOST_REMEMBERED)
        self._turns: dict[str, asyncio.Lock] = {}
        self._waiting: Counter[str] = Counter()
        self._lines = {judge: Line(places) for judge, places in MOST_AT_ONCE.items()}
        self._in_line: Counter[str] = Counter()
        self._numbers = count()

    def forgive(self, network: str) -> int:
        """Forget a network's failures in this process; return how many buckets it had."""
        if self._shared is not None:
            self._shared.hear_again(network)
        keys = {key for key, *_ in self._failures.states() if key.startswith(f"{network} ")}
        return self._failures.forget(keys)

    async def verify(self, session: Session, credentials: Credentials) -> Verification:
        """Verify credentials, unless the client has failed too often."""
        rate, network = session.options.authentication_failure_rate, session.client_network
        rates = (Rate("login", network, rate), Rate(f"login {_of_user(credentials.user, network)}", network, rate))
        try:
            if not rate.count or self._is_exempt(network):
                return await self._judged(session, credentials)
            async with self._turn(network):
                if not self._is_exempt(network):
                    counted = await self._counts(rates)
                    if counted is False:
                        return _limited(session, credentials)
                    if counted:
                        return await self._counted(session, credentials, rates)
            return await self._judged(session, credentials)
        except TimeoutError:
            return _limited(session, credentials)

    @asynccontextmanager
    async def guess(self, session: Session, mechanism: str) -> AsyncIterator[bool]:
        """Count a login that a module judges, by its network: it names no user before it is over.

        The token is taken first and given back unless the login fails, so parallel sessions get no more guesses.
        """
        rate, network = session.options.authentication_failure_rate, session.client_network
        before = session.failed_authentications
        rates = (Rate("login", network, rate),)
        counted = None if not rate.count or self._is_exempt(network) else await self._counts(rates)
        if counted is False:
            _note_limit(session, "", mechanism)
            yield False
            return
        try:
            yield True
        finally:
            if counted and session.failed_authentications == before:
                self._take_back(rates)
            if session.auth_user:
                self._noted(network, Verification.ACCEPTED)

    async def _counts(self, rates: tuple[Rate, ...]) -> bool | None:
        """Count a guess in advance: False if it is one too many, None if the network has logged in elsewhere."""
        taken = [each for each in rates if self._failures.take(_local(each), each.throttle)]
        if self._shared is not None:  # here they are counted as well, for the rank in the queue
            return await self._counts_together(self._shared, rates, taken)
        if len(taken) == len(rates):
            return True
        self._take_back_here(taken)
        return False

    async def _counts_together(self, shared: SharedLimits, rates: Sequence[Rate], taken: Sequence[Rate]) -> bool | None:
        network = rates[0].network
        logged_in, refused = await asyncio.gather(shared.has_logged_in(network), shared.enter(network, (), rates))
        if refused or logged_in:
            self._take_back_here(taken)
        if not logged_in:
            return not refused
        if not refused:
            shared.give_back(rates)
        self._logged_in[network] = self._clock()
        return None

    def _take_back(self, rates: Sequence[Rate]) -> None:
        self._take_back_here(rates)
        if self._shared is not None:
            self._shared.give_back(rates)

    def _take_back_here(self, rates: Sequence[Rate]) -> None:
        for each in rates:
            self._failures.take(_local(each), each.throttle, -1)

    async def _counted(self, session: Session, credentials: Credentials, rates: tuple[Rate, ...]) -> Verification:
        """Verify credentials. The guess stays counted if it is wrong, or if the client leaves before the reply."""
        found = Verification.REFUSED
        try:
            found = await self._judged(session, credentials)
        except TimeoutError:
            found = Verification.UNKNOWN
            raise
        finally:
            if found is not Verification.REFUSED:
                self._take_back(rates)
        return found

    async def _judged(self, session: Session, credentials: Credentials) -> Verification:
        """Verify credentials when it is their turn.

        A network's second login waits behind the first login of every other network. Then exempt networks come first,
        and networks with the most failures last. Among unknown networks, the newest comes first, so that it gets its
        reply soon while a crowd of guessers waits. So neither many guesses from one network nor guesses from many
        networks delay the others.
        """
        network, rate = session.client_network, session.options.authentication_failure_rate
        is_known, number = self._is_exempt(network), next(self._numbers)
        left = self._failures.left(f"{network} login", rate)
        rank = (self._in_line[network], not is_known, -left, number if is_known else -number)
        line = self._lines.get(session.options.authentication, self._lines["upstream"])
        self._in_line[network] += 1
        try:
            async with asyncio.timeout(TURN_SECONDS) as patience, line.place(rank):
                patience.reschedule(None)
                found = await self._authenticator.verify(session, credentials)
        finally:
            self._in_line[network] -= 1
            if not self._in_line[network]:
                del self._in_line[network]
        return self._noted(network, found)

    def _is_exempt(self, network: str) -> bool:
        return self._clock() - self._logged_in.get(network, -EXEMPT_SECONDS) < EXEMPT_SECONDS

    def _noted(self, network: str, found: Verification) -> Verification:
        if found is Verification.ACCEPTED:
            self._logged_in[network] = self._clock()
            if self._shared is not None:
                self._shared.note_login(network, EXEMPT_SECONDS)
        return found

    @asynccontextmanager
    async def _turn(self, network: str) -> AsyncIterator[None]:
        """Wait until no other login of the network is being checked.

        Raises:
            TimeoutError: the turn did not come within TURN_SECONDS.
        """
        lock = self._turns.setdefault(network, asyncio.Lock())
        self._waiting[network] += 1
        try:
            async with asyncio.timeout(TURN_SECONDS):
                await lock.acquire()
            try:
                yield
            finally:
                lock.release()
        finally:
            self._waiting[network] -= 1
            if not self._waiting[network]:
                del self._waiting[network], self._turns[network]


def _limited(session: Session, credentials: Credentials) -> Verification:
    _note_limit(session, credentials.user, credentials.mechanism)
    return Verification.UNKNOWN


def _note_limit(session: Session, user: str, mechanism: str) -> None:
    session.failed_authentications += 1  # end the session as after wrong passwords
    BOOK.counts[LIMIT_HITS.at("authentication_failure_rate")] += 1
    BOOK.counts[AUTHENTICATIONS.at(mechanism if mechanism in MECHANISM.values else OTHER, "limited")] += 1
    log.info(
        "authentication_limited",
        session=session.id,
        client=session.client_ip,
        user=printable(user, 64),
        mechanism=mechanism,
    )


def _local(rate: Rate) -> str:
    """Return the key of a bucket in this process."""
    return f"{rate.network} {rate.what}"


def _of_user(user: str, network: str) -> str:
    """Return a user's name in a key: it has a fixed size, however long the name is."""
    return blake2b(f"{network} {user}".encode(), digest_size=16).hexdigest()
