"""Letters that come back: what is ours is known by a token, hops are counted, and Auto-Submitted is honoured."""

from __future__ import annotations

import contextlib
import re
import stat
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from proxy.app import load_service
from proxy.server.worker import Worker
from tests.support.conversation import Conversation
from tests.support.exchanger import Exchanger, Message, says
from tests.support.programs import free_port
from tests.support.waiting import eventually_answered
from tests.support.worker import ALICE, BOB, LETTER, settled

ONE, TWO = "archive@one.test", "archive@two.test"
TEAM = "team@example.com"
SECRET = b"a secret of the whole site\n"
MOST_HOPS = 10


def forwards(*recipients: str) -> str:
    return "".join(f'ec_forward "" "{each}" "copy";\n' for each in recipients)


def configured(folder: Path, port: int, upstream: int, script: str, *lines: str, phase: str = "data") -> Path:
    (folder / "state").mkdir(parents=True)
    (folder / "s.siv").write_text(script)
    path = folder / "r.conf"
    path.write_text(
        f'ESMTP_Listener = ( 127.0.0.1:{port} )\nHostname = "mx.test"\nGateway = "127.0.0.1"\n'
        f"Relay_Domains = ( example.com one.test two.test )\nRemote_SMTP_Port = {upstream}\n"
        f'State_Directory = "{folder}/state"\n' + "\n".join(lines) + f'\nsieve {{\n  {phase}_phase1 = "s.siv"\n}}\n'
    )
    return path


@contextlib.asynccontextmanager
async def running(*paths: Path) -> AsyncIterator[list[Worker]]:
    workers: list[Worker] = []
    try:
        for path in paths:
            workers.append(load_service(path))
            await workers[-1].start()
            await settled(*workers[-1].pools._pools.values())
        yield workers
    finally:
        for worker in workers:
            await worker.stop(now=True)


async def at_rest(*workers: Worker) -> None:
    """Wait until nothing waits for delivery, and nothing is under way."""

    async def rests() -> bool:
        waiting = [await each.outbox_store.next_due() for each in workers]
        return not any(waiting) and not any(len(each.deliverer._deliveries) for each in workers)

    await eventually_answered(rests, "the outboxes are empty")


async def sent(worker: Worker, letter: bytes = LETTER, sender: str = ALICE, recipient: str = BOB) -> str:
    async with await Conversation.connect(*worker.addresses[0]) as client:
        client.banner = await client.reply()
        await client.ehlo()
        return await client.deliver(sender, [recipient], letter)


def recipients(upstream: Exchanger) -> list[str]:
    found = (re.search("<(.*)>", each) for message in upstream.messages for each in message.recipients)
    return sorted(each[1] for each in found if each is not None)


# ---------------------------------------------------------------- two servers


@pytest.mark.parametrize(
    ("scripts", "key", "expected"),
    [
        pytest.param((forwards(TWO), forwards(ONE)), "", [ONE, TWO, BOB], id="each_its_own_key"),
        pytest.param((forwards(TWO), forwards(ONE)), "site.key", [TWO, BOB], id="shared_key"),
        pytest.param((forwards(ONE, TWO),) * 2, "", [ONE, ONE, TWO, TWO, BOB], id="same_script"),
        pytest.param((forwards(ONE, TWO),) * 2, "site.key", [ONE, TWO, BOB], id="same_script_and_key"),
    ],
)
async def test_two_servers_that_forward_to_each_other_come_to_rest(
    tmp_path: Path, scripts: tuple[str, str], key: str, expected: list[str]
) -> None:
    ports = [free_port(), free_port()]
    (tmp_path / "site.key").write_bytes(SECRET)
    lines = [f'Letter_Key = "{tmp_path}/{key}"'] if key else []
    async with Exchanger() as upstream:
        paths = [
            configured(
                tmp_path / name, ports[at], upstream.port, scripts[at], *lines,
                f'Domain "{domain}" {{\n  Remote_SMTP_Port = {ports[1 - at]}\n}}',
            )
            for at, (name, domain) in enumerate((("mx1", "two.test"), ("mx2", "one.test")))
        ]  # fmt: skip
        async with running(*paths) as workers:
            assert (await sent(workers[0])).startswith("250 ")
            await at_rest(*workers)
            assert recipients(upstream) == sorted(expected)


# ---------------------------------------------------------------- a stranger's words


