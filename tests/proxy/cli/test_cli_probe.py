"""`ringback probe`: what people see of a callback, what programs read, and how politely many are asked."""

from __future__ import annotations

import asyncio
import json
import os
import pty
import re
import ssl
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path
from typing import Any, cast

import pytest
import trustme
from aiosmtpd.smtp import SMTP

from proxy.callback.observer import NOBODY, Observer
from proxy.callback.service import CallbackService
from proxy.callback.verdict import CallbackVerdict, Status
from proxy.cli import asking
from proxy.cli.asking import ProbeRequest, ProbeResult, ask_all
from proxy.cli.transcript import Transcript, row_text, shown, step_text, verdict_text
from proxy.modules.smtp_cbv.making import callbacks_of
from proxy.modules.smtp_cbv.options import SmtpCbvOptions
from proxy.options.store import MEMORY
from tests.support.exchanger import Act, Exchanger, Step, closes, says, sends
from tests.support.ringback import ended
from tests.support.servers import Dnsmasq, Zone
from tests.support.worker import ALICE, LOOPBACK, Names, core, resolver

ROOT = Path(__file__).parents[3]
REAL_DNS = pytest.mark.real("dnsmasq")

ZONE = Zone(
    addresses={"one.test": ["127.0.0.2"], "inside.test": ["10.1.2.3"], "two.test": ["127.0.0.3"]},
    exchangers={"sender.test": [(20, "two.test"), (10, "one.test"), (30, "gone.test"), (15, "inside.test")]},
)

PROBE = """\
ESMTP_Listener = ( 127.0.0.1:0 )
Hostname = "ringback.test"
Nameservers = ( {nameserver} )
Gateway = "127.0.0.1"
smtp_cbv passive {{
  port = {port}
  timeout = 10
  allow_networks = ( 127.0.0.0/8 )
  store = "memory"
}}
"""


def written(folder: Path, *, port: int, nameserver: str = "127.0.0.1:9") -> Path:
    path = folder / "ecelerity.conf"
    path.write_text(PROBE.format(port=port, nameserver=nameserver))
    return path


async def probe(*arguments: str | Path, given: bytes = b"", **variables: str) -> tuple[int, str, str]:
    """Run the command in a process of its own; return exit status, standard output and standard error."""
    variables = {"NO_COLOR": "", **variables}  # the command decides itself whether it colours
    return await asyncio.to_thread(partial(ended, "probe", *arguments, given=given, **variables))


def masked(text: str) -> str:
    """Return the text without its times."""
    return re.sub(r"\d+\.\d+ s\b", "N s", re.sub(r"(?m)^ *\d+ ms", "   N ms", text))


# ---------------------------------------------------------------- one address


@REAL_DNS
async def test_it_shows_how_the_exchangers_were_found_what_was_said_and_the_verdict_with_why(tmp_path: Path) -> None:
    async with (
        Exchanger("127.0.0.2", script={Step.BANNER: says("421 4.3.2 busy")}) as one,
        Exchanger("127.0.0.3", one.port, script={Step.RCPT: says("550-5.1.1 No such", "550 5.1.1 user")}),
    ):
        with Dnsmasq(ZONE) as names:
            path = written(tmp_path, port=one.port, nameserver=names.address)
            status, out, err = await probe(ALICE, "-c", path)
    assert (status, err) == (65, "")
    assert masked(out).replace(str(one.port), "PORT") == (
        "   N ms  sender.test: MX 10 one.test, 15 inside.test, 20 two.test, 30 gone.test\n"
        "   N ms  one.test: 127.0.0.2\n"
        "   N ms  inside.test: 10.1.2.3\n"
        "   N ms  inside.test [10.1.2.3]: skipped: not a public address\n"
        "   N ms  two.test: 127.0.0.3\n"
        "   N ms  gone.test: skipped: no such host\n"
        "   N ms  one.test: connecting to 127.0.0.2\n"
        "   N ms  one.test: connected to 127.0.0.2, port PORT\n"
        "   N ms  < 421 4.3.2 busy\n"
        "   N ms  one.test [127.0.0.2]: skipped: 421 4.3.2 busy\n"
        "   N ms  two.test: connecting to 127.0.0.3\n"
        "   N ms  two.test: connected to 127.0.0.3, port PORT\n"
        "   N ms  < 220 exchanger.test ESMTP\n"
        "   N ms  > EHLO ringback.test\n"
        "   N ms  < 250-exchanger.test\n"
        "   N ms  < 250-PIPELINING\n"
        "   N ms  < 250-SIZE 52428800\n"
        "   N ms  < 250-8BITMIME\n"
        "   N ms  < 250-ENHANCEDSTATUSCODES\n"
        "   N ms  < 250 SMTPUTF8\n"
        "   N ms  > MAIL FROM:<>\n"
        "   N ms  < 250 2.1.0 Ok\n"
        "   N ms  > RCPT TO:<alice@sender.test>\n"
        "   N ms  < 550-5.1.1 No such\n"
        "   N ms  < 550 5.1.1 user\n"
        "   N ms  > QUIT\n"
        "   N ms  < 221 2.0.0 Bye\n"
        "alice@sender.test: fail (no_such_user)\n"
        "  550 5.1.1 No such / 5.1.1 user\n"
        "  the exchanger says that the address does not exist\n"
        "  rcpt at two.test [127.0.0.3], N s\n"
    )


