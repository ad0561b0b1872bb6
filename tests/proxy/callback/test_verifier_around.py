"""The verifier among others: patience, workers that share a store, domains with facts, budgets, breakers, storms."""

from __future__ import annotations

import asyncio
from contextlib import AsyncExitStack

import pytest
from structlog.testing import capture_logs

from proxy.callback import verifier as verifier_module
from proxy.callback.around import Spared
from proxy.callback.classify import Classifier, Words
from proxy.callback.limits.gate import ProbeLimiter, Visitor
from proxy.callback.lives import CATCHALL_SECONDS, NO_PROBE_SECONDS, NULL_REFUSED_SECONDS
from proxy.callback.observer import Observer
from proxy.callback.question import Question
from proxy.callback.verdict import CallbackVerdict, Status
from proxy.callback.verifier import CallbackVerifier
from proxy.dns.resolver import MOST_AT_ONCE
from proxy.options.throttle import Throttle
from tests.support.callbacks import (
    ALICE,
    Callbacks,
    Clock,
    budgets,
    names_of,
    question,
    running,
    spared,
    verifying,
)  # fmt: skip
from tests.support.exchanger import Act, Exchanger, Step, closes, says
from tests.support.waiting import eventually
from tests.support.worker import Names

BOB = "bob@sender.test"
FALLBACK = "callback@ringback.test"
CLIENT = "192.0.2.1"


async def reason(verifier: CallbackVerifier, address: str, *, client: str = "") -> tuple[Status, str]:
    verdict = await verifier.verify(address, client=client)
    return verdict.status, verdict.reason


def mails(exchanger: Exchanger) -> list[str]:
    return [each for each in exchanger.commands if each.startswith("MAIL")]


# ---------------------------------------------------------------- patience


async def test_who_has_waited_long_enough_hears_pending_and_the_retry_finds_the_verdict() -> None:
    gate = asyncio.Event()
    async with (
        Exchanger(script={Step.RCPT: says("550 5.1.1 no", until=gate)}) as exchanger,
        verifying(exchanger, wait=0.05) as verifier,
    ):
        assert await reason(verifier, ALICE) == (Status.TRANSIENT, "pending")
        assert await reason(verifier, ALICE) == (Status.TRANSIENT, "pending")
        gate.set()
        await eventually(lambda: verifier.cache.at_hand(question()), "the verdict is remembered")
        verdict = await verifier.verify(ALICE)
        assert (verdict.status, verdict.cached, exchanger.count("RCPT")) == (Status.FAIL, True, 1)


async def test_pending_is_not_remembered() -> None:
    gate = asyncio.Event()
    async with Exchanger(script={Step.RCPT: says("250 ok", until=gate)}) as exchanger:
        callbacks = Callbacks(exchanger.port, wait=0.05)
        async with running(callbacks) as verifier:
            await verifier.verify(ALICE)
            assert await verifier.cache.count() == 0


# ---------------------------------------------------------------- workers that share a store


async def test_what_one_worker_found_another_does_not_ask() -> None:
    async with Exchanger(script={Step.RCPT: says("550 5.1.1 no")}) as exchanger:
        callbacks = Callbacks(exchanger.port, shared=True)
        async with running(callbacks) as one, running(callbacks) as other:
            await one.verify(ALICE)
            verdict = await other.verify(ALICE)
    assert (verdict.status, verdict.cached, exchanger.count("RCPT")) == (Status.FAIL, True, 1)


