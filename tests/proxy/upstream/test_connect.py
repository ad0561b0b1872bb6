"""From an upstream to a connection: addresses by rank, which of them rest, and what each hears first."""

from __future__ import annotations

import asyncio
import random
import tempfile
from pathlib import Path
from typing import Any

import pytest
from structlog.testing import capture_logs

from proxy.app import load
from proxy.outgoing import dial as dialing
from proxy.outgoing.dial import Reached, reach
from proxy.upstream import connect
from proxy.upstream.connect import Connector
from proxy.upstream.failures import RefusedUs, Unreachable
from proxy.upstream.routes import Router
from proxy.upstream.upstream import Upstream
from tests.support.exchanger import Act, Exchanger, Step, closes, is_silent, says
from tests.support.mute import mute
from tests.support.programs import free_port
from tests.support.worker import Names, assembly, resolver, unavailable

BOUND = 10.0


def upstream_at(port: int, **options: Any) -> Upstream:
    return Router(assembly(port, **options).settings).default


def of_routes(*routes: str, **options: Any) -> Upstream:
    lines = ["ESMTP_Listener = ( 127.0.0.1:0 )", 'Hostname = "ringback.test"']
    lines += ["Routes = ( {} )".format(" ".join(f'"{each}"' for each in routes))]
    with tempfile.NamedTemporaryFile("w", suffix=".conf") as file:
        file.write("\n".join([*lines, *(f"{name} = {value}" for name, value in options.items())]) + "\n")
        file.flush()
        return Router(load(Path(file.name))[0].settings).default


def routed(*hosts: str | int, **options: Any) -> Upstream:
    """Return an upstream whose routes are these, ports of 127.0.0.1 or hosts, preferred in this order."""
    named = [f"127.0.0.1:{each}" if isinstance(each, int) else each for each in hosts]
    return of_routes(*(f"smtp://{each}?pref={at}" for at, each in enumerate(named)), **options)


def of_one_preference(*ports: int, **options: Any) -> Upstream:
    """Return an upstream with ports of 127.0.0.1 as routes of one preference."""
    return of_routes(*(f"127.0.0.1:{each}" for each in ports), **options)


# ---------------------------------------------------------------- which address


async def test_the_first_address_that_takes_a_connection_is_used() -> None:
    async with Exchanger() as first, Exchanger() as second:
        wire = await Connector(routed(first.port, second.port), resolver()).connect()
        assert (len(first.dialogues), len(second.dialogues)) == (1, 0)
        wire.abort("done")


@pytest.mark.parametrize("act", [closes(), says("554 5.7.1 go away"), says("220-no end", "999 what")])
async def test_an_address_that_fails_is_followed_by_the_next_and_then_tried_last(act: Act) -> None:
    async with Exchanger(script={Step.BANNER: act}) as first, Exchanger() as second:
        connector = Connector(routed(first.port, second.port), resolver())
        for _ in range(3):
            (await connector.connect()).abort("done")
        assert (len(first.dialogues), len(second.dialogues)) == (1, 3)


async def test_an_address_that_works_again_rests_no_longer() -> None:
    async with Exchanger(script={Step.BANNER: closes()}) as first, Exchanger() as second:
        connector = Connector(routed(first.port, second.port), resolver())
        (await connector.connect()).abort("done")
        first.script.clear()
        second.script[Step.BANNER] = closes()
        for _ in range(2):
            (await connector.connect()).abort("done")
        assert (len(first.dialogues), len(second.dialogues)) == (3, 2)


async def test_an_address_that_has_rested_is_tried_in_its_turn() -> None:
    async with Exchanger(script={Step.BANNER: closes()}) as first, Exchanger() as second:
        connector = Connector(routed(first.port, second.port, Host_Failure_Retry=0), resolver())
        (await connector.connect()).abort("done")
        first.script.clear()
        (await connector.connect()).abort("done")
        assert (len(first.dialogues), len(second.dialogues)) == (2, 1)


async def test_where_all_fail_the_last_trouble_is_told_once_in_the_log() -> None:
    async with Exchanger(script={Step.BANNER: says("554 5.7.1 go away")}) as upstream:
        with capture_logs() as logs, pytest.raises(RefusedUs, match=r"^127\.0\.0\.1: banner: 554 5\.7\.1 go away$"):
            await Connector(routed(free_port(), upstream.port), resolver()).connect()
    assert [(each["event"], each["reason"]) for each in logs] == [
        ("upstream_unreachable", "127.0.0.1: banner: 554 5.7.1 go away"),
        ("upstream_down", "127.0.0.1: banner: 554 5.7.1 go away"),
    ]


