"""What several workers let a client do together: connections, rates, guesses. Each test has two workers."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from proxy.counting.operations import Lease, Take
from proxy.mail.session import Session
from proxy.options.throttle import Throttle
from proxy.smtp import shared as subject
from proxy.smtp.guesses import EXEMPT_SECONDS, Guesses
from proxy.smtp.ports import Credentials, Verification
from proxy.smtp.shared import Claim, Rate, SharedLimits
from tests.support.conversation import Conversation
from tests.support.counted import Apart
from tests.support.exchanger import Exchanger
from tests.support.waiting import eventually
from tests.support.worker import BOB, LETTER, WorkerStage, core, serving

SESSIONS = "421 4.7.0 Too many sessions, try again later"
CONNECTIONS = "421 4.7.0 Too many connections, try again later"
MAIL = "450 4.7.1 Too much mail, try again later"
FAILURE = "451 4.3.0 Temporary failure, try again later"
HERE = "max_connections_per_client 127.0.0.1"
RIGHT, WRONG, UNSURE = Verification.ACCEPTED, Verification.REFUSED, Verification.UNKNOWN


class Clock:
    now = 1000.0

    def __call__(self) -> float:
        return self.now


@asynccontextmanager
async def two(counting: Apart, **options: object) -> AsyncIterator[tuple[WorkerStage, WorkerStage]]:
    """Two workers that count together."""
    async with (
        Exchanger() as upstream,
        serving(upstream, **options) as first,
        serving(upstream, **options) as second,
    ):
        for each in (first, second):
            each.worker.front.shared = SharedLimits(counting)
        yield first, second


def forgets(stage: WorkerStage) -> None:
    """Have a worker forget whom it has refused within this second."""
    assert stage.worker.front.shared is not None
    stage.worker.front.shared._refused.clear()


async def greetings(*stages: WorkerStage, count: int) -> list[str]:
    opened = [await stages[number % len(stages)].conversation() for number in range(count)]
    return [client.banner for client in opened]


# ---------------------------------------------------------------- connections


async def test_two_workers_let_in_as_many_connections_of_a_client_as_one_would() -> None:
    counting = Apart()
    async with two(counting, max_connections_per_client=10) as stages:
        banners = await greetings(*stages, count=14)
        assert [banner[:3] for banner in banners] == ["220"] * 10 + ["421"] * 4
        assert banners[-1] == SESSIONS
        assert counting.places(HERE) == 10


async def test_a_connection_that_ends_at_one_worker_makes_room_at_the_other() -> None:
    counting = Apart()
    async with two(counting, max_connections_per_client=1) as (first, second):
        client = await first.conversation()
        assert (await second.conversation()).banner == SESSIONS
        await client.quit()
        await eventually(lambda: not counting.places(HERE), "it is given back")
        forgets(second)
        assert (await second.conversation()).banner.startswith("220 ")


@pytest.mark.parametrize("option", ["listener_sessions", "service_sessions"])
async def test_sessions_of_an_address_and_of_the_service_are_counted_together(option: str) -> None:
    counting = Apart()
    async with two(counting, **{option: 3}) as stages:
        for each in stages:  # as if both listened on the same address
            for entrance in each.worker.entrances.values():
                entrance._listener = next(iter(stages[0].worker.entrances.values()))._listener
        banners = await greetings(*stages, count=5)
    assert [banner[:3] for banner in banners] == ["220"] * 3 + ["421"] * 2


async def test_relay_hosts_are_not_counted_and_nobody_is_asked() -> None:
    counting = Apart()
    async with two(counting, max_connections_per_client=1, relay_hosts="127.0.0.0/8") as stages:
        banners = await greetings(*stages, count=6)
    assert {banner[:3] for banner in banners} == {"220"}
    assert not counting.asked


async def test_without_a_limit_nobody_is_asked() -> None:
    counting = Apart()
    async with two(counting) as stages:
        client = await stages[0].greeted()
        assert (await client.deliver("", [BOB], LETTER)).startswith("250 ")
    assert not counting.asked


async def test_what_connecting_asks_travels_together() -> None:
    counting = Apart()
    options = {"max_connections_per_client": 9, "service_sessions": 9, "listener_sessions": 9}
    async with two(counting, **options, connection_rate_per_client='"9/60"') as (first, _):
        await first.conversation()
    assert [type(each) for each in counting.asked] == [Lease, Take]
    assert len(counting.turns) == 1


async def test_a_client_that_leaves_while_it_is_counted_keeps_no_place() -> None:
    counting = Apart()
    async with two(counting, max_connections_per_client=5, connection_rate_per_client='"5/3600"') as (first, _):
        counting.may_answer.clear()
        client = await first.connection()
        await eventually(lambda: counting.asked, "it is asked about")
        client.abort()
        await first.ended()
        counting.may_answer.set()
        await eventually(lambda: not counting.places(HERE), "its place is given back")
        assert counting.truth.ask(Take("limits", b"127.0.0.1 connection", 5, 3600, 5)).allowed


async def test_a_client_that_a_proxy_names_is_counted_instead_of_the_proxy() -> None:
    counting = Apart()
    async with two(counting, max_connections_per_client=1, xclient_hosts="127.0.0.0/8") as (first, second):
        client = await first.greeted()
        assert counting.places(HERE) == 1
        assert (await client.ask("XCLIENT ADDR=192.0.2.7")).startswith("220 ")
        assert (counting.places(HERE), counting.places("max_connections_per_client 192.0.2.7")) == (0, 1)
        other = await second.greeted()
        assert await other.ask("XCLIENT ADDR=192.0.2.7") == SESSIONS
        await client.quit()
        await eventually(lambda: not counting.places("max_connections_per_client 192.0.2.7"), "it has left")


# ---------------------------------------------------------------- rates


async def test_a_refused_client_is_refused_for_a_second_without_asking() -> None:
    counting, clock = Apart(), Clock()
    async with two(counting, connection_rate_per_client='"1/3600"') as (first, _):
        first.worker.front.shared = SharedLimits(counting, clock)
        banners = await greetings(first, count=5)
        assert [banner[:3] for banner in banners] == ["220"] + ["421"] * 4
        assert banners[-1] == CONNECTIONS
        assert len(counting.asked) == 2
        clock.now += subject.REFUSED_SECONDS
        await greetings(first, count=2)
        assert len(counting.asked) == 3


async def test_a_refusal_in_one_limit_is_none_in_another() -> None:
    counting = Apart()
    async with two(counting, message_rate_per_client='"1/3600"', connection_rate_per_client='"9/60"') as (first, _):
        client = await first.greeted()
        assert await _mails(client) == ["250", "450"]
        assert (await first.conversation()).banner.startswith("220 ")


async def test_messages_and_recipients_are_counted_together() -> None:
    counting = Apart()
    async with two(counting, message_rate_per_client='"3/3600"', recipient_rate_per_client='"2/3600"') as stages:
        first, second = [await stage.greeted() for stage in stages]
        assert (await first.ask("MAIL FROM:<>")).startswith("250 ")
        assert (await second.ask("MAIL FROM:<>")).startswith("250 ")
        for client in (first, second):
            assert (await client.ask(f"RCPT TO:<{BOB}>")).startswith("250 ")
        assert await first.ask(f"RCPT TO:<{BOB}>") == MAIL
        await second.ask("RSET")
        assert (await second.ask("MAIL FROM:<>")).startswith("250 ")
        await first.ask("RSET")
        assert await first.ask("MAIL FROM:<>") == MAIL
    assert len(counting.turns) == len(counting.asked) == 7


async def test_pipelined_commands_wait_for_the_count_and_keep_their_order() -> None:
    counting = Apart()
    async with two(counting, message_rate_per_client='"9/3600"', recipient_rate_per_client='"2/3600"') as (first, _):
        client = await first.greeted()
        await client.send_raw(b"MAIL FROM:<>\r\n" + b"RCPT TO:<%b>\r\n" % BOB.encode() * 3 + b"NOOP\r\n")
        replies = [await client.reply() for _ in range(5)]
    assert [reply[:3] for reply in replies] == ["250", "250", "250", "450", "250"]


async def _mails(client: Conversation) -> list[str]:
    replies = []
    for _ in range(2):
        replies.append((await client.ask("MAIL FROM:<>"))[:3])
        await client.ask("RSET")
    return replies


# ---------------------------------------------------------------- all or nothing


async def test_a_full_limit_takes_nothing_from_the_others() -> None:
    counting = Apart()
    limits = SharedLimits(counting)
    rate = Rate("connection", "192.0.2.1", Throttle(1, 3600))
    assert not await limits.enter("a", [Claim("service_sessions", "", 1)], [])
    assert await limits.enter("b", [Claim("service_sessions", "", 1)], [rate]) == "service_sessions"
    assert not await limits.enter("c", [], [rate])
    assert await limits.enter("d", [Claim("service_sessions", "", 2)], [rate]) == "connection"
    assert counting.places("service_sessions ") == 1


async def test_who_looks_at_a_rate_changes_nothing() -> None:
    counting = Apart()
    limits, rate = SharedLimits(counting), Rate("message", "192.0.2.1", Throttle(3, 3600))
    assert await limits.left(rate) == 3
    assert await limits.rates_of("192.0.2.1") == []
    assert not await limits.count(rate)
    assert round(await limits.left(rate), 2) == 2
    assert [what for what, *_ in await limits.rates_of("192.0.2.1")] == ["message"]
    assert await limits.forgive("192.0.2.1") == 1
    assert await limits.left(rate) == 3


async def test_if_nobody_can_count_the_client_comes_again() -> None:
    counting = Apart()
    options = {"max_connections_per_client": 9, "message_rate_per_client": '"9/60"'}
    async with two(counting, **options, recipient_rate_per_client='"9/60"') as (first, _):
        client = await first.greeted()
        counting.down = True
        assert await client.ask("MAIL FROM:<>") == FAILURE
        assert (await first.conversation()).banner == "421 4.3.0 Temporary failure, try again later"
        counting.down = False
        assert (await client.ask("MAIL FROM:<>")).startswith("250 ")


# ---------------------------------------------------------------- guesses


class Judge:
    """Accepts the password `right`, and gives no answer before `may` is set."""

    def __init__(self) -> None:
        self.asked = 0
        self.clients: list[str] = []
        self.may = asyncio.Event()
        self.may.set()

    async def verify(self, session: Session, credentials: Credentials) -> Verification:
        self.asked += 1
        self.clients.append(session.client_ip)
        await self.may.wait()
        return RIGHT if credentials.password == "right" else WRONG


class House:
    """Two workers that judge logins."""

    def __init__(self) -> None:
        self.counting, self.judge = Apart(), Judge()
        self.doors = [Guesses(self.judge, shared=SharedLimits(self.counting)) for _ in range(2)]
        self._options = core().model_copy(update={"authentication_failure_rate": Throttle(10, 600)})

    def session(self, address: str = "192.0.2.1") -> Session:
        return Session(asyncio.get_running_loop(), (address, 1), ("192.0.2.2", 25), self._options)

    async def says(self, door: int, password: str, user: str = "alice", address: str = "192.0.2.1") -> Verification:
        return await self.doors[door].verify(self.session(address), Credentials("PLAIN", user, password))


async def test_two_workers_judge_ten_wrong_passwords_together() -> None:
    house = House()
    assert [await house.says(number % 2, "wrong", f"user{number}") for number in range(10)] == [WRONG] * 10
    assert [await house.says(door, "right") for door in (0, 1)] == [UNSURE] * 2
    assert house.judge.asked == 10


async def test_parallel_guesses_at_two_workers_are_no_more_than_ten() -> None:
    house = House()
    house.judge.may.clear()
    async with asyncio.TaskGroup() as group:
        tasks = [group.create_task(house.says(number % 2, "wrong")) for number in range(40)]
        await asyncio.sleep(0)
        house.judge.may.set()
    assert sum(task.result() is WRONG for task in tasks) == house.judge.asked == 10


async def test_a_right_password_costs_no_guess_and_exempts_the_network_at_both_workers() -> None:
    house = House()
    for number in range(9):
        await house.says(number % 2, "wrong")
    assert await house.says(0, "right") is RIGHT
    assert [await house.says(1, "wrong") for _ in range(20)] == [WRONG] * 20
    assert EXEMPT_SECONDS == 86_400
    left = house.counting.truth.ask(Take("limits", b"192.0.2.1 login", 10, 600, 0)).left
    assert round(left, 2) == 1


async def test_a_login_that_a_module_judges_is_counted_with_the_others() -> None:
    house = House()
    for number in range(10):
        session = house.session()
        async with house.doors[number % 2].guess(session, "TOKEN") as allowed:
            assert allowed
            session.failed_authentications += 1
    async with house.doors[0].guess(house.session(), "TOKEN") as allowed:
        assert not allowed
    assert await house.says(1, "right") is UNSURE


async def test_a_module_that_takes_a_login_gives_the_guess_back() -> None:
    house = House()
    for number in range(30):
        async with house.doors[number % 2].guess(house.session(), "TOKEN") as allowed:
            assert allowed


async def test_a_network_that_has_guessed_wrong_waits_behind_one_that_has_not() -> None:
    house = House()
    for _ in range(5):
        await house.says(0, "wrong")
    house.judge.clients.clear()
    house.judge.may.clear()
    for line in house.doors[0]._lines.values():
        line._free = 1
    async with asyncio.TaskGroup() as group:
        for address in ("198.51.100.9", "203.0.113.5", "192.0.2.1"):
            group.create_task(house.says(0, "wrong", address=address))
            for _ in range(5):
                await asyncio.sleep(0)
        house.judge.may.set()
    assert house.judge.clients == ["198.51.100.9", "203.0.113.5", "192.0.2.1"]


async def test_if_nobody_can_count_no_password_is_judged() -> None:
    house = House()
    house.counting.down = True
    assert await house.says(0, "right") is UNSURE
    assert not house.judge.asked


# ---------------------------------------------------------------- whatever happens


@settings(max_examples=60, deadline=None)
@given(
    st.lists(
        st.tuples(st.sampled_from(["enter", "leave", "stop", "wait"]), st.integers(0, 1), st.integers(0, 3)),
        max_size=60,
    )
)
def test_whatever_clients_do_no_limit_is_exceeded_and_nothing_is_left_or_negative(
    steps: list[tuple[str, int, int]],
) -> None:
    asyncio.run(_walked(steps))


class _Walk:
    """Clients that enter, leave, and stop waiting at two workers."""

    def __init__(self) -> None:
        self.counting, self.clock = Apart(), Clock()
        self.workers = [SharedLimits(self.counting, self.clock) for _ in range(2)]
        self.inside: list[tuple[SharedLimits, list[Claim]]] = []
        self.asking: list[tuple[SharedLimits, list[Claim], asyncio.Task[str]]] = []

    def enter(self, worker: int, client: int) -> None:
        limits, claims = self.workers[worker], [Claim("c", str(client), 2), Claim("s", "", 5)]
        asked = limits.enter("x", claims, [Rate("connection", str(client), Throttle(9, 3600))])
        self.asking.append((limits, claims, asyncio.get_running_loop().create_task(asked)))

    def stop(self, _worker: int, _client: int) -> None:
        if self.asking:
            self.asking.pop()[2].cancel()

    def leave(self, _worker: int, client: int) -> None:
        if self.inside:
            limits, claims = self.inside.pop(client % len(self.inside))
            limits.leave(claims)

    def wait(self, _worker: int, _client: int) -> None:
        """The next step comes in a later turn."""

    def look(self) -> None:
        """Take those in that have their answer; see that no limit is exceeded."""
        for each in [each for each in self.asking if each[2].done()]:
            self.asking.remove(each)
            if not each[2].result():
                self.inside.append(each[:2])
        places = [self.counting.places(f"c {number}") for number in range(4)]
        assert all(0 <= each <= 2 for each in places)
        assert sum(places) == self.counting.places("s ") <= 5

    async def end(self) -> None:
        for _ in range(5):
            await asyncio.sleep(0)  # those who stopped waiting give back what they were granted
        self.look()
        assert (self.asking, self.counting.places("s ")) == ([], len(self.inside))
        while self.inside:
            self.leave(0, 0)
        assert self.counting.places("s ") == 0


async def _walked(steps: list[tuple[str, int, int]]) -> None:
    walk = _Walk()
    for what, worker, client in steps:
        walk.clock.now += 0.4
        getattr(walk, what)(worker, client)
        if what in {"wait", "leave"}:
            await asyncio.sleep(0)
        walk.look()
    await walk.end()
