"""The verifier: remembered, joined, or probed within the limits; and never an exception."""

from __future__ import annotations

import asyncio
import warnings

import pytest
from structlog.testing import capture_logs

from proxy.callback.limits.gate import Visitor
from proxy.callback.verdict import Status
from proxy.mail.address import path_of
from tests.support.callbacks import ALICE, Callbacks, Clock, question, running, verifying
from tests.support.exchanger import Act, Exchanger, Step, is_silent, says
from tests.support.waiting import eventually
from tests.support.worker import Names, unavailable

LIVES = {Status.PASS: 86400.0, Status.FAIL: 7200.0, Status.TRANSIENT: 300.0, Status.ERROR: 3600.0}


# ---------------------------------------------------------------- at hand


@pytest.mark.parametrize("reply", ["250 ok", "550 5.1.1 no"])
async def test_what_memory_holds_is_at_hand_without_waiting(reply: str) -> None:
    async with (
        Exchanger(script={Step.RCPT: says(reply)}) as exchanger,
        verifying(exchanger) as verifier,
    ):
        mailbox = path_of(ALICE)
        assert verifier.known(mailbox) is None
        found = await verifier.verify(ALICE)
        assert verifier.known(mailbox) == found.recalled(0.0)
        assert verifier.known(mailbox, "probe@ringback.test") is None  # another question
        assert exchanger.count("RCPT") == 1


async def test_that_there_is_nothing_to_ask_is_at_hand() -> None:
    async with Exchanger() as exchanger, verifying(exchanger) as verifier:
        for mailbox, sender in ((None, None), (path_of("postmaster"), None), (path_of(ALICE), "no address")):
            verdict = verifier.known(mailbox, sender)
            assert verdict is not None
            assert (verdict.status, verdict.reason) == (Status.ERROR, "syntax")
        assert exchanger.count("RCPT") == 0


# ---------------------------------------------------------------- one probe for many


async def test_many_who_ask_the_same_share_one_probe() -> None:
    gate = asyncio.Event()
    async with (
        Exchanger(script={Step.RCPT: says("550 5.1.1 no", until=gate)}) as exchanger,
        verifying(exchanger) as verifier,
        asyncio.TaskGroup() as group,
    ):
        asking = [group.create_task(verifier.verify(each)) for each in (ALICE, "alice@SENDER.Test") * 50]
        await exchanger.until(lambda: bool(exchanger.held), "the probe is under way")
        gate.set()
        verdicts = [await each for each in asking]
        assert {(each.status, each.cached) for each in verdicts} == {(Status.FAIL, False)}
        assert exchanger.count("RCPT") == 1


async def test_a_caller_who_leaves_does_not_end_the_probe() -> None:
    gate = asyncio.Event()
    async with (
        Exchanger(script={Step.RCPT: says("250 ok", until=gate)}) as exchanger,
        verifying(exchanger) as verifier,
    ):
        loop = asyncio.get_running_loop()
        leaving, staying = (loop.create_task(verifier.verify(ALICE)) for _ in range(2))
        await exchanger.until(lambda: bool(exchanger.held), "the probe is under way")
        leaving.cancel()
        with pytest.raises(asyncio.CancelledError):
            await leaving
        gate.set()
        assert (await staying).status is Status.PASS


async def test_a_probe_that_everybody_left_is_remembered_all_the_same() -> None:
    gate = asyncio.Event()
    async with (
        Exchanger(script={Step.RCPT: says("250 ok", until=gate)}) as exchanger,
        verifying(exchanger) as verifier,
    ):
        leaving = asyncio.get_running_loop().create_task(verifier.verify(ALICE))
        await exchanger.until(lambda: bool(exchanger.held), "the probe is under way")
        leaving.cancel()
        gate.set()
        assert (await verifier.verify(ALICE)).status is Status.PASS
        assert exchanger.count("RCPT") == 1