async def test_an_upstream_that_goes_down_and_comes_back_is_told_once_each() -> None:
    async with Exchanger(script={Step.BANNER: closes()}) as upstream:
        connector = Connector(upstream_at(upstream.port), resolver())
        with capture_logs() as logs:
            for _ in range(3):
                with pytest.raises(Unreachable):
                    await connector.connect()
            del upstream.script[Step.BANNER]
            for _ in range(2):
                (await connector.connect()).abort("done")
        told = [each["event"] for each in logs]
        assert told == ["upstream_unreachable", "upstream_down", *["upstream_unreachable"] * 2, "upstream_up"]
        assert logs[-1]["address"] == "127.0.0.1"


async def test_where_all_rest_one_caller_tries_and_the_others_are_turned_away_at_once() -> None:
    gate = asyncio.Event()
    async with Exchanger(script={Step.BANNER: closes()}) as upstream:
        connector = Connector(upstream_at(upstream.port), resolver())
        with pytest.raises(Unreachable):
            await connector.connect()
        upstream.script[Step.BANNER] = says("220 back", until=gate)
        trying = asyncio.get_running_loop().create_task(connector.connect())
        await upstream.until(lambda: bool(upstream.held), "one tries")
        for _ in range(3):
            with pytest.raises(Unreachable, match=r"^every address failed recently$"):
                await connector.connect()
        gate.set()
        (await trying).abort("done")
        (await connector.connect()).abort("done")
        assert len(upstream.dialogues) == 3


async def test_the_one_that_tries_makes_room_for_the_next_however_it_ends() -> None:
    async with Exchanger(script={Step.BANNER: closes()}) as upstream:
        connector = Connector(upstream_at(upstream.port), resolver())
        for _ in range(3):
            with pytest.raises(Unreachable):
                await connector.connect()
        upstream.script[Step.BANNER] = is_silent()
        trying = asyncio.get_running_loop().create_task(connector.connect())
        await upstream.until(lambda: len(upstream.dialogues) == 4, "it tries")
        trying.cancel()
        with pytest.raises(asyncio.CancelledError):
            await trying
        upstream.script.clear()
        (await connector.connect()).abort("done")


async def test_a_caller_that_gives_up_says_nothing_of_the_address() -> None:
    """A client that hangs up while we connect must not put the upstream to rest for everybody."""
    gate = asyncio.Event()
    async with Exchanger(script={Step.BANNER: says("220 slow", until=gate)}) as upstream:
        connector = Connector(upstream_at(upstream.port), resolver())
        gone = asyncio.get_running_loop().create_task(connector.connect())
        await upstream.until(lambda: len(upstream.held) == 1, "it is connecting")
        gone.cancel()
        with pytest.raises(asyncio.CancelledError):
            await gone
        both = [asyncio.get_running_loop().create_task(connector.connect()) for _ in range(2)]
        await upstream.until(lambda: len(upstream.dialogues) == 3, "two callers connect at the same time")
        gate.set()
        for each in both:
            (await each).abort("done")


@pytest.mark.parametrize("step", [Step.BANNER, Step.EHLO])
async def test_an_address_that_is_silent_is_given_up_for_the_next_and_rests(step: Step) -> None:
    async with Exchanger(script={step: is_silent()}) as first, Exchanger() as second:
        upstream = routed(first.port, second.port, Connect_Timeout="0.1", EHLO_Timeout="0.2")
        connector = Connector(upstream, resolver())
        for _ in range(2):
            (await connector.connect()).abort("done")
        assert (len(first.dialogues), len(second.dialogues)) == (1, 2)


@pytest.mark.parametrize("answer", [unavailable("mx.test"), []])
async def test_a_name_without_an_address_is_unreachable(answer: Any) -> None:
    with pytest.raises(Unreachable):
        await Connector(routed("mx.test"), resolver(Names(hosts={"mx.test": answer}))).connect()


# ---------------------------------------------------------------- addresses that replace each other


