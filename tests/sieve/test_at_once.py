"""A script that finds everything at hand runs without a coroutine; one that has to wait does the same, later."""

from __future__ import annotations

import asyncio
import random
import sys
from collections.abc import Awaitable
from types import FrameType

import pytest

from sieve.host import CallbackAnswer
from sieve.message import addresses
from sieve.message.addresses import address_in
from sieve.phases import Phase
from sieve.run.runtime import Outcome
from sieve.settings import Limits, ScriptSettings
from tests.sieve.plain_host import PlainHost, PlainMessage
from tests.sieve.test_script import script

CUSTOMER = """\
$from = envelope "from";
($rv) = smtp_callback_verify "${from}";
if ec_test :is "${rv}" "fail" {
  ec_action 550 "from address not reachable";
}
"""


class AtHand(PlainHost):
    """A host that has the answer to every callback at hand."""

    def callback(self, address: str, sender: str | None) -> CallbackAnswer | Awaitable[CallbackAnswer]:
        answer = super().callback(address, sender)
        try:
            answer.send(None)
        except StopIteration as ended:
            found: CallbackAnswer = ended.value
            return found
        raise AssertionError


class Waiting(PlainHost):
    """A host whose callbacks and pauses take a turn of the loop."""

    async def callback(self, address: str, sender: str | None) -> CallbackAnswer:
        await asyncio.sleep(0)
        return await super().callback(address, sender)

    async def tarpit(self, seconds: float) -> None:
        await asyncio.sleep(0)
        await super().tarpit(seconds)


@pytest.mark.parametrize(("verdict", "code"), [("pass", 250), ("fail", 550), ("error", 250)])
def test_the_customers_script_needs_no_loop_if_the_verdict_is_at_hand(verdict: str, code: int) -> None:
    outcome = script(CUSTOMER, Phase.MAILFROM).start(AtHand(verdict=verdict))
    assert isinstance(outcome, Outcome)
    assert outcome.code == code


@pytest.mark.parametrize(
    "text",
    [
        pytest.param('ec_log "a"; reject "no";', id="no_function_that_waits"),
        pytest.param('if address :domain "from" "a.example" { ec_log "yes"; }', id="addresses"),
        pytest.param('($all) = ec_pcre_match "abc" "b+"; ec_log "${all}";', id="expression"),
        pytest.param('if header :regex "subject" "^x" { ec_log "yes"; }', id="regex"),
        pytest.param('if false { ec_tarpit 5; } ec_log "a";', id="a_branch_that_is_not_taken"),
    ],
)
def test_a_script_that_does_not_have_to_wait_needs_no_loop(text: str) -> None:
    host = PlainHost(message=PlainMessage("From: a@a.example\nSubject: x\n\nbody\n"))
    assert isinstance(script(text).start(host), Outcome)


BRANCHES = """\
if smtp_callback_verify :is "a@a.example" "{verdict}" {{
  ec_log "first";
}} elsif anyof (false, smtp_callback_verify :contains "b@b.example" "a", true) {{
  ec_log "second";
  ($rv, $text, $none) = smtp_callback_verify "c@c.example";
  if allof (true, not smtp_callback_verify :is "d@d.example" "fail", isset $rv) {{ ec_log "${{rv}} ${{text}}"; }}
}} else {{
  ec_log "third";
}}
ec_tarpit 1;
ec_log "last";
"""
MISTAKES = """\
ec_error_mode "continue";
$w = envelope "from";
$x = ec_add "${w}" 1;
smtp_callback_verify "a@b.example";
if smtp_callback_verify :value "gt" :comparator "i;ascii-numeric" "a@b.example" "1" {
  $y = ec_add "${w}" 1; ec_log "y"; }
ec_log "after";
ec_tarpit 1;
$z = ec_add "${w}" 1;
reject "no";
ec_log "never";
"""


@pytest.mark.parametrize("verdict", ["pass", "fail", "transient", "raise"])
@pytest.mark.parametrize(
    "text",
    [CUSTOMER, *(BRANCHES.format(verdict=each) for each in ("pass", "fail", "no")), MISTAKES],
    ids=["customer", "pass", "fail", "no", "mistakes"],
)
async def test_an_answer_at_hand_and_one_to_wait_for_lead_to_the_same(text: str, verdict: str) -> None:
    found = []
    for host in (AtHand(verdict=verdict), PlainHost(verdict=verdict), Waiting(verdict=verdict)):
        outcome = await script(text, Phase.MAILFROM).run(host)
        found.append((outcome, host.done))
    assert found[0] == found[1] == found[2]
    assert len(found[0][1]) > 0


async def test_statements_are_counted_across_what_waits() -> None:
    text = "\n".join(
        ['($rv) = smtp_callback_verify "a@b.example";'] * 6 + ['if true { ec_log "in"; }', 'ec_log "end";']
    )
    for host in (AtHand(), Waiting()):
        limits = ScriptSettings(limits=Limits(steps=8))
        outcome = await script(text, Phase.MAILFROM, settings=limits).run(host)
        assert outcome.failed
        assert host.done[-1] == "error: test.siv:7: the script ran more than 8 statements"


async def test_many_statements_that_wait_do_not_deepen_the_stack() -> None:
    deepest = 0

    class Measuring(Waiting):
        async def tarpit(self, seconds: float) -> None:
            nonlocal deepest
            await super().tarpit(seconds)
            depth, frame = 0, sys._getframe()
            below: FrameType | None = frame
            while below is not None:
                depth, below = depth + 1, below.f_back
            deepest = max(deepest, depth)

    host = Measuring()
    outcome = await script("ec_tarpit 1;\n" * 5).run(host)
    few, deepest = deepest, 0
    outcome = await script("ec_tarpit 1;\n" * 2000).run(host)
    assert not outcome.failed
    assert deepest == few


async def test_a_message_too_long_for_the_loops_thread_is_waited_for() -> None:
    long = PlainHost(message=PlainMessage("From: " + "a@a.example, " * 5000 + "\n\nbody\n"))
    begun = script('if address :is "from" "z@z.example" { ec_log "yes"; } ec_log "end";').start(long)
    assert not isinstance(begun, Outcome)
    assert long.done == []
    assert not (await begun).failed
    assert long.done == ["log: end"]


def test_a_plain_address_is_read_as_by_the_parser(monkeypatch: pytest.MonkeyPatch) -> None:
    chance = random.Random(7)  # noqa: S311 - the same texts each time
    pool = "aZ0!#$%&'*+/=?^_`{|}~.-@@.. \"(),:;<>[]\\\n\t\xfc\x00"
    texts = ["".join(chance.choices(pool, k=chance.randrange(12))) for _ in range(20_000)]
    texts += [
        "".join(chance.choices("aZ0!#%+=_.-", k=3)) + "@" + "".join(chance.choices("aZ0.-", k=3)) for _ in range(500)
    ]
    found = [address_in(each) for each in texts]
    monkeypatch.setattr(addresses, "_PLAIN", addresses.re.compile("(?!)"))
    assert found == [address_in(each) for each in texts]
    assert sum(each is not None for each in found) > 500
