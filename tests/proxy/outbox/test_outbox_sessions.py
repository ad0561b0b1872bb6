"""What goes with a message is kept before the client hears 250, and leaves only if it does."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from pathlib import Path

import pytest

from proxy.mail.session import NULL_PATH, Letter, Session
from proxy.mail.verdict import PASS, Verdict
from proxy.modules.sieve_policy.effects import path_of
from proxy.smtp.ports import OutboxUnavailable
from sieve.phases import Phase
from tests.support.exchanger import Act, Exchanger, Step, closes, says
from tests.support.waiting import eventually
from tests.support.worker import ALICE, BOB, CAROL, LETTER, Rule, WorkerStage, refuses, serving

FORWARD = b"Subject: made\r\n\r\nmade\r\n"
TO = "team@example.com"
ACCEPTED = "250 2.0.0 Ok: queued as 000001"
INTERNAL = "451 4.3.0 Temporary failure, try again later"


def letter() -> Letter:
    return Letter(NULL_PATH, (path_of(TO),), FORWARD, "forward")


async def makes(session: Session) -> Verdict:
    session.transaction.letters.append(letter())
    return PASS


async def makes_for_recipient(session: Session) -> Verdict:
    assert session.current_recipient is not None
    session.current_recipient.letters = [letter()]
    return PASS


def folder(path: Path) -> dict[str, object]:
    return {"State_Directory": f'"{path}"'}


def kept(path: Path) -> list[tuple[bytes, str]]:
    """Return what the outbox holds: recipients, and the transaction they are held for."""
    if not (path / "outbox.db").exists():
        return []
    with closing(sqlite3.connect(path / "outbox.db")) as connection:
        return connection.execute("SELECT recipient, held <> '' FROM deliveries").fetchall()


async def made(upstream: Exchanger) -> None:
    await upstream.until(lambda: any(FORWARD in each.content for each in upstream.messages), "the forward")


async def sent(stage: WorkerStage, *recipients: str) -> str:
    client = await stage.greeted()
    await client.envelope(ALICE, recipients or (BOB,))
    return await client.content(LETTER)


async def test_what_policy_made_is_delivered_after_the_message_was_accepted(tmp_path: Path) -> None:
    async with Exchanger() as upstream, serving(upstream, Rule(Phase.DATA, makes), **folder(tmp_path)) as stage:
        assert await sent(stage) == ACCEPTED
        await made(upstream)
        first, second = upstream.messages
        assert first.recipients == (f"RCPT TO:<{BOB}>",)
        assert (second.sender, second.recipients) == ("MAIL FROM:<> BODY=8BITMIME", (f"RCPT TO:<{TO}>",))
        assert second.content.startswith(b"Received: by ringback.test (Ringback) id ")
        assert second.content.endswith(FORWARD)


async def test_it_is_on_disk_and_held_when_our_dot_goes_upstream(tmp_path: Path) -> None:
    seen: list[object] = []

    class Looking(Exchanger):
        def act_at(self, step: Step, command: str) -> Act:
            if step is Step.DOT:
                seen.append(kept(tmp_path))
            return super().act_at(step, command)

    async with Looking() as upstream, serving(upstream, Rule(Phase.DATA, makes), **folder(tmp_path)) as stage:
        assert await sent(stage) == ACCEPTED
        assert seen[0] == [(TO.encode(), 1)]
        await made(upstream)
        await eventually(lambda: not kept(tmp_path), "it is gone")


@pytest.mark.parametrize(
    ("step", "act", "answer"),
    [
        (Step.DOT, says("554 5.6.0 no"), "554 5.6.0 no"),
        (Step.DOT, says("451 4.3.0 later"), "451 4.3.0 later"),
        (Step.DOT, closes(), "451 4.4.2 Next-hop server did not answer, try again later"),
        (Step.DATA, says("554 5.6.0 no"), "554 5.6.0 no"),
    ],
)
async def test_it_is_dropped_where_the_message_is_not_accepted(
    tmp_path: Path, step: Step, act: Act, answer: str
) -> None:
    async with (
        Exchanger(script={step: act}) as upstream,
        serving(upstream, Rule(Phase.DATA, makes), **folder(tmp_path)) as stage,
    ):
        assert await sent(stage) == answer
        await eventually(lambda: not kept(tmp_path), "it is dropped")
    assert upstream.messages == []


async def test_a_later_phase_that_refuses_drops_it(tmp_path: Path) -> None:
    rules = Rule(Phase.DATA, makes), Rule(Phase.SPOOL, refuses(550, "no"), name="other")
    async with Exchanger() as upstream, serving(upstream, *rules, **folder(tmp_path)) as stage:
        assert await sent(stage) == "550 no"
    assert (upstream.messages, kept(tmp_path)) == ([], [])


async def test_what_is_discarded_is_forwarded_all_the_same(tmp_path: Path) -> None:
    rules = Rule(Phase.DATA, makes), Rule(Phase.SPOOL, Verdict(discard=True), name="other")
    async with Exchanger() as upstream, serving(upstream, *rules, **folder(tmp_path)) as stage:
        assert (await sent(stage)).startswith("250 ")
        await made(upstream)
        assert len(upstream.messages) == 1


async def test_what_was_made_for_a_recipient_that_is_refused_does_not_leave(tmp_path: Path) -> None:
    async with (
        Exchanger(recipients={BOB: says("550 5.1.1 no")}) as upstream,
        serving(upstream, Rule(Phase.RCPTTO, makes_for_recipient), **folder(tmp_path)) as stage,
    ):
        client = await stage.greeted()
        await client.ask(f"MAIL FROM:<{ALICE}>")
        assert await client.ask(f"RCPT TO:<{BOB}>") == "550 5.1.1 no"
        assert (await client.ask(f"RCPT TO:<{CAROL}>")).startswith("250 ")
        await client.ask("DATA")
        assert await client.content(LETTER) == ACCEPTED
        await made(upstream)
        assert len(upstream.messages) == 2


async def test_without_a_folder_the_client_hears_451_and_the_upstream_nothing(tmp_path: Path) -> None:
    missing = folder(tmp_path / "missing")
    async with Exchanger() as upstream, serving(upstream, Rule(Phase.DATA, makes), **missing) as stage:
        assert await sent(stage) == INTERNAL
        assert upstream.messages == []
        client = await stage.greeted()
        assert (await client.ask("NOOP")).startswith("250 ")


async def test_without_a_folder_a_discarded_message_is_not_accepted(tmp_path: Path) -> None:
    rules = Rule(Phase.DATA, makes), Rule(Phase.SPOOL, Verdict(discard=True), name="other")
    async with Exchanger() as upstream, serving(upstream, *rules, **folder(tmp_path / "missing")) as stage:
        assert await sent(stage) == INTERNAL


async def test_a_release_that_fails_is_not_told_as_250(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async def fails(*_: object) -> None:
        raise OutboxUnavailable("disk full")

    async with Exchanger() as upstream, serving(upstream, Rule(Phase.DATA, makes), **folder(tmp_path)) as stage:
        monkeypatch.setattr(stage.worker.outbox_store, "release", fails)
        assert await sent(stage) == INTERNAL
        await eventually(lambda: not kept(tmp_path), "it is dropped")
        assert len(upstream.messages) == 1


async def test_a_client_that_goes_after_our_dot_changes_nothing(tmp_path: Path) -> None:
    async with Exchanger() as upstream, serving(upstream, Rule(Phase.DATA, makes), **folder(tmp_path)) as stage:
        client = await stage.greeted()
        await client.envelope(ALICE, (BOB,))
        await client.send_raw(LETTER + b".\r\n")
        await upstream.until(lambda: bool(upstream.messages), "the message")
        client.abort()
        await made(upstream)


async def test_a_worker_delivers_what_another_left_behind(tmp_path: Path) -> None:
    async with Exchanger(recipients={TO: says("451 4.2.1 later")}) as upstream:
        async with serving(upstream, Rule(Phase.DATA, makes), **folder(tmp_path)) as stage:
            assert await sent(stage) == ACCEPTED
            await upstream.until(lambda: upstream.count(f"RCPT TO:<{TO}") == 1, "a try")
            await eventually(lambda: kept(tmp_path) == [(TO.encode(), 0)], "it is put off")
        upstream.recipients.clear()
        with closing(sqlite3.connect(tmp_path / "outbox.db")) as connection, connection:
            connection.execute("UPDATE deliveries SET due = 0")
        async with serving(upstream, **folder(tmp_path)):
            await made(upstream)
    await eventually(lambda: not kept(tmp_path), "it is gone")
