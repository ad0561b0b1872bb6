"""`ringback why`: for a refusal of each kind it names who decided and the reply, whether or not the server runs."""

from __future__ import annotations

import asyncio
import json
import os
import re
import signal
import sqlite3
from collections.abc import Mapping, Sequence
from contextlib import closing, suppress
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from proxy.cli.__main__ import application
from proxy.history.files import file_of, files_in
from tests.support.exchanger import Step, closes, says
from tests.support.house import House, greeted, opened
from tests.support.ringback import Ringback, run
from tests.support.servers import REFUSED_RECIPIENT, REFUSED_REPLY, Postfix
from tests.support.waiting import BOUND, eventually
from tests.support.world import Stage

pytestmark = pytest.mark.real("dnsmasq")

MESSAGE = b"Message-ID: <one@client.test>\r\nSubject: x\r\n\r\nbody\r\n"
BY_CLIENT, BY_NAME, NAMED_CLIENT = "127.0.0.66", "bad-name.test", "127.0.0.67"


def why(ringback: Ringback, *arguments: str) -> str:
    """Return what `ringback why` prints, in this process."""
    done = CliRunner().invoke(application, ["why", *arguments, "-c", str(ringback.configuration)])
    assert done.exit_code in {0, 1}, done.output
    return done.output


async def told(ringback: Ringback, subject: str, words: Sequence[str]) -> str:
    """Return what it prints once it has all these words: rows come a moment after the reply."""
    latest = ""
    with suppress(TimeoutError):
        async with asyncio.timeout(BOUND):
            while not all(word in latest for word in words):
                await asyncio.sleep(0.05)
                latest = await asyncio.to_thread(why, ringback, subject)
    assert [word for word in words if word not in latest] == [], f"about {subject}:\n{latest}"
    return latest


def state(folder: Path) -> str:
    (folder / "state").mkdir(mode=0o700)
    return f'State_Directory = "{folder}/state"'


async def mail(ringback: Ringback, recipient: str, sender: str = "a@sender.test", **how: Any) -> None:
    """Send a message to one recipient, as far as it is accepted."""
    async with await greeted(ringback, **how) as client:
        await client.ask(f"MAIL FROM:<{sender}>")
        if (await client.ask(f"RCPT TO:<{recipient}>"))[:1] == "2" and (await client.ask("DATA"))[:1] == "3":
            await client.content(MESSAGE)
        await client.quit()


def age(folder: Path, days: int) -> None:
    """Make the files and everything in them look some days older."""
    for each in files_in(folder):
        with closing(sqlite3.connect(each.path, isolation_level=None)) as connection:
            for table in ("sessions", "transactions", "recipients", "notes", "probes", "dialogues"):
                connection.execute(f"UPDATE {table} SET at = at - {days * 86_400_000}")  # noqa: S608 - our own words
        each.path.rename(file_of(folder, each.day.fromordinal(each.day.toordinal() - days)).path)


SCRIPTS = {
    "connect_phase1": f'if ec_test :is "%{{spfv1:i}}" "{BY_CLIENT}" {{\n  ec_action 554 "client not wanted";\n}}\n',
    "ehlo_phase1": f'if ec_test :is "%{{spfv1:h}}" "{BY_NAME}" {{\n  ec_action 550 "name not wanted";\n}}\n',
    "mailfrom_phase1": 'if envelope "from" "x@mailfrom.test" {\n  ec_action 550 "sender not wanted";\n}\n',
    "rcptto_phase1": 'if envelope "to" "rcptto@example.com" {\n  ec_action 451 "not now";\n}\n',
    "data_phase1": 'if envelope "to" "data@example.com" {\n  ec_action 554 "message not wanted";\n}\n'
    'if envelope "to" "discard@example.com" {\n  discard;\n}\n',
    "each_rcpt_phase1": 'if envelope "to" "each@example.com" {\n  ec_action 550 "not for you";\n}\n',
}
KINDS: Mapping[str, Sequence[str]] = {
    "b@elsewhere.invalid": ('"550 5.7.1 Relaying denied"', "Decided by relay_domains."),
    "syntax@example.com": ("was refused", "The rules of SMTP decided (protocol)."),
    BY_CLIENT: ("The connection was refused", "client not wanted", "connect_phase1.siv:2", "ec_action 554"),
    NAMED_CLIENT: (f'"EHLO {BY_NAME}" was refused', "name not wanted", "ehlo_phase1.siv:2"),
    "x@mailfrom.test": ("sender not wanted", "mailfrom_phase1.siv:2", 'ec_action 550 "sender not wanted";'),
    "rcptto@example.com": ("was deferred", "not now", "rcptto_phase1.siv:2"),
    "data@example.com": ("message not wanted", "data_phase1.siv:2"),
    "each@example.com": ("not for you", "each_rcpt_phase1.siv:2"),
    "discard@example.com": ("was discarded", "data_phase1.siv:5"),
    "rcpt-refused@example.com": ('"550 5.1.1 no such user"', "The next hop decided: 127.0.0.1:"),
    "dot-refused@example.com": ("no viruses, please", "The next hop decided: 127.0.0.1:"),
    "lost@example.com": ("No message arrived for <lost@example.com>",),
    "many2@example.com": ("was deferred", "Decided by max_recipients_per_message."),
    "large@example.com": ('"MAIL FROM:<large@sender.test> SIZE=99999999" was refused', "max_message_size"),
    "fine@example.com": ("was relayed", "accepted it", "Time: ", "as the message"),
}
"""Whom or what is asked about, and the words of the answer."""