@contextlib.asynccontextmanager
async def one(folder: Path, script: str, *lines: str, phase: str = "data") -> AsyncIterator[tuple[Exchanger, Worker]]:
    async with (
        Exchanger() as upstream,
        running(configured(folder / "mx", 0, upstream.port, script, *lines, phase=phase)) as (worker,),
    ):
        yield upstream, worker


async def copies(upstream: Exchanger, worker: Worker, to: str = TEAM) -> list[Message]:
    await at_rest(worker)
    return [each for each in upstream.messages if to in each.recipients[0]]


FORGED = {
    "our_received": b"Received: by mx.test (Ringback) id 1;\r\n\tMon, 1 Jan 2024 00:00:00 +0000\r\n",
    "a_mark": b"X-Ringback-Letter: id=1; time=1000000; token=00000000000000000000000000000000\r\n",
    "no_mark": b"X-Ringback-Letter: yes\r\n",
    "auto_submitted": b"Auto-Submitted: auto-generated\r\n",
    "loop_fields": b"X-Loop: team@example.com\r\nDelivered-To: team@example.com\r\n",
}


@pytest.mark.parametrize("field", FORGED.values(), ids=FORGED.keys())
async def test_no_field_that_a_stranger_writes_keeps_a_copy_from_the_archive(tmp_path: Path, field: bytes) -> None:
    async with one(tmp_path, forwards(TEAM)) as (upstream, worker):
        assert (await sent(worker, field + LETTER)).startswith("250 ")
        assert len(await copies(upstream, worker)) == 1


async def test_a_letter_that_comes_back_is_relayed_and_makes_no_other(tmp_path: Path) -> None:
    async with one(tmp_path, forwards(TEAM)) as (upstream, worker):
        await sent(worker)
        (first,) = await copies(upstream, worker)
        upstream.messages.clear()
        assert (await sent(worker, b"Received: by mta.test\r\n" + first.content, recipient=TEAM)).startswith("250 ")
        assert len(await copies(upstream, worker)) == 1  # the letter itself


@pytest.mark.parametrize("phase", ["rcptto", "each_rcpt", "data", "spool"])
async def test_a_letter_of_any_phase_is_known_when_it_comes_back(tmp_path: Path, phase: str) -> None:
    """At RCPT nothing is known of the message yet: it is looked at when the letters are to be kept."""
    script = f'generate_mail_raw "" "{TEAM}" "Subject: x\\r\\n\\r\\nnotice";\n'
    async with one(tmp_path, script, phase=phase) as (upstream, worker):
        await sent(worker)
        (first,) = await copies(upstream, worker)
        back = first.content.replace(b"Auto-Submitted: auto-generated\r\n", b"")
        upstream.messages.clear()
        assert (await sent(worker, back, recipient=BOB)).startswith("250 ")
        assert await copies(upstream, worker) == []


async def test_the_mark_of_a_notice_that_a_stranger_got_switches_nothing_off(tmp_path: Path) -> None:
    script = f'$from = envelope "from";\ngenerate_mail_raw "" "${{from}}" "Subject: thanks";\n{forwards(TEAM)}'
    async with one(tmp_path, script, "Open_Relay = true") as (upstream, worker):
        await sent(worker)
        (notice,) = await copies(upstream, worker, to=ALICE)
        marked = re.search(rb"X-Ringback-Letter: .*\r\n\t.*\r\n", notice.content)
        assert marked is not None
        upstream.messages.clear()
        await sent(worker, marked[0] + LETTER, sender="mallory@evil.test")
        assert len(await copies(upstream, worker)) == 1


# ---------------------------------------------------------------- hops


async def test_hops_are_counted_and_a_message_of_too_many_is_refused_before_a_letter_is_made(tmp_path: Path) -> None:
    mark = FORGED["a_mark"]
    async with one(tmp_path, forwards(TEAM)) as (upstream, worker):
        answer = await sent(worker, mark * MOST_HOPS + LETTER)
        assert answer == "554 5.4.6 Forwarded too often: mail loop"
        assert (await copies(upstream, worker), upstream.messages) == ([], [])
        assert (await sent(worker, mark * (MOST_HOPS - 1) + LETTER)).startswith("250 ")
        (copy,) = await copies(upstream, worker)
        assert len(marks_of_head(copy)) == MOST_HOPS