@REAL_DNS
async def test_a_domain_that_does_not_exist_has_no_dialogue(tmp_path: Path) -> None:
    with Dnsmasq(ZONE) as names:
        status, out, err = await probe("a@nowhere.test", "-c", written(tmp_path, port=25, nameserver=names.address))
    assert (status, masked(out), err) == (
        65,
        "a@nowhere.test: fail (nxdomain)\n  nowhere.test: no such domain\n  the domain does not exist\n  N s\n",
        "",
    )


@REAL_DNS
@pytest.mark.parametrize(
    ("environment", "coloured"),
    [({}, False), ({"FORCE_COLOR": "1"}, True), ({"FORCE_COLOR": "1", "NO_COLOR": "1"}, False)],
)
async def test_there_is_colour_on_a_terminal_unless_it_is_not_wanted(
    tmp_path: Path, environment: dict[str, str], *, coloured: bool
) -> None:
    with Dnsmasq(ZONE) as names:
        path = written(tmp_path, port=25, nameserver=names.address)
        _, out, _ = await probe("a@nowhere.test", "-c", path, TERM="xterm", **environment)
    assert bool(re.search(r"\x1b\[[0-9;]*3[1-7]m", out)) is coloured
    assert bool(environment) or "\x1b" not in out


# ---------------------------------------------------------------- in this process


@asynccontextmanager
async def callbacks(exchanger: Any, **options: Any) -> AsyncIterator[CallbackService]:
    """What the command asks with, for a domain whose exchanger is the given one."""
    names = Names(mx={"sender.test": [(10, "mx.test")]}, hosts={"mx.test": [exchanger.address]})
    made = SmtpCbvOptions(port=exchanger.port, allow_networks=(LOOPBACK,), store=MEMORY, wait=25.0, **options)
    service = callbacks_of(made, core(), resolver=cast(Any, _Closable(names)))
    try:
        yield service
    finally:
        await service.close()


class _Closable:
    """Names that can be closed."""

    def __init__(self, names: Names) -> None:
        self._names = names

    def __getattr__(self, name: str) -> Any:
        return getattr(resolver(self._names), name)

    async def close(self) -> None:
        """Have nothing to close."""


async def asked(exchanger: Any, **options: Any) -> ProbeResult:
    answers: list[ProbeResult] = []
    async with callbacks(exchanger, **options) as service:
        await ask_all(service, [ALICE], ProbeRequest(), answers.append)
    (answer,) = answers
    return answer


def said(answer: ProbeResult) -> list[str]:
    """Return the dialogue, without times."""
    lines = [step_text(step).plain for step in answer.transcript.steps if step.event == "said"]
    return [line.partition(" ms  ")[2] for line in lines]


@pytest.mark.parametrize(
    ("reply", "lines"),
    [
        (b"550 5.1.1 \x1b[31mred\x1b[0m [bold]no[/]\r\n", [r"< 550 5.1.1 \x1b[31mred\x1b[0m [bold]no[/]"]),
        (b"550 5.1.1 caf\xc3\xa9 \xe2\x80\xae\r\n", [r"< 550 5.1.1 caf\xc3\xa9 \xe2\x80\xae"]),
        (b"550 5.1.1 bare\n", [r"< 550 5.1.1 bare\x0a"]),
        (b"550 5.1.1 " + b"x" * 1000 + b"\r\n", ["< 550 5.1.1 " + "x" * 490 + "..."]),
    ],
)
async def test_what_a_stranger_says_is_never_markup_and_does_nothing_to_a_terminal(
    reply: bytes, lines: list[str]
) -> None:
    async with Exchanger(script={Step.RCPT: sends(reply)}) as exchanger:
        answer = await asked(exchanger)
    assert [line for line in said(answer) if line.startswith("< 5")] == lines
    for text in (verdict_text(ALICE, answer.verdict), row_text(ALICE, answer.verdict)):
        assert text.plain.replace("\n", "").isascii()
        assert text.plain.replace("\n", "").isprintable()