async def refusals(ringback: Ringback) -> None:
    """Bring about a refusal of each kind."""
    async with await ringback.conversation(source=BY_CLIENT) as client:
        await client.rest()
    async with await ringback.conversation(source=NAMED_CLIENT) as client:
        await client.ask(f"EHLO {BY_NAME}")
        await client.quit()
    for recipient in ("b@elsewhere.invalid", "rcptto@example.com", "data@example.com", "each@example.com",
                      "discard@example.com", "rcpt-refused@example.com", "dot-refused@example.com",
                      "fine@example.com"):  # fmt: skip
        await mail(ringback, recipient)
    await mail(ringback, "fine@example.com", sender="x@mailfrom.test")
    async with await greeted(ringback) as client:
        await client.ask("MAIL FROM:<a@sender.test>")
        await client.ask("RCPT TO:<syntax@example.com> FOO=bar")
        for number in range(3):
            await client.ask(f"RCPT TO:<many{number}@example.com>")
        await client.ask("RSET")
        await client.ask("MAIL FROM:<large@sender.test> SIZE=99999999")
        await client.ask("MAIL FROM:<a@sender.test>")
        await client.ask("RCPT TO:<lost@example.com>")
        client.abort()


async def test_a_refusal_of_each_kind_is_explained_running_stopped_and_a_day_later(
    stage: Stage, tmp_path: Path
) -> None:
    upstream = await stage.upstream(
        recipients={"rcpt-refused@example.com": says("550 5.1.1 no such user")},
    )
    lines = (state(tmp_path), "Max_Recipients_Per_Message = 2", "Max_Message_Size = 100000")
    (tmp_path / "house").mkdir()
    ringback = await Ringback(
        House(lines=lines, scripts=SCRIPTS, upstream_port=upstream.port), tmp_path / "house"
    ).started()
    try:
        await refusals(ringback)
        subjects = {name: words for name, words in KINDS.items() if name not in LATER}
        for subject, words in subjects.items():
            await told(ringback, subject, words)
    finally:
        await asyncio.to_thread(ringback.stop)
    for subject, words in subjects.items():
        await told(ringback, subject, words)
    age(tmp_path / "state", 1)
    for subject, words in subjects.items():
        await told(ringback, subject, [word for word in words if not word.startswith("ec_action")])
    status, printed = await asyncio.to_thread(
        run, "why", "nobody@example.com", "-c", str(ringback.configuration), folder=tmp_path
    )
    assert status == 1
    assert "nobody@example.com: nothing is known" in printed
    assert "looked in" in printed
    assert "History_Retention: 7 days" in printed
    answer = json.loads(why(ringback, "fine@example.com", "--json"))
    assert [each["kind"] for each in answer["stories"][0]["events"]] == ["transactions", "recipients"]


LATER = {"large@example.com", "dot-refused@example.com"}