async def test_two_workers_that_are_asked_the_same_at_once_share_one_probe(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(verifier_module, "POLL_SECONDS", 0.01)
    gate = asyncio.Event()
    async with Exchanger(script={Step.RCPT: says("550 5.1.1 no", until=gate)}) as exchanger:
        callbacks = Callbacks(exchanger.port, shared=True)
        async with running(callbacks) as one, running(callbacks) as other, asyncio.TaskGroup() as group:
            first = group.create_task(one.verify(ALICE))
            await exchanger.until(lambda: bool(exchanger.held), "the probe is under way")
            second = group.create_task(other.verify(ALICE))
            await eventually(lambda: bool(other._in_flight), "the other waits")
            gate.set()
            assert ((await first).cached, (await second).cached) == (False, True)
    assert (first.result().status, second.result().status) == (Status.FAIL, Status.FAIL)
    assert exchanger.count("RCPT") == 1


async def test_a_worker_that_ends_without_a_verdict_leaves_the_question_to_the_other(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(verifier_module, "POLL_SECONDS", 0.01)
    gate = asyncio.Event()
    async with Exchanger(script={Step.RCPT: says("250 ok", until=gate)}) as exchanger:
        callbacks = Callbacks(exchanger.port, shared=True)
        async with running(callbacks) as one, running(callbacks) as other, asyncio.TaskGroup() as group:
            first = group.create_task(one.verify(ALICE))
            await exchanger.until(lambda: bool(exchanger.held), "the probe is under way")
            second = group.create_task(other.verify(ALICE))
            await one.close()
            gate.set()
            assert (await second).status is Status.PASS
            await asyncio.wait([first])
    assert exchanger.count("RCPT") == 2


async def test_a_worker_that_dies_with_its_lock_blocks_the_question_only_for_a_while(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(verifier_module, "POLL_SECONDS", 0.01)
    async with Exchanger() as exchanger:
        callbacks = Callbacks(exchanger.port, shared=True)
        async with running(callbacks) as verifier, asyncio.TaskGroup() as group:
            store = verifier._around.store
            assert await store.acquire(f"cbv probe {verifier.cache.name_of(question())}", 10.0)
            asking = group.create_task(verifier.verify(ALICE))
            await eventually(lambda: bool(verifier._in_flight), "it waits")
            callbacks.clock.now += 11
            assert (await asking).status is Status.PASS


async def test_two_workers_with_a_secret_share_as_well() -> None:
    async with Exchanger() as exchanger:
        callbacks = Callbacks(exchanger.port, shared=True, secret=b"0123456789abcdef")
        async with running(callbacks) as one, running(callbacks) as other:
            await one.verify(ALICE)
            assert (await other.verify(ALICE)).cached
            assert callbacks.store is not None
            assert "alice" not in "".join(key for key, _ in await callbacks.store.scan())


async def test_trouble_inside_is_kept_from_the_store_and_gives_the_lock_back(monkeypatch: pytest.MonkeyPatch) -> None:
    async def fail(*_arguments: object) -> None:
        raise RuntimeError("secret")

    async with Exchanger() as exchanger:
        callbacks = Callbacks(exchanger.port, shared=True)
        async with running(callbacks) as verifier, running(callbacks) as other:
            with monkeypatch.context() as patch, capture_logs():
                patch.setattr(verifier._around.finder, "find", fail)
                assert await reason(verifier, ALICE) == (Status.ERROR, "internal")
            assert callbacks.store is not None
            assert await callbacks.store.scan() == []
            assert await reason(other, ALICE) == (Status.PASS, "accepted")


# ---------------------------------------------------------------- families and domains


async def test_a_pass_answers_for_the_addresss_family() -> None:
    async with Exchanger() as exchanger, verifying(exchanger) as verifier:
        await verifier.verify("alice+one@sender.test")
        verdict = await verifier.verify("alice+two@sender.test")
        assert (verdict.status, verdict.cached, exchanger.count("RCPT")) == (Status.PASS, True, 1)
        exchanger.script[Step.RCPT] = says("550 5.1.1 no")
        await verifier.verify("bob+one@sender.test")
        assert not (await verifier.verify("bob+two@sender.test")).cached


async def test_a_domain_that_does_not_exist_is_looked_up_once_for_all_its_addresses() -> None:
    names = Names()
    async with Exchanger() as exchanger, verifying(exchanger, names=names) as verifier:
        assert [await reason(verifier, each) for each in (ALICE, BOB)] == [(Status.FAIL, "nxdomain")] * 2
        assert names.asked == ["sender.test"]


class Proud(Exchanger):
    """One that refuses the null sender."""

    def act_at(self, step: Step, command: str) -> Act:
        return says("550 no bounces") if command == "MAIL FROM:<>" else super().act_at(step, command)


async def test_that_a_domain_refuses_the_null_sender_is_remembered_for_a_week() -> None:
    clock = Clock()
    async with Proud() as exchanger, verifying(exchanger, clock=clock, fallback=FALLBACK) as verifier:
        await verifier.verify(ALICE)
        await verifier.verify(BOB)
        null, other = "MAIL FROM:<>", f"MAIL FROM:<{FALLBACK}>"
        assert mails(exchanger) == [null, other, other]
        clock.now += NULL_REFUSED_SECONDS
        await verifier.verify("carol@sender.test")
        assert mails(exchanger) == [null, other, other, null, other]


async def test_that_a_domain_takes_everybody_is_remembered_for_a_week() -> None:
    clock = Clock()
    async with Exchanger() as exchanger, verifying(exchanger, clock=clock, catchall=True) as verifier:
        assert await reason(verifier, ALICE) == (Status.PASS, "catchall")
        verdict = await verifier.verify(BOB)
        assert (verdict.reason, verdict.catchall, verdict.cached) == ("catchall", True, True)
        assert exchanger.count("RCPT") == 2
        clock.now += CATCHALL_SECONDS
        await verifier.verify("carol@sender.test")
        assert exchanger.count("RCPT") == 4


# ---------------------------------------------------------------- who is spared


@pytest.mark.parametrize(
    "who", [spared(domains=("sender.test",)), spared(exchangers=("mx.test",)), spared(networks=("127.0.0.0/30",))]
)
async def test_who_is_spared_is_sent_no_packet(who: Spared) -> None:
    async with Exchanger() as exchanger, verifying(exchanger, spared=who) as verifier:
        assert await reason(verifier, ALICE) == (Status.ERROR, "no_probe")
        assert exchanger.dialogues == []
        assert await verifier.cache.count() == 0


async def test_one_exchanger_that_is_spared_leaves_the_others() -> None:
    async with Exchanger("127.0.0.2") as exchanger:
        callbacks = Callbacks(
            exchanger.port, names=names_of("127.0.0.1", "127.0.0.2"), spared=spared(exchangers=("mx.test",))
        )
        async with running(callbacks) as verifier:
            assert (await verifier.verify(ALICE)).exchanger == "mx2.test"


async def test_a_host_that_the_operator_mapped_is_asked_wherever_it_is() -> None:
    async with Exchanger() as exchanger:
        callbacks = Callbacks(
            exchanger.port, routes={"sender.test": "127.0.0.1"}, spared=spared(networks=("127.0.0.0/8",))
        )
        async with running(callbacks) as verifier:
            assert (await verifier.verify(ALICE)).status is Status.PASS


async def test_an_exchanger_at_our_own_address_is_not_asked() -> None:
    async with Exchanger() as exchanger:
        async with verifying(exchanger, is_us=lambda address: address == "127.0.0.1") as verifier:
            assert await reason(verifier, ALICE) == (Status.ERROR, "loop")
        assert exchanger.dialogues == []


async def test_our_own_address_among_others_is_left_out() -> None:
    async with Exchanger("127.0.0.2") as exchanger:
        callbacks = Callbacks(
            exchanger.port, names=names_of("127.0.0.1", "127.0.0.2"), is_us=lambda address: address == "127.0.0.1"
        )
        async with running(callbacks) as verifier:
            assert (await verifier.verify(ALICE)).address == "127.0.0.2"


# ---------------------------------------------------------------- budgets


@pytest.mark.parametrize(
    ("limits", "why"),
    [
        (budgets(per_domain=Throttle(2, 60)), "throttled"),
        (budgets(per_client=Throttle(2, 60)), "client_throttled"),
        (budgets(per_exchanger=Throttle(2, 60)), "throttled"),
        (budgets(per_domain=Throttle(8, 60), share=25), "client_throttled"),
        (budgets(per_exchanger=Throttle(8, 60), share=25), "client_throttled"),
    ],
    ids=["domain", "client", "exchanger", "share-of-domain", "share-of-exchanger"],
)
async def test_beyond_a_budget_the_answer_is_transient_and_no_packet_is_sent(limits: object, why: str) -> None:
    clock = Clock()
    async with Exchanger() as exchanger, verifying(exchanger, clock=clock, budgets=limits) as verifier:
        found = [await reason(verifier, f"u{number}@sender.test", client=CLIENT) for number in range(3)]
        assert found == [(Status.PASS, "accepted")] * 2 + [(Status.TRANSIENT, why)]
        assert len(exchanger.dialogues) == 2
        clock.now += 30
        assert await reason(verifier, "u2@sender.test", client=CLIENT) == (Status.PASS, "accepted")


async def test_what_is_remembered_costs_no_budget() -> None:
    limits = budgets(per_domain=Throttle(1, 60), per_client=Throttle(1, 60), per_exchanger=Throttle(1, 60))
    async with Exchanger() as exchanger, verifying(exchanger, budgets=limits) as verifier:
        for _ in range(5):
            assert await reason(verifier, ALICE, client=CLIENT) == (Status.PASS, "accepted")
        assert len(exchanger.dialogues) == 1


async def test_two_workers_keep_one_budget_together() -> None:
    async with Exchanger() as exchanger:
        callbacks = Callbacks(exchanger.port, shared=True, budgets=budgets(per_exchanger=Throttle(3, 60)))
        async with running(callbacks) as one, running(callbacks) as other:
            for number in range(4):
                await one.verify(f"a{number}@sender.test")
                await other.verify(f"b{number}@sender.test")
        assert len(exchanger.dialogues) == 3


async def test_a_host_with_several_addresses_in_one_network_pays_once() -> None:
    names = Names(mx={"sender.test": [(1, "mx.test")]}, hosts={"mx.test": ["127.0.0.1", "127.0.0.2", "127.0.0.3"]})
    limits = budgets(per_exchanger=Throttle(2, 60), unknown_users=Throttle(2, 60))
    async with Exchanger(script={Step.RCPT: says("550 5.1.1 no")}) as exchanger:
        callbacks = Callbacks(exchanger.port, names=names, budgets=limits)
        async with running(callbacks) as verifier:
            assert [(await verifier.verify(each)).status for each in (ALICE, BOB)] == [Status.FAIL] * 2
            assert await reason(verifier, "carol@sender.test") == (Status.TRANSIENT, "throttled")


async def test_an_exchanger_that_told_of_too_many_unknown_users_is_left_alone() -> None:
    async with (
        Exchanger(script={Step.RCPT: says("550 5.1.1 no")}) as exchanger,
        verifying(exchanger, budgets=budgets(unknown_users=Throttle(2, 600))) as verifier,
    ):
        exchanger.recipients = {"known@sender.test": says("250 ok")}
        found = [await reason(verifier, f"{name}@sender.test") for name in ("known", "a", "b", "c")]
        assert found == [
            (Status.PASS, "accepted"),
            *[(Status.FAIL, "no_such_user")] * 2,
            (Status.TRANSIENT, "throttled"),
        ]
        assert len(exchanger.dialogues) == 3


# ---------------------------------------------------------------- exchangers that turn us away


@pytest.mark.parametrize(
    "script",
    [
        {Step.BANNER: says("554 5.7.1 not you")},
        {Step.BANNER: says("421 busy")},
        {Step.RCPT: says("421 busy")},
        {Step.MAIL: says("421 busy")},
        {Step.RCPT: says("554 5.7.1 your IP is listed at spamhaus")},
        {Step.MAIL: says("554 5.7.1 your IP is blacklisted")},
    ],
)
async def test_an_exchanger_that_turns_us_away_is_left_alone_for_a_while(script: dict[Step, Act]) -> None:
    clock = Clock()
    async with (
        Exchanger(script=script) as exchanger,
        verifying(exchanger, clock=clock, breaker_time=3600.0) as verifier,
    ):
        await verifier.verify(ALICE)
        assert await reason(verifier, BOB) == (Status.TRANSIENT, "breaker")
        assert await reason(verifier, "carol@other.test") == (Status.TRANSIENT, "breaker")
        assert len(exchanger.dialogues) == 1
        exchanger.script = {}
        clock.now += 3600
        assert await reason(verifier, BOB) == (Status.PASS, "accepted")
        assert await reason(verifier, "carol@other.test") == (Status.PASS, "accepted")


@pytest.mark.parametrize("reply", ["550 5.1.1 no", "550 5.7.1 policy", "450 later", "550 5.1.1 <spamhaus@sender.test>"])
async def test_any_other_answer_opens_no_breaker(reply: str) -> None:
    async with Exchanger(script={Step.RCPT: says(reply)}) as exchanger:
        async with verifying(exchanger, breaker_time=3600.0) as verifier:
            await verifier.verify("spamhaus@sender.test")
            await verifier.verify(BOB)
        assert len(exchanger.dialogues) == 2


async def test_words_that_the_operator_calls_a_block_open_a_breaker() -> None:
    own = Classifier(Words("blocked we do not like you"))
    async with (
        Exchanger(script={Step.RCPT: says("550 We do not like you")}) as exchanger,
        verifying(exchanger, breaker_time=3600.0, classifier=own) as verifier,
    ):
        assert await reason(verifier, ALICE) == (Status.ERROR, "blocked")
        assert await reason(verifier, BOB) == (Status.TRANSIENT, "breaker")


async def test_a_domain_whose_exchanger_turns_us_away_three_times_in_a_row_is_not_probed_for_a_day() -> None:
    clock = Clock()
    async with (
        Exchanger(script={Step.BANNER: says("554 not you")}) as exchanger,
        verifying(exchanger, clock=clock, breaker_time=60.0) as verifier,
    ):
        with capture_logs() as log:
            for number in range(3):
                await verifier.verify(f"u{number}@sender.test")
                clock.now += 60
        assert [each["domain"] for each in log if each["event"] == "domain_not_probed"] == ["sender.test"]
        assert await reason(verifier, ALICE) == (Status.ERROR, "no_probe")
        assert len(exchanger.dialogues) == 3
        exchanger.script = {}
        clock.now += NO_PROBE_SECONDS
        assert await reason(verifier, ALICE) == (Status.PASS, "accepted")


@pytest.mark.parametrize("script", [{Step.BANNER: closes()}, {Step.MAIL: says("450 4.3.0 later")}])
async def test_a_domain_is_given_up_only_where_its_exchanger_turns_us_away_this_time(script: dict[Step, Act]) -> None:
    clock = Clock()
    async with (
        Exchanger(script={Step.BANNER: says("554 not you")}) as exchanger,
        verifying(exchanger, clock=clock, breaker_time=60.0) as verifier,
    ):
        for number in range(3):
            await verifier.verify(f"u{number}@sender.test")
            clock.now += 60
        exchanger.script = script
        assert (await verifier.verify("alice@other.test")).status is Status.TRANSIENT
        exchanger.script = {}
        clock.now += 60
        assert await reason(verifier, "bob@other.test") == (Status.PASS, "accepted")


async def test_who_is_held_back_by_a_budget_does_not_use_up_the_trial_of_an_exchanger_that_rested() -> None:
    clock = Clock()
    async with (
        Exchanger(script={Step.BANNER: says("421 busy")}) as exchanger,
        verifying(
            exchanger, clock=clock, breaker_time=60.0, budgets=budgets(per_exchanger=Throttle(1, 62))
        ) as verifier,
    ):
        assert (await verifier.verify(ALICE)).status is Status.TRANSIENT
        exchanger.script = {}
        clock.now += 60
        assert await reason(verifier, BOB) == (Status.TRANSIENT, "throttled")
        clock.now += 2
        assert await reason(verifier, BOB) == (Status.PASS, "accepted")
        assert len(exchanger.dialogues) == 2


# ---------------------------------------------------------------- our own limits, and families


@pytest.mark.parametrize(
    "limits", [{"most_probes": 1}, {"most_probes_per_exchanger": 1}], ids=["of all", "of one exchanger"]
)
async def test_a_turn_that_never_came_says_nothing_of_the_exchanger_and_is_not_remembered(
    limits: dict[str, int],
) -> None:
    async with Exchanger() as exchanger, verifying(exchanger, timeout=0.3, **limits) as verifier:
        elsewhere = exchanger.address if "most_probes" not in limits else "192.0.2.9"
        async with Visitor(verifier._doorkeeper).place(elsewhere):
            assert await reason(verifier, ALICE) == (Status.TRANSIENT, "busy_here")
        assert (exchanger.dialogues, await verifier.cache.count()) == ([], 0)
        assert await reason(verifier, ALICE) == (Status.PASS, "accepted")


async def test_one_look_at_a_familys_pass_is_enough_for_all_of_its_members() -> None:
    clock = Clock()
    async with Exchanger() as exchanger, verifying(exchanger, clock=clock) as verifier:
        await verifier.verify("list+r=x.test@sender.test")
        clock.now += 86400 * 0.76
        exchanger.script[Step.RCPT] = says("451 later")
        for number in range(5):
            assert await reason(verifier, f"list+q{number}=x.test@sender.test") == (Status.PASS, "accepted")
            await eventually(lambda: not verifier._owner, "it has been looked at")
        assert exchanger.count("RCPT") == 2


async def test_who_asks_while_the_verifier_closes_hears_pending() -> None:
    gate = asyncio.Event()
    async with (
        Exchanger(script={Step.RCPT: says("250 ok", until=gate)}) as exchanger,
        verifying(exchanger) as verifier,
        asyncio.TaskGroup() as group,
    ):
        asking = [group.create_task(reason(verifier, ALICE)) for _ in range(2)]
        await exchanger.until(lambda: bool(exchanger.held), "the probe is under way")
        await verifier.close()
        assert [await each for each in asking] == [(Status.TRANSIENT, "pending")] * 2
        assert (verifier._in_flight, await verifier.cache.count()) == ({}, 0)


# ---------------------------------------------------------------- storms


async def test_a_domain_that_is_being_forged_is_not_asked_but_what_is_remembered_is_given() -> None:
    async with (
        Exchanger(script={Step.RCPT: says("550 5.1.1 no")}) as exchanger,
        verifying(exchanger, storm=Throttle(3, 300)) as verifier,
    ):
        found = [await reason(verifier, f"u{number}@sender.test", client=f"192.0.{number}.1") for number in range(4)]
        assert found == [(Status.FAIL, "no_such_user")] * 3 + [(Status.TRANSIENT, "storm")]
        assert await reason(verifier, "u0@sender.test", client="192.0.2.9") == (Status.FAIL, "no_such_user")
        assert await reason(verifier, "u0@other.test", client="192.0.2.9") == (Status.FAIL, "no_such_user")
        assert len(exchanger.dialogues) == 4


async def test_fifty_senders_who_exist_make_no_storm() -> None:
    async with Exchanger() as exchanger, verifying(exchanger, storm=Throttle(50, 300)) as verifier:
        for number in range(60):
            client = f"2001:db8:{number:x}::/64"
            assert await reason(verifier, f"u{number}@sender.test", client=client) == (Status.PASS, "accepted")


async def test_a_spammers_share_of_unknown_users_is_his_alone() -> None:
    limits = budgets(unknown_users=Throttle(20, 3600), share=25)
    async with Exchanger(script={Step.RCPT: says("550 5.1.1 no")}) as exchanger:
        callbacks = Callbacks(exchanger.port, names=names_of("127.0.0.1"), budgets=limits)
        async with running(callbacks) as verifier:
            spam = [await reason(verifier, f"x{n}@sender.test", client=f"203.0.113.{n}") for n in range(25)]
            assert spam == [(Status.FAIL, "no_such_user")] * 5 + [(Status.TRANSIENT, "client_throttled")] * 20
            assert await reason(verifier, "forged@sender.test", client=CLIENT) == (Status.FAIL, "no_such_user")
            assert await reason(verifier, "x24@sender.test", client=CLIENT) == (Status.FAIL, "no_such_user")


async def test_one_network_holds_its_share_of_an_exchangers_places_and_the_others_keep_theirs() -> None:
    gate = asyncio.Event()
    async with (
        Exchanger(script={Step.RCPT: says("250 ok", until=gate)}) as exchanger,
        verifying(exchanger, most_probes_per_exchanger=3, budgets=budgets(share=25)) as verifier,
        asyncio.TaskGroup() as group,
    ):
        for number in range(6):
            group.create_task(verifier.verify(f"x{number}@sender.test", client=f"203.0.113.{number}"))
        await exchanger.until(lambda: len(exchanger.held) == 2, "the network has its places")
        other = group.create_task(reason(verifier, ALICE, client=CLIENT))
        await exchanger.until(lambda: len(exchanger.held) == 3, "the other has one, too")
        assert f"RCPT TO:<{ALICE}>" in exchanger.commands
        gate.set()
        assert await other == (Status.PASS, "accepted")


async def test_one_network_holds_its_share_of_the_questions_to_dns_and_the_others_keep_theirs() -> None:
    callbacks = Callbacks(budgets=budgets(share=25))
    around = callbacks.around()
    doors = ProbeLimiter(around.manner, around.neighbour, around.breakers, most=100, most_per_exchanger=3)
    spam = [Visitor(doors, f"2001:db8:1:{number:x}::/64") for number in range(MOST_AT_ONCE)]
    other, ours = Visitor(doors, CLIENT), Visitor(doors)
    async with AsyncExitStack() as stack:
        for each in spam[: MOST_AT_ONCE // 4]:
            await stack.enter_async_context(each.look_up())
        waiting = asyncio.get_running_loop().create_task(stack.enter_async_context(spam[-1].look_up()))
        await stack.enter_async_context(other.look_up())
        await stack.enter_async_context(ours.look_up())
        await asyncio.sleep(0)
        assert [each.waited_for for each in (spam[0], spam[-1], other, ours)] == ["", "client_throttled", "", ""]
        waiting.cancel()
        await asyncio.gather(waiting, return_exceptions=True)


async def test_who_waits_for_its_networks_places_is_throttled_and_who_waits_for_all_is_not() -> None:
    callbacks = Callbacks(budgets=budgets(share=25))
    around = callbacks.around()
    doors = ProbeLimiter(around.manner, around.neighbour, around.breakers, most=100, most_per_exchanger=3)
    spam = [Visitor(doors, f"203.0.113.{number}") for number in range(3)]
    others = [Visitor(doors, f"198.51.{number}.7") for number in range(2)]
    async with AsyncExitStack() as stack:
        for each in (*spam[:2], others[0]):
            await stack.enter_async_context(each.place("127.0.0.1"))
        late = (spam[2], others[1])
        entering = [stack.enter_async_context(each.place("127.0.0.1")) for each in late]
        waiting = [asyncio.get_running_loop().create_task(each) for each in entering]
        await asyncio.sleep(0)
        assert [each.waited_for for each in late] == ["client_throttled", "busy_here"]
        for each in waiting:
            each.cancel()
        await asyncio.gather(*waiting, return_exceptions=True)


async def test_who_waits_with_a_throttled_client_is_answered_for_himself() -> None:
    limits = budgets(per_client=Throttle(1, 3600))
    async with Exchanger() as exchanger, verifying(exchanger, budgets=limits) as verifier:
        await verifier.verify(BOB, client="203.0.113.1")
        async with asyncio.TaskGroup() as group:
            clients = ("203.0.113.1", CLIENT, "198.51.100.9")
            asking = [group.create_task(reason(verifier, ALICE, client=each)) for each in clients]
        assert [await each for each in asking] == [
            (Status.TRANSIENT, "client_throttled"),
            *[(Status.PASS, "accepted")] * 2,
        ]
        assert exchanger.count("RCPT") == 2


async def test_what_the_other_exchangers_say_to_a_throttled_client_is_not_remembered() -> None:
    names = names_of("127.0.0.1", "127.1.0.1")
    limits = budgets(per_exchanger=Throttle(4, 3600), share=25)
    async with Exchanger() as exchanger, verifying(exchanger, names=names, budgets=limits) as verifier:
        await verifier.verify(BOB, client="203.0.113.1")
        found = await reason(verifier, ALICE, client="203.0.113.1")  # the second exchanger takes no connection
        assert found == (Status.TRANSIENT, "client_throttled")
        assert await reason(verifier, ALICE, client=CLIENT) == (Status.PASS, "accepted")


async def test_one_client_with_many_addresses_makes_no_storm() -> None:
    async with Exchanger() as exchanger, verifying(exchanger, storm=Throttle(3, 300)) as verifier:
        for number in range(6):
            assert await reason(verifier, f"u{number}@sender.test", client=CLIENT) == (Status.PASS, "accepted")


# ---------------------------------------------------------------- what is heard, and what is said


async def test_an_observer_hears_the_conversation() -> None:
    heard: list[tuple[bool, bytes]] = []

    class Ear(Observer):
        def said(self, ours: bool, octets: bytes) -> None:  # noqa: FBT001 - as the observer is called
            heard.append((ours, octets))

    async with Exchanger() as exchanger, verifying(exchanger) as verifier:
        await verifier.verify(ALICE, observer=Ear())
    assert [octets for ours, octets in heard if ours][-3:] == [
        b"MAIL FROM:<>\r\n",
        b"RCPT TO:<alice@sender.test>\r\n",
        b"QUIT\r\n",
    ]
    assert heard[0] == (False, b"220 exchanger.test ESMTP\r\n")


async def test_a_transient_never_hides_a_pass_that_is_believed() -> None:
    clock = Clock()
    async with Exchanger() as exchanger, verifying(exchanger, clock=clock) as verifier:
        await verifier.verify(ALICE)
        await verifier.cache.keep(
            Question("alice", "sender.test", ""), CallbackVerdict(Status.TRANSIENT, "greylist", "later")
        )
        assert await reason(verifier, ALICE) == (Status.PASS, "accepted")