async def test_what_makes_no_letter_is_relayed_whatever_its_marks(tmp_path: Path) -> None:
    async with one(tmp_path, 'ec_log "x";\n') as (upstream, worker):
        assert (await sent(worker, FORGED["a_mark"] * 30 + LETTER)).startswith("250 ")
        assert len(upstream.messages) == 1


def marks_of_head(message: Message) -> list[bytes]:
    return re.findall(rb"(?m)^X-Ringback-Letter:", message.content.partition(b"\r\n\r\n")[0])


async def test_the_report_of_a_letter_that_failed_carries_its_marks(tmp_path: Path) -> None:
    """A script that forwards reports would else make letters of its own failures for ever."""
    async with one(tmp_path, f'ec_forward "{BOB}" "{TEAM}" "copy";\n') as (upstream, worker):
        upstream.recipients[TEAM] = says("550 5.1.1 no such user")
        await sent(worker)
        (_, report) = await copies(upstream, worker, to=BOB)
        assert len(marks_of_head(report)) == 2
        assert (await sent(worker, report.content)).startswith("250 ")
        assert len(await copies(upstream, worker, to=BOB)) == 3


# ---------------------------------------------------------------- Auto-Submitted (RFC 3834 section 2)

ANSWER = '$from = envelope "from";\ngenerate_mail_raw "" "${from}" "Subject: I am away";\n'
ANSWER_BY_FORWARD = '$from = envelope "from";\nec_forward "" "${from}" "your mail";\n'
NOTICE = f'generate_mail_raw "" "{TEAM}" "Subject: notice";\n'


@pytest.mark.parametrize("script", [ANSWER, ANSWER_BY_FORWARD, NOTICE], ids=["answer", "forward_to_sender", "notice"])
@pytest.mark.parametrize(
    ("value", "made"),
    [
        ("auto-replied", 0),
        ("auto-generated", 0),
        ("Auto-Notified; owner-email=x@y.test", 0),
        ("(by a program) auto-replied", 0),
        ("x-something", 0),
        ("", 0),
        ("no", 1),
        ("NO (a person)", 1),
        ("(c) no", 1),
        (None, 1),
    ],
    ids=["replied", "generated", "notified", "comment", "extension", "empty", "no", "no_comment", "comment_no", "none"],
)
async def test_a_program_is_not_answered(tmp_path: Path, script: str, value: str | None, made: int) -> None:
    field = b"" if value is None else f"Auto-Submitted: {value}\r\n".encode()
    async with one(tmp_path, script, "Open_Relay = true") as (upstream, worker):
        assert (await sent(worker, field + LETTER)).startswith("250 ")
        await at_rest(worker)
        assert len(upstream.messages) - 1 == made


@pytest.mark.parametrize("begins", [b"(", b"a:", b"<@a:", b"([", b'"', b"@"])
async def test_originators_that_are_no_addresses_defer_no_mail(tmp_path: Path, begins: bytes) -> None:
    forged = b"Auto-Submitted: auto-replied\r\n" + b"From: " + begins * 900 + b"\r\n"
    async with one(tmp_path, forwards(TEAM), "Open_Relay = true") as (_, worker):
        assert (await sent(worker, forged + LETTER)).startswith("250 ")


# ---------------------------------------------------------------- the key


async def test_the_key_is_private_and_made_once(tmp_path: Path) -> None:
    async with one(tmp_path, forwards(TEAM)) as (upstream, worker):
        await sent(worker)
        await copies(upstream, worker)
        path = tmp_path / "mx" / "state" / "letter.key"
        assert stat.S_IMODE(path.stat().st_mode) == 0o600
        assert [each.name for each in path.parent.glob("letter.key*")] == ["letter.key"]
        before = path.read_bytes()
        assert len(before.strip()) == 64
        await sent(worker)
        assert path.read_bytes() == before


@pytest.mark.parametrize("content", [None, b"", b"short\n"], ids=["missing", "empty", "short"])
async def test_without_a_usable_key_no_letter_is_promised(tmp_path: Path, content: bytes | None) -> None:
    path = tmp_path / "site.key"
    path.write_bytes(SECRET)
    async with one(tmp_path, forwards(TEAM), f'Letter_Key = "{path}"') as (upstream, worker):
        path.unlink()
        if content is not None:
            path.write_bytes(content)
        assert await sent(worker) == "451 4.3.0 Temporary failure, try again later"
        assert upstream.messages == []
        path.write_bytes(SECRET)
        assert (await sent(worker)).startswith("250 ")
