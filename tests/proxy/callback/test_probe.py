"""One question to exchangers: the first that answers RCPT decides, the others are passed over."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator, Mapping
from typing import Any

import pytest

from proxy.callback import probe
from proxy.callback.manner import ProbeSettings
from proxy.callback.probe import ask
from proxy.callback.resolve import ExchangerHost
from proxy.callback.verdict import CallbackVerdict, Status
from tests.support.callbacks import HELO, OpenGate, question
from tests.support.exchanger import Act, Exchanger, Step, closes, is_silent, resets, says, sends

ADDRESS = "alice@sender.test"


@pytest.fixture(autouse=True)
def _impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("REPLY_SECONDS", "QUIT_SECONDS"):
        monkeypatch.setattr(probe, name, 0.3)
    monkeypatch.setattr(probe, "CONNECT_SECONDS", 1.0)  # on a busy machine, loopback takes a while, too


async def judged(
    *scripts: Mapping[Step, Act],
    address: str = ADDRESS,
    sender: str = "",
    extensions: tuple[str, ...] = ("SMTPUTF8",),
    **manner: Any,
) -> tuple[CallbackVerdict, list[Exchanger]]:
    """Ask exchangers on several loopback addresses, one with each script; return the verdict and the exchangers."""
    async with contextlib.AsyncExitStack() as stack:
        exchangers: list[Exchanger] = []
        for number, script in enumerate(scripts, 1):
            port = exchangers[0].port if exchangers else 0
            one = Exchanger(f"127.0.0.{number}", port, script=script, extensions=extensions)
            exchangers.append(await stack.enter_async_context(one))
        hosts = [ExchangerHost(f"mx{number}.test", (each.address,)) for number, each in enumerate(exchangers, 1)]
        asking = ProbeSettings(HELO, exchangers[0].port, **manner)
        verdict = await ask(question(address, sender), asking, hosts, OpenGate())
        for each in exchangers:
            if each.dialogues:
                await each.until(lambda each=each: not each.open_dialogues, "the connection is closed")  # type: ignore[misc]
            assert each.faults == []
    return verdict, exchangers


async def test_it_asks_as_a_client_would_and_says_goodbye() -> None:
    verdict, (exchanger,) = await judged({})
    assert exchanger.commands == ["EHLO ringback.test", "MAIL FROM:<>", f"RCPT TO:<{ADDRESS}>", "QUIT"]
    assert verdict == CallbackVerdict(
        Status.PASS, "accepted", "2.1.5 Ok", "rcpt", 250, "mx1.test", "127.0.0.1", verdict.seconds
    )


async def test_it_asks_in_another_senders_name_where_it_is_told_to() -> None:
    _, (exchanger,) = await judged({}, sender="probe@ringback.test")
    assert "MAIL FROM:<probe@ringback.test>" in exchanger.commands


@pytest.mark.parametrize(
    ("script", "status", "reason", "stage", "code"),
    [
        ({Step.RCPT: says("550 5.1.1 unknown")}, Status.FAIL, "no_such_user", "rcpt", 550),
        ({Step.RCPT: says("550-first", "550 No such user")}, Status.FAIL, "no_such_user", "rcpt", 550),
        ({Step.RCPT: says("450 greylisted")}, Status.TRANSIENT, "greylist", "rcpt", 450),
        ({Step.RCPT: says("550 5.7.1 blocked")}, Status.ERROR, "policy", "rcpt", 550),
        ({Step.RCPT: says("421 too busy")}, Status.TRANSIENT, "busy", "rcpt", 421),
        ({Step.MAIL: says("550 5.7.1 no bounces")}, Status.ERROR, "mail_refused", "mail", 550),
        ({Step.MAIL: says("451 later")}, Status.TRANSIENT, "deferred", "mail", 451),
        ({Step.MAIL: says("421 bye")}, Status.TRANSIENT, "busy", "mail", 421),
        ({Step.BANNER: says("554 5.7.1 not you")}, Status.ERROR, "refused_us", "banner", 554),
        ({Step.BANNER: says("521 no mail")}, Status.ERROR, "refused_us", "banner", 521),
        ({Step.BANNER: says("421 busy")}, Status.TRANSIENT, "busy", "banner", 421),
        ({Step.BANNER: says("450 busy")}, Status.TRANSIENT, "busy", "banner", 450),
        ({Step.EHLO: says("421 busy")}, Status.TRANSIENT, "busy", "ehlo", 421),
        ({Step.EHLO: says("502 what"), Step.HELO: says("550 no")}, Status.ERROR, "refused_us", "helo", 550),
        ({Step.EHLO: says("502 what"), Step.RCPT: says("250 ok")}, Status.PASS, "accepted", "rcpt", 250),
        ({Step.BANNER: closes()}, Status.TRANSIENT, "timeout", "connect", 0),
        ({Step.BANNER: is_silent()}, Status.TRANSIENT, "timeout", "connect", 0),
        ({Step.MAIL: closes()}, Status.TRANSIENT, "timeout", "rcpt", 0),
        ({Step.RCPT: closes()}, Status.TRANSIENT, "timeout", "rcpt", 0),
        ({Step.RCPT: resets()}, Status.TRANSIENT, "timeout", "rcpt", 0),
        ({Step.RCPT: is_silent()}, Status.TRANSIENT, "timeout", "rcpt", 0),
        ({Step.RCPT: sends(b"550-5.1.1 half")}, Status.TRANSIENT, "timeout", "rcpt", 0),
    ],
)
async def test_what_an_exchanger_does_is_judged(
    script: Mapping[Step, Act], status: Status, reason: str, stage: str, code: int
) -> None:
    verdict, _ = await judged(script)
    assert (verdict.status, verdict.reason, verdict.stage, verdict.code) == (status, reason, stage, code)
    assert verdict.exchanger == "mx1.test"


@pytest.mark.parametrize("garbage", [b"nonsense\r\n", b"550-5.1.1 x\r\n250 y\r\n", b"550 5.1.1 bare\n"])
async def test_garbage_at_rcpt_is_never_a_fail(garbage: bytes) -> None:
    verdict, _ = await judged({Step.RCPT: sends(garbage)})
    assert verdict.status in {Status.ERROR, Status.TRANSIENT}


@pytest.mark.parametrize(
    "first",
    [
        {Step.BANNER: closes()},
        {Step.BANNER: says("554 not you")},
        {Step.BANNER: says("421 busy")},
        {Step.EHLO: says("421 busy")},
        {Step.MAIL: says("451 later")},
        {Step.MAIL: closes()},
        {Step.RCPT: says("421 busy")},
        {Step.RCPT: closes()},
        {Step.RCPT: is_silent()},
    ],
)
async def test_an_exchanger_that_does_not_answer_rcpt_is_passed_over_for_the_next(first: Mapping[Step, Act]) -> None:
    verdict, (_, second) = await judged(first, {Step.RCPT: says("550 5.1.1 unknown")})
    assert (verdict.status, verdict.exchanger) == (Status.FAIL, "mx2.test")
    assert second.count("RCPT") == 1


@pytest.mark.parametrize("reply", ["250 ok", "450 later", "550 5.1.1 no", "550 5.7.1 policy"])
async def test_the_first_answer_to_rcpt_decides(reply: str) -> None:
    verdict, (_, second) = await judged({Step.RCPT: says(reply)}, {})
    assert verdict.exchanger == "mx1.test"
    assert second.dialogues == []


async def test_all_must_refuse_us_for_an_error_that_is_about_us() -> None:
    refuses: Mapping[Step, Act] = {Step.BANNER: says("554 not you")}
    busy: Mapping[Step, Act] = {Step.BANNER: says("421 busy")}
    assert (await judged(refuses, refuses))[0].status is Status.ERROR
    assert (await judged(refuses, busy))[0].status is Status.TRANSIENT
    assert (await judged(busy, refuses))[0].status is Status.TRANSIENT


async def test_without_a_candidate_nothing_is_known() -> None:
    verdict = await ask(question(), ProbeSettings(HELO), [], OpenGate())
    assert (verdict.status, verdict.reason) == (Status.TRANSIENT, "connect")


async def test_a_place_in_line_is_held_as_long_as_the_conversation() -> None:
    taken: list[str] = []

    class Waiting(OpenGate):
        @contextlib.asynccontextmanager
        async def place(self, address: str) -> AsyncIterator[None]:
            taken.append(f"in {address}")
            yield
            await exchanger.until(lambda: not exchanger.open_dialogues, "the conversation is over")
            taken.append(f"out {address} {exchanger.commands[-1]}")

    async with Exchanger() as exchanger:
        await ask(
            question(), ProbeSettings(HELO, exchanger.port), [ExchangerHost("mx.test", ("127.0.0.1",))], Waiting()
        )
    assert taken == ["in 127.0.0.1", "out 127.0.0.1 QUIT"]


async def test_an_exchanger_that_is_slow_to_say_goodbye_does_not_hold_the_verdict_for_long() -> None:
    verdict, (exchanger,) = await judged({Step.QUIT: is_silent()})
    assert verdict.status is Status.PASS
    assert exchanger.commands[-1] == "QUIT"


# ---------------------------------------------------------------- addresses beyond ASCII


async def test_a_local_part_beyond_ascii_is_asked_with_smtputf8() -> None:
    _, (exchanger,) = await judged({}, address="j\u00fcrgen@sender.test")
    assert exchanger.commands[1:3] == ["MAIL FROM:<> SMTPUTF8", "RCPT TO:<j\u00fcrgen@sender.test>"]


async def test_a_local_part_beyond_ascii_cannot_exist_where_smtputf8_is_not_known() -> None:
    verdict, (exchanger,) = await judged({}, address="j\u00fcrgen@sender.test", extensions=("PIPELINING",))
    assert (verdict.status, verdict.reason) == (Status.FAIL, "no_smtputf8")
    assert exchanger.count("MAIL") == 0