async def test_a_line_that_does_not_come_to_its_end_is_shown_as_far_as_it_came() -> None:
    half = Act(b"550-5.1.1 first\r\n550 5.1", after=closes().after)
    async with Exchanger(script={Step.RCPT: half}) as exchanger:
        answer = await asked(exchanger)
    assert said(answer)[-2:] == ["< 550-5.1.1 first", "< 550 5.1 (unfinished)"]


async def test_lines_are_put_together_from_the_octets_of_either_side_and_timed_when_they_end() -> None:
    moments = iter([10.0, 10.001, 10.0025, 10.003])
    transcript = Transcript(clock=lambda: next(moments))
    for ours, octets in ((False, b"22"), (False, b"0 hello\r"), (False, b"\n250-"), (True, b"EHLO x\r\n")):
        transcript.said(ours, octets)
    transcript.finish()
    assert [(each.milliseconds, dict(each.fields)) for each in transcript.steps] == [
        (1.0, {"by": "them", "line": "220 hello"}),
        (2.5, {"by": "them", "line": "250-", "unfinished": True}),
        (3.0, {"by": "us", "line": "EHLO x"}),
    ]


async def test_over_tls_the_dialogue_is_shown_as_it_was_meant() -> None:
    authority, ours = trustme.CA(), ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("mx.test").configure_cert(ours)
    loop = asyncio.get_running_loop()
    server = await loop.create_server(
        lambda: SMTP(_Taking(), hostname="mx.test", ident="ready", tls_context=ours, loop=loop), "127.0.0.1", 0
    )
    async with server:
        answer = await asked(_Place("127.0.0.1", server.sockets[0].getsockname()[1]))
    lines = [step_text(step).plain.partition(" ms  ")[2] for step in answer.transcript.steps]
    assert lines[lines.index("> STARTTLS") :] == [
        "> STARTTLS",
        "< 220 Ready to start TLS",
        "> EHLO ringback.test",
        "< 250-mx.test",
        "< 250-SIZE 33554432",
        "< 250-8BITMIME",
        "< 250-AUTH LOGIN PLAIN",
        "< 250 HELP",
        "STARTTLS: TLSv1.3",
        "> MAIL FROM:<>",
        "< 250 OK",
        f"> RCPT TO:<{ALICE}>",
        "< 250 OK",
        "> QUIT",
        "< 221 Bye",
    ]
    assert answer.verdict.tls


class _Taking:
    """An aiosmtpd handler that takes what it is given."""


class _Place:
    """Where a server listens."""

    def __init__(self, address: str, port: int) -> None:
        self.address, self.port = address, port


async def test_what_is_remembered_has_no_dialogue_and_says_how_old_it_is() -> None:
    answers: list[ProbeResult] = []
    async with Exchanger() as exchanger, callbacks(exchanger) as service:
        await ask_all(service, [ALICE, ALICE], ProbeRequest(), answers.append)
    assert [bool(each.transcript.steps) for each in answers] == [True, False]
    assert verdict_text(ALICE, answers[1].verdict).plain.splitlines()[-1] == (
        "  rcpt at mx.test [127.0.0.1], cached, 0 s old"
    )


async def test_what_the_limits_hold_back_is_shown_with_the_limit() -> None:
    async with Exchanger(script={Step.BANNER: says("554 5.7.1 not you")}) as exchanger, callbacks(exchanger) as service:
        answers: list[ProbeResult] = []
        await ask_all(service, [ALICE, "bob@sender.test"], ProbeRequest(), answers.append)
    assert [(each.verdict.status, each.verdict.reason) for each in answers] == [
        (Status.ERROR, "refused_us"),
        (Status.TRANSIENT, "breaker"),
    ]
    assert step_text(answers[1].transcript.steps[-1]).plain.partition(" ms  ")[2] == (
        "mx.test [127.0.0.1]: skipped: its exchanger rejected us recently"
    )


async def test_who_blocks_us_in_words_of_the_operators_table_is_left_alone(tmp_path: Path) -> None:
    table = tmp_path / "replies.table"
    table.write_text("blocked  go away\n")
    async with (
        Exchanger(script={Step.RCPT: says("550 5.1.1 go away")}) as exchanger,
        callbacks(exchanger, reply_texts=table) as service,
    ):
        verdicts = [await service.verifier.verify(each) for each in (ALICE, "bob@sender.test")]
    assert [(each.status, each.reason) for each in verdicts] == [
        (Status.ERROR, "blocked"),
        (Status.TRANSIENT, "breaker"),
    ]