async def test_rates_full_pools_and_next_hops_that_are_down_are_named(stage: Stage, tmp_path: Path) -> None:
    line = state(tmp_path)
    rate = 'Recipient_Rate_Per_Client = "1/60"'
    ringback = await opened(stage, tmp_path, line, rate, upstream_port=stage.nobody_listens())
    await mail(ringback, "down@example.com")
    await mail(ringback, "rate@example.com")
    await told(ringback, "down@example.com", ("was deferred", '"451 4.4.1', "The next hop could not be reached: 127."))
    await told(ringback, "rate@example.com", ("was deferred", "Decided by recipient_rate_per_client."))


async def test_what_the_next_hop_says_at_the_dot_and_a_size_that_is_declared_are_told(
    stage: Stage, tmp_path: Path
) -> None:
    upstream = await stage.upstream(script={Step.DOT: says("554 5.7.1 no viruses, please")})
    lines = (state(tmp_path), "Max_Message_Size = 100000")
    ringback = await opened(stage, tmp_path, *lines, upstream_port=upstream.port)
    await mail(ringback, "dot-refused@example.com")
    async with await greeted(ringback) as client:
        await client.ask("MAIL FROM:<large@sender.test> SIZE=99999999")
        await client.quit()
    await told(ringback, "dot-refused@example.com", KINDS["dot-refused@example.com"])
    await told(ringback, "large@sender.test", KINDS["large@example.com"])


async def test_a_callback_that_refuses_is_told_with_the_exchangers_words(stage: Stage, tmp_path: Path) -> None:
    upstream = await stage.upstream()
    await stage.exchanger("refusing.test", recipients={"x@refusing.test": says("550 5.1.1 No x here")})
    (tmp_path / "state").mkdir(mode=0o700)
    core = [f'State_Directory = "{tmp_path}/state"', "Workers = 2"]
    ringback = await stage.ringback(upstream.port, core=core)
    for _ in range(2):  # the second verdict is a remembered one
        await mail(ringback, "callback@example.com", sender="x@refusing.test")
    words = (
        "from address not reachable",
        "myscript.siv:4",
        "A callback asked mx.refusing.test [127.0.0.12]",
        "No x here",
    )
    await told(ringback, "x@refusing.test", words)


@pytest.mark.real("postfix")
async def test_a_delivered_mail_names_the_route_that_took_it_and_its_queue_id(
    stage: Stage, tmp_path: Path, postfix: Postfix
) -> None:
    down = await stage.upstream(script={Step.BANNER: closes()})
    routes = f'Routes = ( "smtp://127.0.0.1:{down.port}?pref=10" "smtp://127.0.0.1:{postfix.port}?pref=20" )'
    ringback = await opened(stage, tmp_path, state(tmp_path), routes)
    await mail(ringback, "taken@example.com")
    await mail(ringback, REFUSED_RECIPIENT)
    place = f"127.0.0.1:{postfix.port} accepted it"
    story = await told(ringback, "taken@example.com", ("was relayed", place, "Its queue id there is "))
    (queue_id,) = re.findall(r"Its queue id there is (\w+)\.", story)
    assert f"{queue_id}: " in postfix.log
    await told(ringback, queue_id, (place,))
    await told(ringback, "one@client.test", (place,))
    await told(ringback, REFUSED_RECIPIENT, (REFUSED_REPLY, "The next hop decided: ", f"127.0.0.1:{postfix.port}"))


HOSTILE = (
    "\x1b[31mred", "\x07\x08\x9b31m", "a\u202eb", "<b>[bold]x[/bold]</b>", "x\\n2026-11-30 forged", "\x7f\xc2\x9b2J",
)  # fmt: skip
SAID = (
    "EHLO {}", "EHLO x", "MAIL FROM:<{}@sender.test>", 'MAIL FROM:<"{}"@sender.test>', "RCPT TO:<{}@example.com>",
    "RSET", "MAIL FROM:<h@sender.test>", "RCPT TO:<h@example.com>", "RCPT TO:<h2@example.com> {}",
    "RCPT TO:<h3@example.com>", "XYZZY {}",
)  # fmt: skip


