"""How an exchanger is asked that is not like the others: TLS, no null sender, everybody accepted, ourselves, floods."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import ssl
import tracemalloc
from collections.abc import AsyncIterator, Mapping
from typing import Any

import pytest
import trustme

from proxy.base.tasks import TaskOwner, spawn
from proxy.callback import probe
from proxy.callback.manner import ProbeSettings
from proxy.callback.probe import ask
from proxy.callback.resolve import ExchangerHost
from proxy.callback.verdict import CallbackVerdict, Status
from proxy.outgoing.wire import LONGEST_LINE, LONGEST_REPLY
from tests.support.callbacks import ALICE, HELO, OpenGate, question
from tests.support.exchanger import Act, Dialogue, Exchanger, Step, closes, is_silent, says, sends
from tests.support.inbox import Gone, Inbox

FALLBACK = "callback@ringback.test"


@pytest.fixture
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("CONNECT_SECONDS", "REPLY_SECONDS", "QUIT_SECONDS"):
        monkeypatch.setattr(probe, name, 0.5)


async def asked(
    exchanger: Exchanger, address: str = ALICE, *, sender: str = "", gate: OpenGate | None = None, **manner: Any
) -> CallbackVerdict:
    """Ask one exchanger, and wait until the conversation has ended."""
    host = ExchangerHost("mx.test", (exchanger.address,))
    verdict = await ask(
        question(address, sender), ProbeSettings(HELO, exchanger.port, **manner), [host], gate or OpenGate()
    )
    await exchanger.until(lambda: not exchanger.open_dialogues, "the connection is closed")
    return verdict


def envelope(exchanger: Exchanger) -> list[str]:
    return [each for each in exchanger.commands if each.startswith(("MAIL", "RCPT", "RSET"))]


# ---------------------------------------------------------------- TLS


class TlsExchanger(Exchanger):
    """One that begins TLS: with a context, or by saying nonsense, or not at all."""

    def __init__(self, handshake: ssl.SSLContext | bytes, **given: Any) -> None:
        super().__init__(extensions=("STARTTLS", "SMTPUTF8"), **given)
        self.handshake = handshake
        self.begun = 0

    async def _command(self, dialogue: Dialogue, command: str, inbox: Inbox) -> None:
        if command != "STARTTLS" or Step.OTHER in self.script:
            await super()._command(dialogue, command, inbox)
            return
        dialogue.commands.append(command)
        dialogue.writer.write(b"220 2.0.0 Ready\r\n")
        if isinstance(self.handshake, bytes):
            dialogue.writer.write(self.handshake)
            raise Gone
        try:
            await dialogue.writer.start_tls(self.handshake)
        except (ssl.SSLError, ConnectionError) as error:
            raise Gone from error
        self.begun += 1


@pytest.fixture(scope="module")
def server_context() -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    trustme.CA().issue_cert("mx.test").configure_cert(context)
    return context


def any_certificate() -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    return context


async def test_tls_is_begun_where_it_is_offered_and_we_introduce_ourselves_again(
    server_context: ssl.SSLContext,
) -> None:
    async with TlsExchanger(server_context, script={Step.RCPT: says("550 5.1.1 no")}) as exchanger:
        verdict = await asked(exchanger, tls=any_certificate())
    assert (verdict.status, verdict.tls, exchanger.begun) == (Status.FAIL, True, 1)
    assert exchanger.commands[:3] == [f"EHLO {HELO}", "STARTTLS", f"EHLO {HELO}"]


async def test_without_a_context_nothing_is_begun(server_context: ssl.SSLContext) -> None:
    async with TlsExchanger(server_context) as exchanger:
        verdict = await asked(exchanger)
    assert (verdict.status, verdict.tls) == (Status.PASS, False)
    assert "STARTTLS" not in exchanger.commands


async def test_an_exchanger_that_offers_no_tls_is_asked_in_the_clear() -> None:
    async with Exchanger() as exchanger:
        verdict = await asked(exchanger, tls=any_certificate())
    assert (verdict.status, verdict.tls, len(exchanger.dialogues)) == (Status.PASS, False, 1)


@pytest.mark.parametrize("nonsense", [b"", b"this is no handshake\r\n"])
async def test_where_the_handshake_fails_it_is_asked_once_more_in_the_clear(nonsense: bytes) -> None:
    async with TlsExchanger(nonsense, script={Step.RCPT: says("550 5.1.1 no")}) as exchanger:
        verdict = await asked(exchanger, tls=any_certificate())
    assert (verdict.status, verdict.reason, verdict.tls) == (Status.FAIL, "no_such_user", False)
    first, second = exchanger.dialogues
    assert first.commands == [f"EHLO {HELO}", "STARTTLS"]
    assert second.commands == [f"EHLO {HELO}", "MAIL FROM:<>", f"RCPT TO:<{ALICE}>", "QUIT"]


async def test_where_the_clear_is_not_taken_either_tls_is_why() -> None:
    class Closing(TlsExchanger):
        async def _before_banner(self, _dialogue: Dialogue, _inbox: Inbox) -> None:
            if len(self.dialogues) > 1:
                raise Gone

    async with Closing(b"nonsense") as exchanger:
        verdict = await asked(exchanger, tls=any_certificate())
        assert len(exchanger.dialogues) == 2
    assert (verdict.status, verdict.reason) == (Status.TRANSIENT, "tls")


async def test_starttls_that_is_refused_is_no_reason_not_to_ask(server_context: ssl.SSLContext) -> None:
    async with TlsExchanger(server_context, script={Step.OTHER: says("454 4.7.0 TLS not available")}) as exchanger:
        verdict = await asked(exchanger, tls=any_certificate())
    assert (verdict.status, verdict.tls, len(exchanger.dialogues)) == (Status.PASS, False, 1)


@pytest.mark.parametrize("step", [Step.MAIL, Step.RCPT])
@pytest.mark.parametrize("reply", ["530 5.7.0 Must issue a STARTTLS command first", "451 5.7.3 STARTTLS is required"])
async def test_who_demands_tls_says_nothing_of_the_address(step: Step, reply: str) -> None:
    async with Exchanger(script={step: says(reply)}) as exchanger:
        verdict = await asked(exchanger)
    assert (verdict.status, verdict.reason) == (Status.ERROR, "tls_required")


# ---------------------------------------------------------------- the null sender


async def test_where_the_null_sender_is_refused_the_fallback_is_given() -> None:
    class Proud(Exchanger):
        def act_at(self, step: Step, command: str) -> Act:
            return says("550 5.7.1 no bounces") if command == "MAIL FROM:<>" else super().act_at(step, command)

    async with Proud(script={Step.RCPT: says("550 5.1.1 no")}) as exchanger:
        verdict = await asked(exchanger, fallback=FALLBACK)
    assert (verdict.status, verdict.reason, verdict.null_refused) == (Status.FAIL, "no_such_user", True)
    assert envelope(exchanger) == ["MAIL FROM:<>", f"MAIL FROM:<{FALLBACK}>", f"RCPT TO:<{ALICE}>"]


async def test_where_the_fallback_is_refused_as_well_it_is_about_us() -> None:
    async with Exchanger(script={Step.MAIL: says("550 5.7.1 not you")}) as exchanger:
        verdict = await asked(exchanger, fallback=FALLBACK)
    assert (verdict.status, verdict.reason, verdict.null_refused) == (Status.ERROR, "mail_refused", True)
    assert envelope(exchanger) == ["MAIL FROM:<>", f"MAIL FROM:<{FALLBACK}>"]


@pytest.mark.parametrize(
    ("sender", "given", "status", "flagged"),
    [
        ("", Status.ERROR, Status.ERROR, True),
        ("", Status.FAIL, Status.FAIL, True),
        ("probe@ringback.test", Status.FAIL, Status.ERROR, False),
    ],
)
async def test_without_a_fallback_refusing_bounces_is_what_the_operator_says(
    sender: str,
    given: Status,
    status: Status,
    flagged: bool,  # noqa: FBT001 - a parameter
) -> None:
    async with Exchanger(script={Step.MAIL: says("550 no bounces")}) as exchanger:
        verdict = await asked(exchanger, sender=sender, null_refused=given)
    assert (verdict.status, verdict.reason, verdict.null_refused) == (status, "mail_refused", flagged)
    assert len(envelope(exchanger)) == 1


@pytest.mark.parametrize("reply", ["450 later", "421 busy"])
async def test_a_null_sender_refused_for_now_is_not_refused(reply: str) -> None:
    async with Exchanger(script={Step.MAIL: says(reply)}) as exchanger:
        verdict = await asked(exchanger, fallback=FALLBACK)
    assert (verdict.status, verdict.null_refused) == (Status.TRANSIENT, False)
    assert envelope(exchanger) == ["MAIL FROM:<>"]


class WithoutBatv(Exchanger):
    """One that refuses a recipient of a bounce, since the address has no BATV signature."""

    refusal = "550 5.7.1 bounce without BATV signature"

    def act_at(self, step: Step, command: str) -> Act:
        if step is Step.RCPT and self.dialogues[-1].sender == "MAIL FROM:<>":
            return says(self.refusal)
        return super().act_at(step, command)


@pytest.mark.parametrize(("reply", "status"), [("250 ok", Status.PASS), ("550 5.1.1 no", Status.FAIL)])
async def test_where_a_recipient_is_refused_for_the_null_sender_the_fallback_is_given(
    reply: str, status: Status
) -> None:
    async with WithoutBatv(script={Step.RCPT: says(reply)}) as exchanger:
        verdict = await asked(exchanger, fallback=FALLBACK)
    assert (verdict.status, verdict.null_refused, exchanger.faults) == (status, True, [])
    assert envelope(exchanger) == [
        "MAIL FROM:<>", f"RCPT TO:<{ALICE}>", "RSET", f"MAIL FROM:<{FALLBACK}>", f"RCPT TO:<{ALICE}>"
    ]  # fmt: skip


async def test_without_a_fallback_such_a_refusal_is_about_the_null_sender() -> None:
    async with WithoutBatv() as exchanger:
        verdict = await asked(exchanger)
    assert (verdict.status, verdict.reason, len(envelope(exchanger))) == (Status.ERROR, "null_sender", 2)


@pytest.mark.parametrize(
    "refusal",
    [
        pytest.param(
            "550 5.1.1 Backscatter Protection detected an invalid or expired email address", id="backscatter-protection"
        ),
        pytest.param("550 unsigned dsn", id="unsigned"),
        pytest.param("550 5.1.1 returned mail not accepted here", id="returned-mail"),
        pytest.param("550 5.2.1 this mailbox does not accept bounces", id="mailbox"),
    ],
)
async def test_a_refusal_of_bounces_has_the_fallback_tried_whatever_its_code(refusal: str) -> None:
    exchanger = WithoutBatv()
    exchanger.refusal = refusal
    async with exchanger:
        verdict = await asked(exchanger, fallback=FALLBACK)
    assert (verdict.status, verdict.null_refused, len(envelope(exchanger))) == (Status.PASS, True, 5)


async def test_a_tagged_address_in_a_refusal_is_no_word_about_the_null_sender() -> None:
    address = "prvs=0123abcdef=alice@sender.test"
    async with Exchanger(script={Step.RCPT: says(f"550 5.1.1 <{address}> unknown")}) as exchanger:
        verdict = await asked(exchanger, address, fallback=FALLBACK)
    assert (verdict.status, verdict.null_refused, len(envelope(exchanger))) == (Status.FAIL, False, 2)


# ---------------------------------------------------------------- exchangers that accept every address, or none


async def test_who_takes_everybody_passes_and_it_is_told() -> None:
    async with Exchanger() as exchanger:
        verdict = await asked(exchanger, catchall=True)
    assert (verdict.status, verdict.reason, verdict.catchall) == (Status.PASS, "catchall", True)
    real, random = (each for each in exchanger.commands if each.startswith("RCPT"))
    assert real == f"RCPT TO:<{ALICE}>"
    assert random.endswith("@sender.test>")
    assert random != real


@pytest.mark.parametrize("other", ["550 5.1.1 no", "452 too many", "550 5.7.1 policy"])
async def test_who_takes_the_one_and_not_the_other_is_no_catchall(other: str) -> None:
    async with Exchanger(script={Step.RCPT: says(other)}, recipients={ALICE: says("250 ok")}) as exchanger:
        verdict = await asked(exchanger, catchall=True)
    assert (verdict.status, verdict.reason, verdict.catchall) == (Status.PASS, "accepted", False)


class Echoing(Exchanger):
    """One that refuses everybody with the address in its words."""

    def act_at(self, step: Step, command: str) -> Act:
        if step is Step.RCPT:
            return says(f"550 unknown user {command[8:]}")
        return super().act_at(step, command)


@pytest.mark.parametrize("exchanger", [Exchanger(script={Step.RCPT: says("550 User unknown")}), Echoing()])
async def test_who_refuses_both_in_the_same_words_without_a_code_tells_nothing(exchanger: Exchanger) -> None:
    async with exchanger:
        verdict = await asked(exchanger, catchall=True)
    assert (verdict.status, verdict.reason) == (Status.ERROR, "policy")


@pytest.mark.parametrize(
    ("real", "random"), [("550 5.1.1 no such user", "550 5.1.1 no such user"), ("550 User unknown", "250 ok")]
)
async def test_a_code_or_another_answer_is_evidence(real: str, random: str) -> None:
    async with Exchanger(script={Step.RCPT: says(random)}, recipients={ALICE: says(real)}) as exchanger:
        verdict = await asked(exchanger, catchall=True)
    assert (verdict.status, verdict.reason) == (Status.FAIL, "no_such_user")


@pytest.mark.parametrize("reply", ["450 later", "550 5.7.1 policy", "552 full"])
async def test_after_any_other_answer_nobody_else_is_asked_about(reply: str) -> None:
    async with Exchanger(script={Step.RCPT: says(reply)}) as exchanger:
        await asked(exchanger, catchall=True)
    assert exchanger.count("RCPT") == 1


# ---------------------------------------------------------------- ourselves


@pytest.mark.parametrize("greeting", [HELO, "Ringback.Test at your service"])
async def test_an_exchanger_that_bears_our_name_is_us_and_is_asked_nothing(greeting: str) -> None:
    async with Exchanger(script={Step.EHLO: says(f"250-{greeting}", "250 SMTPUTF8")}) as exchanger:
        verdict = await asked(exchanger)
    assert (verdict.status, verdict.reason, verdict.stage) == (Status.ERROR, "loop", "ehlo")
    assert envelope(exchanger) == []


async def test_connections_leave_from_the_address_that_is_ours_to_use() -> None:
    async with Exchanger() as exchanger:
        verdict = await asked(exchanger, bind={socket.AF_INET: "127.0.0.77"})
        assert verdict.status is Status.PASS
        assert exchanger.dialogues[0].peer[0] == "127.0.0.77"


async def test_an_address_that_is_not_ours_makes_no_connection() -> None:
    async with Exchanger() as exchanger:
        verdict = await asked(exchanger, bind={socket.AF_INET: "192.0.2.1"})
    assert (verdict.status, verdict.reason, exchanger.dialogues) == (Status.TRANSIENT, "connect", [])


# ---------------------------------------------------------------- the gate


async def test_who_may_not_be_asked_is_sent_no_packet() -> None:
    gate = OpenGate({"127.0.0.1": "breaker"})
    async with Exchanger() as exchanger:
        verdict = await asked(exchanger, gate=gate)
    assert (verdict.status, verdict.reason, verdict.exchanger) == (Status.TRANSIENT, "breaker", "mx.test")
    assert (exchanger.dialogues, gate.taken, gate.verdicts) == ([], ["127.0.0.1", "done"], [verdict])


async def test_the_next_exchanger_is_asked_where_the_first_may_not_be() -> None:
    gate = OpenGate({"127.0.0.9": "throttled"})
    async with Exchanger() as exchanger:
        hosts = [ExchangerHost("one.test", ("127.0.0.9",)), ExchangerHost("two.test", ("127.0.0.1",))]
        verdict = await ask(question(), ProbeSettings(HELO, exchanger.port), hosts, gate)
    assert (verdict.status, verdict.exchanger) == (Status.PASS, "two.test")
    assert [each.reason for each in gate.verdicts] == ["throttled", "accepted"]
    assert gate.taken == ["127.0.0.9", "done", "127.0.0.1", "done"]


# ---------------------------------------------------------------- those who speak against the grammar


@pytest.mark.parametrize(
    "banner",
    [
        b"nonsense\r\n",
        b"220 bare\n",
        b"220 a\r\n250 b\r\n",
        b"220-a\r\n250 b\r\n",
        b"250 ok\r\n" * 5,
        b"220 nul \0\r\n",
        b"SSH-2.0-OpenSSH_9.2\r\n",
    ],
)
async def test_a_garbled_banner_is_an_error_of_protocol(banner: bytes) -> None:
    async with Exchanger(script={Step.BANNER: sends(banner)}) as exchanger:
        verdict = await asked(exchanger)
    assert (verdict.status, verdict.reason) == (Status.ERROR, "protocol")
    assert envelope(exchanger) == []


@pytest.mark.parametrize("step", [Step.MAIL, Step.RCPT])
@pytest.mark.parametrize("reply", [b"250 a\r\n250 b\r\n", b"550-5.1.1 a\r\n250 b\r\n", b"550 5.1.1 a\n", b"??\r\n"])
async def test_a_garbled_reply_is_an_error_of_protocol_whatever_it_says(step: Step, reply: bytes) -> None:
    async with Exchanger(script={step: sends(reply)}) as exchanger:
        verdict = await asked(exchanger)
    assert (verdict.status, verdict.reason) == (Status.ERROR, "protocol")


class Flood(Exchanger):
    """An exchanger that sends a piece again and again at one step, up to a number of octets."""

    def __init__(self, step: Step, piece: bytes, octets: int) -> None:
        super().__init__()
        self.step, self.piece, self.octets, self.sent = step, piece, octets, 0

    async def _do(self, dialogue: Dialogue, step: Step, command: str = "", **given: Any) -> bytes:
        if step is self.step:
            while self.sent < self.octets:
                dialogue.writer.write(self.piece)
                self.sent += len(self.piece)
                await dialogue.writer.drain()
        return await super()._do(dialogue, step, command, **given)


@contextlib.asynccontextmanager
async def measured() -> AsyncIterator[list[int]]:
    """Give the most memory that Python held in between, in octets, once it is over."""
    peak: list[int] = []
    tracemalloc.start()
    before = tracemalloc.get_traced_memory()[0]
    try:
        yield peak
        peak.append(tracemalloc.get_traced_memory()[1] - before)
    finally:
        tracemalloc.stop()


TEN_MEGABYTES = 10_000_000


@pytest.mark.parametrize("step", [Step.BANNER, Step.EHLO, Step.MAIL, Step.RCPT])
@pytest.mark.parametrize(
    "piece", [b"x" * 4096, b"550-5.1.1 no such user\r\n" * 100, b"220-welcome\r\n" * 100], ids=["line", "550", "220"]
)
async def test_an_endless_reply_ends_the_conversation_long_before_it_is_whole(step: Step, piece: bytes) -> None:
    async with measured() as peak, Flood(step, piece, TEN_MEGABYTES) as exchanger:
        verdict = await asked(exchanger)
        assert (verdict.status, verdict.reason) == (Status.ERROR, "protocol")
        assert exchanger.sent < TEN_MEGABYTES
    assert peak[0] < 8 * (LONGEST_REPLY + LONGEST_LINE) + 2**20  # what the server's own buffer holds is in it


@pytest.mark.parametrize("step", [Step.BANNER, Step.EHLO, Step.MAIL, Step.RCPT])
@pytest.mark.usefixtures("impatient")
async def test_a_tarpit_costs_no_more_than_a_step_may_take(step: Step) -> None:
    class Tarpit(Exchanger):
        async def _do(self, dialogue: Dialogue, step_: Step, command: str = "", **given: Any) -> bytes:
            while step_ is step:
                dialogue.writer.write(b"2")
                await dialogue.writer.drain()
                await asyncio.sleep(0.01)
            return await super()._do(dialogue, step_, command, **given)

    async with Tarpit() as exchanger:
        verdict = await asked(exchanger)
    assert (verdict.status, verdict.reason) == (Status.TRANSIENT, "timeout")


@pytest.mark.usefixtures("impatient")
async def test_a_reply_that_comes_octet_by_octet_in_time_is_a_reply() -> None:
    class Slow(Exchanger):
        async def _do(self, dialogue: Dialogue, step: Step, command: str = "", **given: Any) -> bytes:
            if step is Step.RCPT:
                for octet in b"550 5.1.1 no":
                    dialogue.writer.write(bytes([octet]))
                    await dialogue.writer.drain()
                    await asyncio.sleep(0)
            return await super()._do(dialogue, step, command, **given)

    async with Slow(script={Step.RCPT: sends(b"\r\n")}) as exchanger:
        verdict = await asked(exchanger)
    assert (verdict.status, verdict.reason, verdict.text) == (Status.FAIL, "no_such_user", "5.1.1 no")


@pytest.mark.parametrize("script", [{Step.QUIT: closes()}, {Step.QUIT: is_silent()}, {Step.QUIT: sends(b"nonsense")}])
@pytest.mark.usefixtures("impatient")
async def test_what_comes_after_quit_changes_nothing(script: Mapping[Step, Act]) -> None:
    async with Exchanger(script=script) as exchanger:
        verdict = await asked(exchanger)
    assert verdict.status is Status.PASS


# ---------------------------------------------------------------- what a conversation cost


@pytest.mark.usefixtures("impatient")
@pytest.mark.parametrize(
    ("script", "unknown"),
    [
        pytest.param({}, 0, id="accepted"),
        pytest.param({Step.RCPT: says("550 5.1.1 No such user")}, 1, id="unknown"),
        pytest.param({Step.RCPT: says("450 4.2.1 Later")}, 0, id="later"),
        pytest.param({Step.MAIL: is_silent()}, 0, id="silent-at-MAIL"),
        pytest.param({Step.RCPT: is_silent()}, 1, id="silent-at-RCPT"),
        pytest.param({Step.RCPT: closes()}, 1, id="closes-at-RCPT"),
    ],
)
async def test_a_recipient_without_an_answer_counts_as_an_unknown_user(
    script: Mapping[Step, Act], unknown: int
) -> None:
    """The exchanger may have counted it: its answer comes after our time, or is lost on the way."""
    gate = OpenGate()
    async with Exchanger(script=script) as exchanger:
        await asked(exchanger, gate=gate)
    assert gate.unknown == unknown


async def test_a_question_that_is_given_up_after_rcpt_counts_as_an_unknown_user() -> None:
    gate, owner = OpenGate(), TaskOwner("test")
    async with Exchanger(script={Step.RCPT: is_silent()}) as exchanger:
        asking = spawn(asked(exchanger, gate=gate), name="asking", owner=owner)
        await exchanger.until(lambda: f"RCPT TO:<{ALICE}>" in exchanger.commands, "it was asked")
        asking.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await asking
    assert gate.verdicts == []
    assert gate.unknown == 1