def test_shown_escapes_whatever_is_not_printable_ascii() -> None:
    assert shown("a\tb\x7f\xe9\ud800".replace("\ud800", "\udcff")) == r"a\x09b\x7f\xc3\xa9\xff"


# ---------------------------------------------------------------- many


class Verifier:
    """Answers as it is told, and notes how many ask at once."""

    def __init__(self, *answers: CallbackVerdict) -> None:
        self.answers = list(answers)
        self.asked: list[str] = []
        self.at_once = self.most_at_once = 0

    async def verify(self, address: str, _sender: str | None, *, observer: Observer = NOBODY) -> CallbackVerdict:
        self.asked.append(address)
        self.at_once += 1
        self.most_at_once = max(self.most_at_once, self.at_once)
        await asyncio.sleep(0)
        self.at_once -= 1
        observer.note("connecting", host="mx.test", addresses=("192.0.2.1",))
        return self.answers.pop(0) if self.answers else CallbackVerdict(Status.PASS, "accepted", "ok", code=250)


class Service:
    """As much of a `CallbackService` as is used."""

    def __init__(self, verifier: Verifier) -> None:
        self.verifier = verifier


THROTTLED = CallbackVerdict(Status.TRANSIENT, "throttled", "not asked")
FOUND = CallbackVerdict(Status.FAIL, "no_such_user", "5.1.1 no", code=550)