async def test_the_local_part_and_the_sender_tell_questions_apart_and_the_domains_case_does_not() -> None:
    async with Exchanger() as exchanger, verifying(exchanger) as verifier:
        for address, sender in [
            (ALICE, None),
            ("Alice@sender.test", None),
            (ALICE, "probe@ringback.test"),
            (ALICE, ""),
            ("alice@SENDER.test", None),
        ]:
            await verifier.verify(address, sender)
        assert [each for each in exchanger.commands if each.startswith(("MAIL", "RCPT"))] == [
            "MAIL FROM:<>",
            "RCPT TO:<alice@sender.test>",
            "MAIL FROM:<>",
            "RCPT TO:<Alice@sender.test>",
            "MAIL FROM:<probe@ringback.test>",
            "RCPT TO:<alice@sender.test>",
        ]


# ---------------------------------------------------------------- memory


@pytest.mark.parametrize(
    ("reply", "status"),
    [
        ("250 ok", Status.PASS),
        ("550 5.1.1 no", Status.FAIL),
        ("450 later", Status.TRANSIENT),
        ("550 5.7.1 no", Status.ERROR),
    ],
)
async def test_a_verdict_lives_as_long_as_its_status_says(reply: str, status: Status) -> None:
    clock = Clock()
    async with Exchanger(script={Step.RCPT: says(reply)}) as exchanger, verifying(exchanger, clock=clock) as verifier:
        first = await verifier.verify(ALICE)
        assert (first.status, first.cached) == (status, False)
        clock.now += LIVES[status] * 0.7
        remembered = await verifier.verify(ALICE)
        assert (remembered.status, remembered.cached, remembered.message) == (status, True, first.message)
        assert verifier.cache.at_hand(question()) is not None
        clock.now += LIVES[status] * 0.3
        assert verifier.cache.at_hand(question()) is None
        assert (await verifier.verify(ALICE)).cached is False
        assert exchanger.count("RCPT") == 2


async def test_a_hit_does_not_make_a_verdict_live_longer() -> None:
    clock = Clock()
    async with Exchanger() as exchanger, verifying(exchanger, clock=clock) as verifier:
        await verifier.verify(ALICE)
        for _ in range(3):
            clock.now += LIVES[Status.PASS] / 2 - 1
            await verifier.verify(ALICE)
        assert exchanger.count("RCPT") == 2


async def test_no_more_is_remembered_than_the_limit() -> None:
    async with Exchanger() as exchanger, verifying(exchanger, most_remembered=10) as verifier:
        for number in range(30):
            await verifier.verify(f"u{number}@sender.test")
        assert len(verifier.cache.memory) == 10


async def test_a_pass_that_grows_old_is_given_at_once_and_looked_at_in_the_background() -> None:
    clock, gate = Clock(), asyncio.Event()
    async with Exchanger() as exchanger, verifying(exchanger, clock=clock) as verifier:
        await verifier.verify(ALICE)
        clock.now += LIVES[Status.PASS] * 0.76
        exchanger.script[Step.RCPT] = says("250 ok", until=gate)
        assert [(await verifier.verify(ALICE)).cached for _ in range(5)] == [True] * 5
        await exchanger.until(lambda: bool(exchanger.held), "somebody looks")
        assert (await verifier.verify(ALICE)).age == LIVES[Status.PASS] * 0.76
        gate.set()
        await eventually(lambda: not verifier._owner, "it has been looked at")
        assert ((await verifier.verify(ALICE)).age, exchanger.count("RCPT")) == (0.0, 2)


async def test_a_pass_that_grows_old_in_the_store_is_given_at_once_too() -> None:
    gate = asyncio.Event()
    async with Exchanger() as exchanger:
        callbacks = Callbacks(exchanger.port, shared=True)
        async with running(callbacks) as verifier, running(callbacks) as other:
            await verifier.verify(ALICE)
            callbacks.clock.now += LIVES[Status.PASS] * 0.76
            exchanger.script[Step.RCPT] = says("250 ok", until=gate)
            assert (await other.verify(ALICE)).cached
            await exchanger.until(lambda: bool(exchanger.held), "somebody looks")
            assert (await verifier.verify(ALICE)).cached
            assert exchanger.count("RCPT") == 2


