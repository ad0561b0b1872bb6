"""How often a client may guess a password: what failures count against, for how long, and that no more are hashed."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from structlog.testing import capture_logs

from proxy.mail.session import Session
from proxy.options.throttle import Throttle
from proxy.smtp import guesses as subject
from proxy.smtp.guesses import EXEMPT_SECONDS, Guesses
from proxy.smtp.passwords import PasswordHash
from proxy.smtp.ports import Credentials, Verification
from tests.proxy.smtp.test_authentication import hashed_cheaply, plain
from tests.support.waiting import eventually
from tests.support.worker import WorkerStage, core, serving

RATE = Throttle(10, 600)
RIGHT, WRONG, UNSURE = Verification.ACCEPTED, Verification.REFUSED, Verification.UNKNOWN
TRY_AGAIN = "454 4.7.0 Temporary authentication failure, try again later"
REFUSED = "535 5.7.8 Authentication credentials invalid"
ACCEPTED = "235 2.7.0 Authentication successful"


class Clock:
    now = 1000.0

    def __call__(self) -> float:
        return self.now


class Judge:
    """Takes the password `right`, and does not know about `unsure`."""

    def __init__(self) -> None:
        self.asked: list[str] = []
        self.at_once = self.most_at_once = 0

    async def verify(self, session: Session, credentials: Credentials) -> Verification:
        self.asked.append(f"{credentials.user} {session.client_ip}")
        self.at_once += 1
        self.most_at_once = max(self.at_once, self.most_at_once)
        await asyncio.sleep(0)
        self.at_once -= 1
        return {"right": RIGHT, "unsure": UNSURE}.get(credentials.password, WRONG)


class House:
    def __init__(self, rate: Throttle = RATE) -> None:
        self.clock, self.judge = Clock(), Judge()
        self.guesses = Guesses(self.judge, self.clock)
        self._options = core().model_copy(update={"authentication_failure_rate": rate})

    def session(self, address: str) -> Session:
        return Session(asyncio.get_running_loop(), (address, 1), ("192.0.2.2", 25), self._options)

    async def says(self, password: str, user: str = "alice", address: str = "192.0.2.1") -> Verification:
        return await self.guesses.verify(self.session(address), Credentials("PLAIN", user, password))


async def test_ten_wrong_passwords_are_judged_and_the_next_is_not() -> None:
    house = House()
    assert [await house.says("wrong") for _ in range(10)] == [WRONG] * 10
    assert await house.says("wrong") is UNSURE
    assert len(house.judge.asked) == 10


async def test_beyond_the_rate_the_right_password_is_not_judged_either() -> None:
    house = House()
    for _ in range(10):
        await house.says("wrong")
    assert await house.says("right") is UNSURE
    assert len(house.judge.asked) == 10


async def test_a_failure_counts_against_the_network_whoever_the_user() -> None:
    house = House()
    for number in range(10):
        await house.says("wrong", f"user{number}")
    assert await house.says("right", "bob") is UNSURE


async def test_a_failure_never_counts_against_the_user_elsewhere() -> None:
    house = House()
    for number in range(100):
        await house.says("wrong", address=f"198.51.100.{number}")
    for _ in range(10):
        await house.says("wrong", address="203.0.113.1")
    assert await house.says("right") is RIGHT


async def test_the_addresses_of_one_ipv6_network_count_together() -> None:
    house = House()
    for number in range(10):
        await house.says("wrong", address=f"2001:db8::{number:x}")
    assert await house.says("right", address="2001:db8::ffff") is UNSURE
    assert await house.says("right", address="2001:db8:0:1::1") is RIGHT


async def test_a_client_that_leaves_before_it_is_judged_has_failed() -> None:
    house = House()
    for _ in range(10):
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0):
                await house.says("wrong")
    assert await house.says("wrong") is UNSURE
    assert house.judge.asked == ["alice 192.0.2.1"] * 10


class Slow(Judge):
    """Gives no answer before `may` is set."""

    def __init__(self) -> None:
        super().__init__()
        self.may = asyncio.Event()

    async def verify(self, session: Session, credentials: Credentials) -> Verification:
        await self.may.wait()
        return await super().verify(session, credentials)


async def _order(house: House, first: list[str], then: list[str]) -> list[str]:
    """Return in which order logins are judged that came in this one."""
    house.judge = Slow()
    house.guesses._authenticator = house.judge
    for line in house.guesses._lines.values():
        line._free = 1
    async with asyncio.TaskGroup() as group:
        for address in (*first, *then):
            group.create_task(house.says("wrong", address=address))
            await asyncio.sleep(0)
            await asyncio.sleep(0)
        house.judge.may.set()
    return [each.partition(" ")[2] for each in house.judge.asked]


async def test_guesses_of_an_exempt_network_hold_up_nobody_else() -> None:
    house = House()
    assert await house.says("right", address="192.0.2.7") is RIGHT
    judged = await _order(house, ["192.0.2.7"] * 60, ["198.51.100.1"])
    assert judged.index("198.51.100.1") <= 2


async def test_a_network_that_logged_in_comes_before_networks_of_guessers() -> None:
    house = House()
    assert await house.says("right", address="192.0.2.7") is RIGHT
    judged = await _order(house, [f"203.0.113.{each}" for each in range(30)], ["192.0.2.7"])
    assert judged.index("192.0.2.7") == 1


async def test_a_new_network_waits_for_no_crowd_of_new_networks() -> None:
    house = House()
    judged = await _order(house, [f"203.0.113.{each}" for each in range(30)], ["192.0.2.7"])
    assert judged.index("192.0.2.7") == 1


async def test_networks_that_failed_come_after_those_that_did_not() -> None:
    house = House()
    guessers = [f"203.0.113.{each}" for each in range(30)]
    for address in guessers:
        await house.says("wrong", address=address)
    judged = await _order(house, guessers, ["192.0.2.7"])
    assert judged.index("192.0.2.7") == 1


async def test_failures_are_forgotten_at_the_rate() -> None:
    house = House()
    for _ in range(10):
        await house.says("wrong")
    house.clock.now += 59.0
    assert await house.says("right") is UNSURE
    house.clock.now += 1.0
    assert await house.says("wrong") is WRONG
    assert await house.says("right") is UNSURE
    house.clock.now += 600.0
    assert await house.says("right") is RIGHT


async def test_only_wrong_passwords_count() -> None:
    house = House(Throttle(1, 600))
    assert [await house.says("unsure") for _ in range(5)] == [UNSURE] * 5
    assert len(house.judge.asked) == 5
    assert await house.says("right") is RIGHT


async def test_a_network_that_logged_in_within_a_day_is_exempt() -> None:
    house = House()
    assert await house.says("right") is RIGHT
    house.clock.now += EXEMPT_SECONDS - 1
    assert [await house.says("wrong", "bob") for _ in range(30)] == [WRONG] * 30
    assert await house.says("right", "bob") is RIGHT


async def test_after_a_day_it_is_no_longer_exempt() -> None:
    house = House(Throttle(1, 600))
    await house.says("right")
    house.clock.now += EXEMPT_SECONDS
    assert await house.says("wrong") is WRONG
    assert await house.says("right") is UNSURE


async def test_another_network_is_not_exempt_by_it() -> None:
    house = House(Throttle(1, 600))
    await house.says("right")
    await house.says("wrong", address="192.0.2.9")
    assert await house.says("right", address="192.0.2.9") is UNSURE


async def test_0_is_no_limit() -> None:
    house = House(Throttle(0, 1))
    assert [await house.says("wrong") for _ in range(50)] == [WRONG] * 50


async def test_a_hundred_sessions_at_once_learn_no_more_than_one() -> None:
    house = House()
    found = await asyncio.gather(*(house.says("wrong") for _ in range(100)))
    assert (found.count(WRONG), found.count(UNSURE), house.judge.most_at_once) == (10, 90, 1)


async def test_networks_do_not_wait_for_each_other() -> None:
    house = House()
    await asyncio.gather(*(house.says("wrong", address=f"192.0.2.{number}") for number in range(5)))
    assert house.judge.most_at_once == 5


async def test_those_who_wait_are_let_in_together_once_one_of_them_has_logged_in() -> None:
    house = House(Throttle(1, 600))
    assert await asyncio.gather(*(house.says("right", f"user{number}") for number in range(20))) == [RIGHT] * 20
    assert house.judge.most_at_once > 1


async def test_what_strangers_say_takes_bounded_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(subject, "MOST_REMEMBERED", 100)
    house = House()
    for number in range(1000):
        await house.says("wrong", "u" * 2000 + str(number), f"2001:db8:{number:x}::1")
    state = house.guesses._failures._state
    assert len(state) <= 100
    assert max(len(key) for key, _ in state) < 64
    assert not house.guesses._turns
    assert not house.guesses._waiting


async def test_a_login_given_up_while_it_waits_leaves_nothing_behind() -> None:
    house = House()
    first, second = (asyncio.get_running_loop().create_task(house.says("wrong")) for _ in range(2))
    await asyncio.sleep(0)
    second.cancel()
    assert await first is WRONG
    with pytest.raises(asyncio.CancelledError):
        await second
    assert not house.guesses._turns


async def test_a_limited_login_is_logged_without_its_password() -> None:
    house = House(Throttle(1, 600))
    await house.says("wrong")
    with capture_logs() as log:
        await house.says("secret")
    (line,) = log
    assert (line["event"], line["client"], line["user"]) == ("authentication_limited", "192.0.2.1", "alice")
    assert "secret" not in str(log)


# ---------------------------------------------------------------- through the server


@pytest.fixture
def hashings(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Return the names of the threads that hashed."""
    seen: list[str] = []
    real = PasswordHash.matches

    def matches(self: PasswordHash, password: str) -> bool:
        seen.append(threading.current_thread().name)
        return real(self, password)

    monkeypatch.setattr(PasswordHash, "matches", matches)
    return seen


