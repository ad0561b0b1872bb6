"""What one client may take: sessions, time and the right to be slow."""

from __future__ import annotations

import pytest

from proxy.smtp import pace
from proxy.smtp.connection import ClientIdle
from proxy.smtp.pace import Pace
from tests.support.exchanger import Exchanger
from tests.support.waiting import eventually
from tests.support.worker import BOB, LETTER, serving

TOO_MANY = "421 4.7.0 Too many sessions, try again later"


async def test_one_client_has_only_so_many_sessions_and_another_has_its_own() -> None:
    async with Exchanger() as upstream, serving(upstream, max_connections_per_client=2) as stage:
        first, _ = await stage.conversation(), await stage.conversation()
        assert (await stage.conversation()).banner == TOO_MANY
        assert await first.quit() == "221 2.0.0 Bye"
        await eventually(lambda: stage.worker.front.clients["127.0.0.1"] == 1, "the session that said QUIT is over")
        assert (await stage.conversation()).banner.startswith("220 ")


async def test_relay_hosts_may_have_more() -> None:
    options = {"max_connections_per_client": 1, "relay_hosts": "127.0.0.0/8"}
    async with Exchanger() as upstream, serving(upstream, **options) as stage:
        for _ in range(3):
            assert (await stage.conversation()).banner.startswith("220 ")


async def test_nothing_is_remembered_of_clients_that_have_left() -> None:
    async with Exchanger() as upstream, serving(upstream) as stage:
        client = await stage.conversation()
        await client.quit()
        await stage.ended()
        assert not stage.worker.front.clients


async def test_a_session_ends_between_commands_when_it_is_old_and_not_within_a_message() -> None:
    async with Exchanger() as upstream, serving(upstream, session_time=0.2) as stage:
        client = await stage.conversation()
        assert await client.rest() == b"421 4.4.2 Timeout exceeded, closing\r\n"


async def test_under_stress_a_silent_client_goes_sooner() -> None:
    options = {"stress_sessions": 1, "stress_idle_time": 0.05}
    async with Exchanger() as upstream, serving(upstream, **options) as stage:
        calm = await stage.conversation()
        silent = await stage.conversation()
        assert await silent.rest() == b"421 4.4.2 Timeout exceeded, closing\r\n"
        assert (await calm.ask("NOOP")).startswith("250 ")


async def test_a_client_that_is_too_slow_within_a_message_is_sent_away_and_nothing_is_delivered(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(pace, "GRACE_SECONDS", 0.0)
    async with Exchanger() as upstream, serving(upstream, min_data_rate=1_000_000_000) as stage:
        client = await stage.greeted()
        for command in ("MAIL FROM:<>", f"RCPT TO:<{BOB}>", "DATA"):
            await client.ask(command)
        await client.send_raw(LETTER)
        assert await client.rest() == b"421 4.4.2 Timeout exceeded, closing\r\n"
        await stage.ended()
    assert upstream.messages == []


class Arriving:
    """A stream whose octets come when they are waited for, after some seconds of the loop's clock."""

    def __init__(self, loop: Clock, *arrivals: tuple[float, int]) -> None:
        self.buffer = bytearray()
        self._loop, self._arrivals = loop, list(arrivals)

    async def more(self, _deadline: float) -> None:
        seconds, octets = self._arrivals.pop(0)
        self._loop.now += seconds
        self.buffer += bytes(octets)


class Clock:
    now = 0.0

    def time(self) -> float:
        return self.now


def paced(rate: int, *arrivals: tuple[float, int]) -> tuple[Pace, Clock]:
    clock = Clock()
    account = Pace(Arriving(clock, *arrivals), 120.0, rate)  # type: ignore[arg-type]  # as much of a stream as it uses
    account._loop = clock  # type: ignore[assignment]
    return account, clock


async def test_within_half_a_minute_of_waiting_nobody_is_too_slow() -> None:
    account, _ = paced(100, (30.0, 1), (0.1, 1))
    await account.more()
    with pytest.raises(ClientIdle):
        await account.more()


async def test_time_in_which_nobody_waits_for_the_client_does_not_count() -> None:
    account, clock = paced(100, (20.0, 2_000), (20.0, 2_000))
    await account.more()
    clock.now += 3600
    await account.more()


async def test_a_rate_that_is_just_kept_is_kept() -> None:
    account, _ = paced(100, (60.0, 6_000), (60.0, 5_999))
    await account.more()
    with pytest.raises(ClientIdle):
        await account.more()


async def test_no_rate_is_no_limit() -> None:
    account, _ = paced(0, (3600.0, 1))
    await account.more()