async def test_a_look_that_finds_out_nothing_is_not_repeated_at_every_hit() -> None:
    clock = Clock()
    async with Exchanger() as exchanger, verifying(exchanger, clock=clock) as verifier:
        await verifier.verify(ALICE)
        clock.now += LIVES[Status.PASS] * 0.76
        exchanger.script[Step.RCPT] = says("451 later")
        for expected in (2, 2, 3):
            assert (await verifier.verify(ALICE)).status is Status.PASS
            await eventually(lambda: not verifier._owner, "it has been looked at")
            assert exchanger.count("RCPT") == expected
            clock.now += 300.0 * 0.6


async def test_one_refusal_leaves_a_pass_in_doubt_and_the_next_ends_it() -> None:
    clock = Clock()
    async with Exchanger() as exchanger, verifying(exchanger, clock=clock) as verifier:
        await verifier.verify(ALICE)
        clock.now += LIVES[Status.PASS] * 0.76
        exchanger.script[Step.RCPT] = says("550 5.1.1 no")
        await verifier.verify(ALICE)
        await eventually(lambda: not verifier._owner, "it has been looked at")
        clock.now += LIVES[Status.TRANSIENT] - 1
        assert ((await verifier.verify(ALICE)).status, exchanger.count("RCPT")) == (Status.PASS, 2)
        clock.now += 1
        assert ((await verifier.verify(ALICE)).status, exchanger.count("RCPT")) == (Status.FAIL, 3)


# ---------------------------------------------------------------- limits


async def test_no_more_conversations_at_one_exchanger_than_the_limit() -> None:
    gate = asyncio.Event()
    async with (
        Exchanger(script={Step.RCPT: says("250 ok", until=gate)}) as exchanger,
        verifying(exchanger, most_probes_per_exchanger=4) as verifier,
    ):
        loop = asyncio.get_running_loop()
        asking = [loop.create_task(verifier.verify(f"u{number}@sender.test")) for number in range(20)]
        asking += [loop.create_task(verifier.verify(f"u{number}@other.test")) for number in range(20)]
        await exchanger.until(lambda: len(exchanger.held) == 4, "four are there")
        most = 0

        def watch() -> bool:
            nonlocal most
            most = max(most, len(exchanger.open_dialogues))
            return exchanger.count("RCPT") == 40

        gate.set()
        await exchanger.until(watch, "all have asked")
        assert {(await each).status for each in asking} == {Status.PASS}
        assert most == 4
        assert verifier._doorkeeper._lines == {}


async def test_no_more_conversations_at_all_than_the_limit() -> None:
    gate = asyncio.Event()
    names = Names(
        mx={f"{name}.test": [(10, f"mx{name}.test")] for name in ("a", "b", "c")},
        hosts={"mxa.test": ["127.0.0.1"], "mxb.test": ["127.0.0.1"], "mxc.test": ["127.0.0.1"]},
    )
    async with (
        Exchanger(script={Step.RCPT: says("250 ok", until=gate)}) as exchanger,
        verifying(exchanger, names=names, most_probes=2) as verifier,
    ):
        loop = asyncio.get_running_loop()
        asking = [loop.create_task(verifier.verify(f"u@{name}.test")) for name in ("a", "b", "c")]
        await exchanger.until(lambda: len(exchanger.held) == 2, "two are there")
        gate.set()
        assert {(await each).status for each in asking} == {Status.PASS}
        assert exchanger.count("RCPT") == 3


