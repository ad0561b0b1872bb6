"""Rates: token buckets, and what a client hears that goes too fast."""

from __future__ import annotations

from pathlib import Path

import pytest

from proxy.app import load
from proxy.base.rejected import ConfigurationRejected
from proxy.options.throttle import Buckets, Throttle
from tests.support.exchanger import Exchanger
from tests.support.worker import BOB, CAROL, serving


class Clock:
    now = 1000.0

    def __call__(self) -> float:
        return self.now


def test_a_burst_passes_and_the_rate_holds_after_it() -> None:
    clock = Clock()
    buckets = Buckets(clock)
    throttle = Throttle(3, 60)
    assert [buckets.take("a", throttle) for _ in range(4)] == [True, True, True, False]
    clock.now += 19.9
    assert not buckets.take("a", throttle)
    clock.now += 0.2
    assert [buckets.take("a", throttle) for _ in range(2)] == [True, False]
    clock.now += 3600
    assert [buckets.take("a", throttle) for _ in range(4)] == [True, True, True, False]


def test_one_clients_rate_is_not_anothers_and_no_limit_is_none() -> None:
    buckets = Buckets(Clock())
    assert [buckets.take(key, Throttle(1, 60)) for key in ("a", "b", "a")] == [True, True, False]
    assert all(buckets.take("a", Throttle(0)) for _ in range(1000))


async def test_who_connects_too_often_is_sent_away() -> None:
    async with Exchanger() as upstream, serving(upstream, connection_rate_per_client="2/3600") as stage:
        banners = [(await stage.conversation()).banner for _ in range(3)]
        assert [banner[:10] for banner in banners] == ["220 ringba", "220 ringba", "421 4.7.0 "]


async def test_too_many_messages_and_recipients_are_deferred_and_the_session_goes_on() -> None:
    options = {"message_rate_per_client": "1/3600", "recipient_rate_per_client": "1/3600"}
    async with Exchanger() as upstream, serving(upstream, **options) as stage:
        client = await stage.greeted()
        assert (await client.ask("MAIL FROM:<>")).startswith("250 ")
        assert (await client.ask(f"RCPT TO:<{BOB}>")).startswith("250 ")
        assert await client.ask(f"RCPT TO:<{CAROL}>") == "450 4.7.1 Too much mail, try again later"
        await client.ask("RSET")
        assert await client.ask("MAIL FROM:<>") == "450 4.7.1 Too much mail, try again later"
        assert (await client.ask("NOOP")).startswith("250 ")


async def test_relay_hosts_keep_to_no_rate() -> None:
    options = {"connection_rate_per_client": "1/3600", "relay_hosts": "127.0.0.0/8"}
    async with Exchanger() as upstream, serving(upstream, **options) as stage:
        assert all([(await stage.conversation()).banner.startswith("220 ") for _ in range(3)])


@pytest.mark.parametrize("text", ["often", '"60/0"', '"60/3/1"', "( 60 3 )"])
def test_what_is_no_throttle_is_a_diagnostic(tmp_path: Path, text: str) -> None:
    path = tmp_path / "ecelerity.conf"
    path.write_text(f'ESMTP_Listener = ( 127.0.0.1:0 )\nGateway = "127.0.0.1"\nConnection_Rate_Per_Client = {text}\n')
    with pytest.raises(ConfigurationRejected) as rejected:
        load(path)
    (found,) = rejected.value.diagnostics
    assert found.message.endswith("is not a throttle")
    assert found.hint == 'write count/seconds, such as "60/3", or 0 for no limit'