@asynccontextmanager
async def guarded(folder: Path, **options: object) -> AsyncIterator[WorkerStage]:
    path = folder / "users"
    path.write_text(f"alice:{hashed_cheaply('right')}\n")
    wanted = {"Authentication": "file", "Authentication_File": f'"{path}"', "Authentication_Without_TLS": "on"}
    async with serving(**wanted, **options) as stage:
        yield stage


async def test_beyond_ten_failures_in_ten_minutes_a_client_hears_454_and_nobody_hashes(
    tmp_path: Path, hashings: list[str]
) -> None:
    heard: list[str] = []
    async with guarded(tmp_path) as stage:
        for password in ["wrong"] * 11 + ["right"]:
            client = await stage.greeted()
            heard.append(await client.ask(f"AUTH PLAIN {plain('alice', password)}"))
    assert heard == [REFUSED] * 10 + [TRY_AGAIN] * 2
    assert len(hashings) == 10


async def test_the_rate_is_an_option_and_a_session_that_goes_on_beyond_it_ends(tmp_path: Path) -> None:
    async with guarded(tmp_path, Authentication_Failure_Rate='"1/600"') as stage:
        client = await stage.greeted()
        command = f"AUTH PLAIN {plain('alice', 'wrong')}"
        assert [await client.ask(command) for _ in range(3)] == [REFUSED, TRY_AGAIN, TRY_AGAIN]
        assert (await client.reply()).startswith("421 ")
        assert await client.rest() == b""


async def test_a_client_that_logged_in_may_mistype_later(tmp_path: Path) -> None:
    async with guarded(tmp_path, Authentication_Failure_Rate='"1/600"') as stage:
        for password, expected in [("right", ACCEPTED), *[("wrong", REFUSED)] * 5, ("right", ACCEPTED)]:
            client = await stage.greeted()
            assert await client.ask(f"AUTH PLAIN {plain('alice', password)}") == expected


async def test_hashing_has_threads_of_its_own(tmp_path: Path, hashings: list[str]) -> None:
    """Every thread of the loop's own pool may be busy, for example with a file on a dead mount."""
    free = threading.Event()
    loop = asyncio.get_running_loop()
    async with guarded(tmp_path) as stage:
        held = [loop.run_in_executor(None, free.wait, 30) for _ in range(64)]
        try:
            client = await stage.greeted()
            assert await client.ask(f"AUTH PLAIN {plain('alice', 'right')}") == ACCEPTED
        finally:
            free.set()
            await asyncio.gather(*held)
    assert [name.rpartition("_")[0] for name in hashings] == ["hashing"]
    await eventually(lambda: not [each for each in threading.enumerate() if each.name in hashings], "they have ended")