async def test_who_waits_in_line_for_too_long_hears_transient_and_no_packet_is_sent() -> None:
    async with (
        Exchanger() as exchanger,
        verifying(exchanger, most_probes_per_exchanger=1, timeout=0.3) as verifier,
    ):
        async with Visitor(verifier._doorkeeper).place(exchanger.address):
            verdict = await verifier.verify(ALICE)
        assert (verdict.status, verdict.reason, exchanger.dialogues) == (Status.TRANSIENT, "busy_here", [])
        assert verifier._doorkeeper._lines == {}
        assert (await verifier.verify(ALICE)).status is Status.PASS, "our own line is no silence of theirs"


async def test_a_deadline_over_it_all_makes_a_slow_exchanger_transient() -> None:
    async with (
        Exchanger(script={Step.BANNER: is_silent()}) as exchanger,
        verifying(exchanger, timeout=0.1) as verifier,
    ):
        verdict = await verifier.verify(ALICE)
        assert (verdict.status, verdict.reason) == (Status.TRANSIENT, "timeout")
        await exchanger.until(lambda: bool(exchanger.dialogues) and not exchanger.open_dialogues, "it is given up")


async def test_the_deadline_counts_dns_too(monkeypatch: pytest.MonkeyPatch) -> None:
    async def never(*_arguments: object) -> list[object]:
        await asyncio.Event().wait()
        return []

    async with Exchanger() as exchanger, verifying(exchanger, timeout=0.05) as verifier:
        monkeypatch.setattr(verifier._around.finder, "find", never)
        assert (await verifier.verify(ALICE)).status is Status.TRANSIENT


# ---------------------------------------------------------------- what goes wrong


async def test_trouble_inside_is_an_error_that_is_logged_and_not_remembered(monkeypatch: pytest.MonkeyPatch) -> None:
    async def fail(*_arguments: object) -> None:
        raise RuntimeError("secret")

    async with Exchanger() as exchanger, verifying(exchanger) as verifier:
        with monkeypatch.context() as patch, capture_logs() as log:
            patch.setattr(verifier._around.finder, "find", fail)
            verdict = await verifier.verify(ALICE)
        assert (verdict.status, verdict.reason, verdict.message) == (Status.ERROR, "internal", "internal error")
        assert [each["event"] for each in log] == ["probe_failed"]
        assert verifier.cache.at_hand(question()) is None
        assert (await verifier.verify(ALICE)).status is Status.PASS


@pytest.mark.parametrize("address", ["", "postmaster", "@", "alice@", "@sender.test", "\ud800@sender.test"])
async def test_what_is_no_address_is_our_error_and_nobody_is_asked(address: str) -> None:
    names = Names()
    async with Exchanger() as exchanger, verifying(exchanger, names=names) as verifier:
        assert (await verifier.verify(address)).status is Status.ERROR
        assert names.asked == []


@pytest.mark.parametrize(
    ("address", "sender"),
    [
        ("alice@sender.test>\r\nDATA", ""),
        ("alice\r\nQUIT@sender.test", ""),
        ("alice\n@sender.test", ""),
        ("alice\0@sender.test", ""),
        ("alice> SIZE=1 <x@sender.test", ""),
        (ALICE, "probe@ringback.test>\r\nRSET"),
        (ALICE, "probe\r@ringback.test"),
    ],
)
async def test_no_address_can_carry_a_command(address: str, sender: str) -> None:
    async with Exchanger() as exchanger, verifying(exchanger) as verifier:
        assert (await verifier.verify(address, sender)).status is Status.ERROR
        assert [each for each in exchanger.commands if not each.startswith("EHLO")] in ([], ["QUIT"])
        assert exchanger.faults == []


@pytest.mark.parametrize(
    ("names", "status", "reason"),
    [
        (Names(), Status.FAIL, "nxdomain"),
        (Names(mx={"sender.test": unavailable("sender.test")}), Status.TRANSIENT, "dns"),
        (Names(mx={"sender.test": [(0, "")]}), Status.FAIL, "null_mx"),
    ],
)
async def test_what_dns_says_is_a_verdict_and_remembered(names: Names, status: Status, reason: str) -> None:
    async with Exchanger() as exchanger, verifying(exchanger, names=names) as verifier:
        assert ((await verifier.verify(ALICE)).status, (await verifier.verify(ALICE)).reason) == (status, reason)
        assert (await verifier.verify(ALICE)).cached
        assert len(names.asked) == 1


