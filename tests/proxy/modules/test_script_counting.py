"""What scripts count in a session: tarpits, what strangers write into keys, and a run that only explains."""

from __future__ import annotations

from pathlib import Path
from typing import cast

import pytest

from config.diagnostics import Source
from proxy.app import load_service
from proxy.counting import gauges, series
from proxy.counting.memory import MemoryCounting
from proxy.counting.operations import Add, Gauge, Show, Sum
from proxy.mail.session import Session
from proxy.modules.sieve_policy.counters import SessionCounters
from proxy.modules.sieve_policy.dry import DryCounters
from sieve.compile.compiler import compile_script
from sieve.phases import Phase
from sieve.run.values import ScriptError
from tests.sieve.plain_host import PlainHost, plain_counters
from tests.support.conversation import Conversation
from tests.support.exchanger import Exchanger
from tests.support.waiting import eventually
from tests.support.worker import Configuration


async def test_a_session_goes_on_after_each_tarpit(tmp_path: Path) -> None:
    script = 'ec_throttle_create "t" "1/1"; ec_throttle_tarpit "t";'
    async with Exchanger() as upstream:
        worker = load_service(Configuration(tmp_path, upstream.port).scripts(mailfrom_phase1=script).write())
        await worker.start()
        async with await Conversation.connect(*worker.addresses[0]) as client:
            await client.reply()
            await client.ehlo()
            for _ in range(3):
                assert await client.ask("MAIL FROM:<a@sender.test>") == "250 2.1.0 Sender OK"
                await client.ask("RSET")
            assert (await client.deliver("a@sender.test", ["b@example.com"], b"Subject: x\r\n\r\n")).startswith("250")
        await worker.stop(now=True)


async def test_a_tarpit_ends_when_its_client_leaves_and_is_451_beyond_the_scripts_time(tmp_path: Path) -> None:
    script = 'ec_throttle_create "t" "1/50"; ec_throttle_tarpit "t";'
    async with Exchanger() as upstream:
        worker = load_service(Configuration(tmp_path, upstream.port).scripts(mailfrom_phase1=script).write())
        await worker.start()
        async with await Conversation.connect(*worker.addresses[0]) as first:
            await first.reply()
            await first.ehlo()
            assert (await first.ask("MAIL FROM:<a@sender.test>")).startswith("250")
            waiting = await Conversation.connect(*worker.addresses[0])
            await waiting.reply()
            await waiting.ehlo()
            await waiting.send_raw(b"MAIL FROM:<b@sender.test>\r\n")  # its moment is in 53 s
            await eventually(lambda: any(each.pending for each in worker.front.live), "it waits")
            await first.ask("RSET")
            assert await first.ask("MAIL FROM:<c@sender.test>") == "451 4.7.1 Too many at once, try again later"
            waiting.abort()
            await eventually(lambda: len(worker.front.live) == 1, "its session has ended")
        await worker.stop(now=True)


async def ran(host: PlainHost, text: str) -> list[str]:
    compiled = compile_script(Source("case.siv", text), phase=Phase.RCPTTO)
    assert compiled.script is not None, compiled.diagnostics
    await compiled.script.run(host)
    return host.done


async def test_a_long_key_is_counted_by_its_hash_and_a_long_value_is_an_error() -> None:
    counting = MemoryCounting(lambda: 0.0)
    host = PlainHost(counting=plain_counters(counting), sender="x" * 10_000)
    text = """\
$key = envelope "from";
ec_gauge_cache_init "c" 10 0;
ec_gauge_cache_inc "c" "${key}";
$x = ec_gauge_cache_inc "c" "${key}";
ec_throttle_create "${key}" "1/60";
ec_throttle_inc "${key}";
ec_log "${x}";
"""
    assert await ran(host, text) == ["log: 2"]
    assert [len(each.key) for each in counting.ask(Show("gauge", "script c"))] == [33]
    assert [len(each.key) for each in counting.ask(Show("window", "throttle"))] == [33]
    host = PlainHost(counting=plain_counters(counting), sender="x" * 70_000)
    await ran(host, '$v = envelope "from"; ec_cluster_cache_set "c" "k" "${v}" "0";')
    assert host.done == ["error: case.siv:1: a string is longer than 65536 characters"]


@pytest.mark.parametrize("number", ["99999999999999999999999999", "-9007199254740992", "18446744073709551616"])
async def test_a_number_that_not_everybody_can_add_is_a_run_time_error(number: str) -> None:
    script = compile_script(
        Source("case.siv", f'$n = "{number}"; audit_series_add "s" "300,6" "${{n}}";'),
        phase=Phase.RCPTTO,
        modules=frozenset({"inbound_audit"}),
    ).script
    assert script is not None
    host = PlainHost()
    assert (await script.run(host)).failed
    assert host.done == ["error: case.siv:1: the result of audit_series_add is out of range"]


def test_what_a_stranger_can_fill_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(series, "MOST_ADDRESSES", 10)
    monkeypatch.setattr(gauges, "MOST_GAUGES", 10)
    now = 0.0
    counting = MemoryCounting(lambda: now)
    for window in range(2):
        now = 300.0 * window
        for each in range(8):
            counting.tell(Add("s", 300, 6, bytes(3) + bytes((each,)), 1))
    assert counting.ask(Sum("s", 300, 6, bytes(4), 0, 0, 0)) == 8
    assert counting.ask(Sum("s", 300, 6, bytes(4), 0, 1, 1)) == 0  # the oldest window went
    for each in range(100):
        counting.tell(Add("s", 300, 6, bytes(2) + bytes((1, each)), 1))
    assert counting.series.addresses == 10
    counting.tell(Add("s", 300, 6, bytes(4), 5))
    assert counting.ask(Sum("s", 300, 6, bytes(4), 32)) == 6  # what is known goes on
    for each in range(100):
        counting.tell(Gauge("c", b"%d" % each, 1, 1000))
    assert len(counting.gauges) == 10


async def test_a_run_that_only_explains_counts_nothing_and_says_what_it_does_not_know() -> None:
    counting = MemoryCounting(lambda: 0.0)
    unknown: list[str] = []
    counters = plain_counters(counting)
    host = PlainHost(counting=counters)
    dry = DryCounters(cast(Session, host.counted), counters, unknown)
    dry.define_throttle("t", 1, 60.0, shared=False)
    dry.add_to_throttle("t", 1, shared=False)
    dry.keep_cached("c", "k", "v", 0.0)
    with pytest.raises(ScriptError):
        dry.is_exceeded("t", shared=False)
    with pytest.raises(ScriptError):
        dry.gauge("c", "k", 1)
    assert unknown == [
        "what is counted (throttle t): it is not looked up here",
        "what is counted (gauge c k): it is not looked up here",
    ]
    assert counting.sizes() == dict.fromkeys(counting.sizes(), 0)


async def test_what_a_script_is_told_is_noted_for_a_later_run() -> None:
    counters = plain_counters(MemoryCounting(lambda: 0.0))
    noted: list[tuple[object, ...]] = []
    session = cast(Session, PlainHost().counted)
    recording = SessionCounters(session, counters, Phase.CONNECT, lambda *answer: noted.append(answer))
    recording.define_throttle("t", 1, 60.0, shared=False)
    recording.is_exceeded("t", shared=False)
    recording.cached("c", "k")
    assert noted == [("counting", "throttle", "t", False), ("counting", "cache", "c", "k", "")]