async def test_where_a_budget_is_used_up_it_waits_and_asks_again(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(asking, "FIRST_PAUSE", 0.001)
    answers: list[ProbeResult] = []
    verifier = Verifier(THROTTLED, THROTTLED, FOUND)
    counted = await ask_all(
        cast(CallbackService, Service(verifier)), [ALICE], ProbeRequest(patience=600.0), answers.append
    )
    assert (verifier.asked, counted) == ([ALICE] * 3, {Status.FAIL: 1})
    assert len(answers[0].transcript.steps) == 1  # from the last time


async def test_without_patience_it_tells_that_it_was_held_back() -> None:
    verifier = Verifier(THROTTLED)
    counted = await ask_all(cast(CallbackService, Service(verifier)), [ALICE], ProbeRequest(), [].append)
    assert (verifier.asked, counted) == ([ALICE], {Status.TRANSIENT: 1})


@pytest.mark.parametrize("at_once", [1, 3])
async def test_no_more_are_asked_at_once_than_is_said(at_once: int) -> None:
    verifier, addresses = Verifier(), [f"a{number}@sender.test" for number in range(10)]
    await ask_all(cast(CallbackService, Service(verifier)), addresses, ProbeRequest(at_once=at_once), [].append)
    assert (sorted(verifier.asked), verifier.most_at_once) == (addresses, at_once)


@REAL_DNS
async def test_of_many_each_has_a_line_and_the_end_a_summary(tmp_path: Path) -> None:
    listed = tmp_path / "addresses"
    listed.write_text("# who we write to\nalice@sender.test\n\n  bob@sender.test \ncarol@sender.test\n")
    answers = {"bob@sender.test": says("550 5.1.1 no"), "carol@sender.test": says("450 4.2.0 Greylisted")}
    zone = Zone(addresses={"mx.test": ["127.0.0.1"]}, exchangers={"sender.test": [(10, "mx.test")]})
    async with Exchanger(recipients=answers) as exchanger:
        with Dnsmasq(zone) as names:
            path = written(tmp_path, port=exchanger.port, nameserver=names.address)
            status, out, err = await probe("--file", listed, "-c", path)
            piped = await probe("--file", "-", "-c", path, "--json", given=b"alice@sender.test\ncarol@sender.test")
    assert (status, sorted(out.splitlines()), masked(err)) == (
        65,
        [
            "fail      no_such_user bob@sender.test: 550 5.1.1 no",
            "pass      accepted     alice@sender.test: 250 2.1.5 Ok",
            "transient greylist     carol@sender.test: 450 4.2.0 Greylisted",
        ],
        "3 asked in N s: 1 pass, 1 fail, 1 transient\n",
    )
    assert (piped[0], masked(piped[2])) == (69, "2 asked in N s: 1 pass, 1 transient\n")
    records = {each["question"]: each for each in map(json.loads, piped[1].splitlines())}
    assert {name: each["status"] for name, each in records.items()} == {
        "alice@sender.test": "pass",
        "carol@sender.test": "transient",
    }
    first, *_, last = records["alice@sender.test"]["dialogue"]
    assert (first["event"], first["exchangers"]) == ("exchangers", [[10, "mx.test"]])
    assert (last["event"], last["by"], last["line"]) == ("said", "them", "221 2.0.0 Bye")


@REAL_DNS
async def test_a_progress_bar_shows_on_a_terminal_and_keeps_out_of_the_answers(tmp_path: Path) -> None:
    controller, terminal = pty.openpty()
    with Dnsmasq(ZONE) as names:
        running = await asyncio.create_subprocess_exec(
            sys.executable, "-m", "proxy.cli", "probe", "--file", "-",
            "-c", written(tmp_path, port=25, nameserver=names.address),
            stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE, stderr=terminal,
            env={**os.environ, "PYTHONPATH": str(ROOT), "TERM": "xterm", "COLUMNS": "80"},
        )  # fmt: skip
        async with asyncio.timeout(30):
            out, _ = await running.communicate(b"a@nowhere.test\nb@nowhere.test\n")
    os.close(terminal)
    shown_there = os.read(controller, 65536).decode()
    os.close(controller)
    assert sorted(out.decode().splitlines()) == [
        "fail      nxdomain     a@nowhere.test: nowhere.test: no such domain",
        "fail      nxdomain     b@nowhere.test: nowhere.test: no such domain",
    ]
    assert "2/2" in shown_there
    assert "2 asked" in shown_there


async def test_where_answers_and_progress_share_a_terminal_no_answer_is_in_the_line_of_the_bar(tmp_path: Path) -> None:
    controller, terminal = pty.openpty()
    with Dnsmasq(ZONE) as names:
        running = await asyncio.create_subprocess_exec(
            sys.executable, "-m", "proxy.cli", "probe", "--file", "-", "--concurrency", "1",
            "-c", written(tmp_path, port=25, nameserver=names.address),
            stdin=asyncio.subprocess.PIPE, stdout=terminal, stderr=terminal,
            env={**os.environ, "PYTHONPATH": str(ROOT), "TERM": "xterm", "COLUMNS": "30", "NO_COLOR": "1"},
        )  # fmt: skip
        async with asyncio.timeout(30):
            await running.communicate(b"a@nowhere.test\nb@nowhere.test\n")
    os.close(terminal)
    lines = re.split(r"\r\n|\r\x1b\[2K", os.read(controller, 65536).decode())
    os.close(controller)
    answers = [re.sub(r"\x1b\[[0-9;]*m", "", line) for line in lines if "nowhere" in line]
    assert answers == [
        "fail      nxdomain     a@nowhere.test: nowhere.test: no such domain",
        "fail      nxdomain     b@nowhere.test: nowhere.test: no such domain",
    ]


async def test_a_line_of_a_file_that_is_no_address_is_told_and_the_rest_is_asked(tmp_path: Path) -> None:
    listed = tmp_path / "addresses"
    listed.write_bytes(b"alice@sender.invalid\nbob\n\xff\x1b@\ncarol@sender.invalid\n")
    path = written(tmp_path, port=25, nameserver="127.0.0.1:9")
    status, out, err = await probe("--file", listed, "--json", "--patience", "0", "-c", path)
    assert [json.loads(line)["question"] for line in out.splitlines()] == [
        "alice@sender.invalid",
        "carol@sender.invalid",
    ]
    told, summary = err.splitlines()[:2], err.splitlines()[-1]
    assert told == [
        f"{listed}:2: bob: not an address; write local-part@domain",
        f"{listed}:3: \\xff\\x1b@: not an address; write local-part@domain",
    ]
    assert summary.endswith(", 2 skipped")
    assert status == 64


async def test_a_file_of_nothing_but_mistakes_asks_nobody(tmp_path: Path) -> None:
    (tmp_path / "addresses").write_bytes(b"bob\n")
    status, out, err = await probe("--file", tmp_path / "addresses")
    assert (status, out) == (64, "")
    assert err.startswith(f"{tmp_path}/addresses:1: bob: not an address")


@REAL_DNS
async def test_a_store_that_cannot_be_used_is_told_since_its_budgets_were_not_kept(tmp_path: Path) -> None:
    with Dnsmasq(ZONE) as names:
        path = written(tmp_path, port=25, nameserver=names.address)
        path.write_text(path.read_text().replace('"memory"', '"redis://127.0.0.1:9/0"'))
        status, _, err = await probe("a@nowhere.test", "-c", path)
    assert (status, err) == (65, "cannot use the server's store: budgets and verdicts were kept in memory\n")


async def test_a_file_that_is_not_there_exits_66(tmp_path: Path) -> None:
    gone = tmp_path / "gone"
    assert await probe("--file", gone) == (66, "", f"{gone}: No such file or directory\n")