async def test_equals_share_the_connections() -> None:
    async with Exchanger() as first, Exchanger() as second:
        connector = Connector(of_one_preference(first.port, second.port), resolver())
        for _ in range(40):
            (await connector.connect()).abort("done")
        assert len(first.dialogues) + len(second.dialogues) == 40
        assert min(len(first.dialogues), len(second.dialogues)) >= 5, "a fair coin fails this once in five million runs"


async def test_one_that_does_not_answer_is_outrun_by_its_equal_and_then_comes_last(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(random, "shuffle", list)  # leaves the order as it is
    async with Exchanger() as second:
        with mute() as port:
            upstream = of_one_preference(port, second.port)
            connector = Connector(upstream, resolver())
            for _ in range(3):
                (await connector.connect()).abort("done")
            assert set(connector._resting) == {("127.0.0.1", port)}
        assert len(second.dialogues) == 3


async def test_one_that_was_outrun_has_its_turn_where_the_winner_refuses_us(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(random, "shuffle", list)  # leaves the order as it is
    async with Exchanger() as slow, Exchanger(script={Step.BANNER: says("421 4.3.2 busy")}) as quick:
        upstream = of_one_preference(slow.port, quick.port)

        async def race(addresses: Any, seconds: float) -> Reached:
            """Let the second win, as if the first had not answered in time."""
            reached = await reach(addresses[-1:], seconds)
            return Reached(reached.sock, len(addresses) - 1, tuple(range(len(addresses) - 1)))

        monkeypatch.setattr(connect, "reach", race)
        (await Connector(upstream, resolver()).connect()).abort("done")
        assert (len(slow.dialogues), len(quick.dialogues)) == (1, 1)


async def test_a_preferred_one_that_does_not_answer_is_waited_for_and_not_outrun_by_a_lower_one(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A backup is for when the first is down, not for when it is 300 ms away."""
    monkeypatch.setattr(dialing, "STAGGER_SECONDS", 0.01)
    async with Exchanger() as second:
        with mute() as port:
            connecting = asyncio.get_running_loop().create_task(
                Connector(routed(port, second.port, Connect_Timeout=1), resolver()).connect()
            )
            done, _ = await asyncio.wait((connecting,), timeout=0.2)
            assert (done, second.dialogues) == (set(), [])
            (await connecting).abort("done")


async def test_time_that_runs_out_puts_all_that_was_being_tried_to_rest(monkeypatch: pytest.MonkeyPatch) -> None:
    """Addresses are tried only until the client can still hear an answer to its RCPT."""
    monkeypatch.setattr(connect, "FAILOVER_SECONDS", 0.5)
    with mute() as one, mute() as two, capture_logs() as logs:
        connector = Connector(of_one_preference(one, two), resolver())
        with pytest.raises(Unreachable, match=r"^timeout$"):
            await connector.connect()
        assert set(connector._resting) == {("127.0.0.1", one), ("127.0.0.1", two)}
    assert [each["event"] for each in logs] == ["upstream_unreachable", "upstream_down"]


# ---------------------------------------------------------------- Unix sockets, and what is required


async def test_a_unix_socket_is_an_upstream_that_speaks_no_tls(tmp_path: Path) -> None:
    async with Exchanger(str(tmp_path / "lmtp"), extensions=("STARTTLS",)) as server:
        upstream = of_routes(f"unix:{tmp_path}/lmtp", TLS="required")
        wire = await Connector(upstream, resolver()).connect()
        assert server.commands == ["EHLO ringback.test"]
        assert wire.transport.get_extra_info("ssl_object") is None
        wire.abort("done")


async def test_a_unix_socket_that_is_not_there_is_unreachable_and_rests(tmp_path: Path) -> None:
    connector = Connector(of_routes(f"unix:{tmp_path}/gone"), resolver())
    with pytest.raises(Unreachable, match=rf"^{tmp_path}/gone: .*No such file or directory"):
        await connector.connect()
    assert set(connector._resting) == {(f"{tmp_path}/gone", 0)}


async def test_an_address_that_lacks_a_required_xforward_is_followed_by_the_next() -> None:
    async with Exchanger() as first, Exchanger(extensions=("XFORWARD ADDR",)) as second:
        connector = Connector(routed(first.port, second.port, XFORWARD="required"), resolver())
        (await connector.connect()).abort("done")
        assert (len(first.dialogues), len(second.dialogues)) == (1, 1)
        second.extensions = ()
        with pytest.raises(RefusedUs, match=r"ehlo: 0 XFORWARD is required but not offered$"):
            await connector.connect()