async def test_hostile_words_in_every_field_reach_no_terminal(stage: Stage, tmp_path: Path) -> None:
    upstream = await stage.upstream(
        recipients={"h@example.com": says("550 \x1b]0;title\x07\x9b31m <b>\u202e")},
    )
    ringback = await opened(stage, tmp_path, state(tmp_path), upstream_port=upstream.port)
    for word in HOSTILE:
        async with await ringback.conversation() as client:
            for line in SAID:
                await client.send_raw(line.format(word).encode() + b"\r\n")
                await client.reply()
            if (await client.ask("DATA")).startswith("354"):
                await client.content(b"Message-ID: <" + word.encode() + b">\r\n\r\n")
            await client.quit()
    await told(ringback, "127.0.0.1", ("h3@example.com", "1b[31mred", "title"))
    for arguments in (["why", "127.0.0.1"], ["why", "127.0.0.1", "--json"], ["why", HOSTILE[0]],
                      ["history", "export", "h@sender.test"]):  # fmt: skip
        done = CliRunner().invoke(application, [*arguments, "-c", str(ringback.configuration)])
        assert re.search(r"[^\n\x20-\x7e]", done.output) is None, arguments


async def test_rows_survive_a_killed_control_process_and_a_reload(stage: Stage, tmp_path: Path) -> None:
    upstream = await stage.upstream()
    ringback = await opened(stage, tmp_path, state(tmp_path), upstream_port=upstream.port)
    await eventually(lambda: ringback.controls, "the control process has started")
    for number in range(12):
        if number in {3, 7}:
            os.kill(ringback.controls[-1], signal.SIGKILL)
            started = len(ringback.controls)
            await eventually(lambda most=started: len(ringback.controls) > most, "it has started again")
        if number == 9:
            ringback.program.process.send_signal(signal.SIGHUP)
        await mail(ringback, f"r{number}@example.com")
    for number in range(12):
        story = await told(ringback, f"r{number}@example.com", ("was relayed",))
        assert story.count("was relayed") == 1


async def test_answers_and_headers_are_kept_if_asked_for(stage: Stage, tmp_path: Path) -> None:
    upstream = await stage.upstream()
    script = '($n) = ec_rand 10;\n($d) = ec_dns_lookup "ok.test" "mx";\nec_log "drew ${n}";\n'
    parts = {"scripts": {"mailfrom_phase1": script}, "nameserver": stage._nameserver.address}
    lines = (state(tmp_path), "History_Answers = true", "History_Headers = true")
    ringback = await opened(stage, tmp_path, *lines, upstream_port=upstream.port, **parts)
    await mail(ringback, "answers@example.com")
    words = (
        "Policy sent 2 queries in phase mailfrom.",
        "random 10 ",
        "dns mx ok.test",
        "mx.ok.test",
        "Subject: x",
        "drew ",
    )
    await told(ringback, "answers@example.com", words)


async def test_what_modules_ask_is_kept_too(stage: Stage, tmp_path: Path) -> None:
    await stage.exchanger("ok.test")
    upstream = await stage.upstream()
    (tmp_path / "python").mkdir(mode=0o755)
    (tmp_path / "python" / "checks.py").write_text(HANDLER)
    modules = (
        f'python "checks" {{\n  handler = "checks:Checks"\n  path = "{tmp_path}/python"\n}}',
        f"smtp_cbv {{\n  phase = rcptto\n  port = {stage.exchanger_port}\n  allow_networks = ( 127.0.0.0/8 )\n}}",
    )
    parts = {"nameserver": stage._nameserver.address, "upstream_port": upstream.port}
    ringback = await opened(stage, tmp_path, state(tmp_path), "History_Answers = true", *modules, **parts)
    await mail(ringback, "known@ok.test", sender="")
    words = ("handler checks 451 4.7.0 not on a Monday", "callback known@ok.test None pass")
    await told(ringback, "known@ok.test", words)


HANDLER = """\
class Checks:
    async def handle_DATA(self, server, session, envelope):
        return "451 4.7.0 not on a Monday"
"""


async def test_without_a_folder_or_with_history_off_there_is_none(stage: Stage, tmp_path: Path) -> None:
    upstream = await stage.upstream()
    ringback = await opened(stage, tmp_path, state(tmp_path), "History = false", upstream_port=upstream.port)
    await mail(ringback, "off@example.com")
    assert list((tmp_path / "state").glob("history*")) == []
    assert "has no history: it is off" in await asyncio.to_thread(why, ringback, "off@example.com")