async def test_a_domain_beyond_ascii_alone_is_asked_by_its_a_label() -> None:
    names = Names(mx={"xn--bcher-kva.example": [(1, "mx.test")]}, hosts={"mx.test": ["127.0.0.1"]})
    async with Exchanger(extensions=("PIPELINING",)) as exchanger, verifying(exchanger, names=names) as verifier:
        assert (await verifier.verify("alice@B\u00fccher.example")).status is Status.PASS
        assert exchanger.commands[1:3] == ["MAIL FROM:<>", "RCPT TO:<alice@xn--bcher-kva.example>"]


async def test_the_configured_sender_asks_unless_a_call_names_another() -> None:
    async with Exchanger() as exchanger, verifying(exchanger, sender="probe@ringback.test") as verifier:
        await verifier.verify(ALICE)
        await verifier.verify(ALICE, "")
        assert [each for each in exchanger.commands if each.startswith("MAIL")] == [
            "MAIL FROM:<probe@ringback.test>",
            "MAIL FROM:<>",
        ]


async def test_each_probe_leaves_one_line_in_the_log() -> None:
    act: Act = says("550 5.1.1 caf\u00e9\x1b[0m")
    async with Exchanger(script={Step.RCPT: act}) as exchanger, verifying(exchanger) as verifier:
        with capture_logs() as log:
            await verifier.verify(ALICE)
            await verifier.verify(ALICE)
        (line,) = log
        assert {
            name: line[name]
            for name in ("event", "address", "sender", "status", "reason", "stage", "code", "exchanger", "ip")
        } == {
            "event": "probe",
            "address": ALICE,
            "sender": "",
            "status": "fail",
            "reason": "no_such_user",
            "stage": "rcpt",
            "code": 550,
            "exchanger": "mx.test",
            "ip": "127.0.0.1",
        }
        assert line["text"].isprintable()
        assert line["text"].isascii()


async def test_closing_ends_the_probes_in_flight() -> None:
    async with Exchanger(script={Step.RCPT: is_silent()}) as exchanger, verifying(exchanger) as verifier:
        asking = asyncio.get_running_loop().create_task(verifier.verify(ALICE))
        await exchanger.until(lambda: exchanger.count("RCPT") == 1, "the probe is under way")
        await verifier.close()
        await exchanger.until(lambda: not exchanger.open_dialogues, "the conversation is cut")
        assert (await asking).reason == "pending"
        assert verifier._in_flight == {}


@pytest.mark.parametrize("turns", range(4))
async def test_whenever_it_is_closed_nothing_is_left_that_was_never_begun(turns: int) -> None:
    async with Exchanger() as exchanger, verifying(exchanger) as verifier:
        with warnings.catch_warnings(record=True) as warned:
            asking = asyncio.get_running_loop().create_task(verifier.verify(ALICE))
            for _ in range(turns):
                await asyncio.sleep(0)
            await verifier.close()
            assert (await asking).reason in {"pending", "accepted"}
        assert warned == []


async def test_who_waits_for_a_probe_that_fails_by_our_fault_hears_pending_at_once() -> None:
    def fails(*_: object) -> None:
        raise ZeroDivisionError

    async with Exchanger() as exchanger, verifying(exchanger, wait=600) as verifier:
        verifier.finding = fails
        with capture_logs() as logs:
            mine, others = await asyncio.gather(verifier.verify(ALICE), verifier.verify(ALICE, client="192.0.2.0/24"))
        assert (mine.reason, others.reason) == ("pending", "pending")
        assert [each["event"] for each in logs if each["log_level"] == "error"] == ["task_failed"]
