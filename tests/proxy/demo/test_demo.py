"""The demonstration: its scenery answers as real servers would, its judge notices what goes wrong, and it runs."""

from __future__ import annotations

import asyncio
import contextlib
import io
import os
import re
import signal
import smtplib
import subprocess
import sys
import urllib.request
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import dns.flags
import dns.message
import dns.rcode
import pytest
from rich.console import Console

from proxy.demo import samples
from proxy.demo.client import ConversationResult, SampleMessage, send
from proxy.demo.mailhost import AcceptedMessage, MailHost, hang_up
from proxy.demo.nameserver import DemoNameserver, MailDomain
from proxy.demo.samples import Check, Observed, judge
from proxy.demo.screen import Screen
from proxy.demo.timeline import PeerRole, Timeline
from proxy.demo.world import DemoWorld

ROOT = Path(__file__).parents[3]
PATIENCE = 60.0


# ---------------------------------------------------------------- the name server


@pytest.fixture
def nameserver() -> DemoNameserver:
    return DemoNameserver((MailDomain("staff.example", "mx.staff.example", "127.0.0.2"),), Timeline())


@pytest.mark.parametrize(
    ("question", "code", "answer", "authority"),
    [
        ("staff.example MX", "NOERROR", ["staff.example. 60 IN MX 10 mx.staff.example."], 0),
        ("mx.staff.example A", "NOERROR", ["mx.staff.example. 60 IN A 127.0.0.2"], 0),
        ("mx.staff.example AAAA", "NOERROR", [], 1),
        ("staff.example A", "NOERROR", [], 1),
        ("nothing.staff.example A", "NXDOMAIN", [], 1),
        ("elsewhere.test MX", "REFUSED", [], 0),
    ],
)
def test_the_name_server_answers_for_its_zones_alone(
    nameserver: DemoNameserver, question: str, code: str, answer: list[str], authority: int
) -> None:
    query = dns.message.make_query(*question.split())
    # Over the wire format and back: what a resolver gets to see.
    response = dns.message.from_wire(nameserver.answer(query).to_wire())
    assert dns.rcode.to_text(response.rcode()) == code
    assert [record.to_text() for record in response.answer] == answer
    assert len(response.authority) == authority
    assert bool(response.flags & dns.flags.AA) == (code != "REFUSED")
    assert query.is_response(response)


def test_names_are_matched_whatever_their_case(nameserver: DemoNameserver) -> None:
    response = nameserver.answer(dns.message.make_query("STAFF.Example", "MX"))
    assert len(response.answer) == 1


# ---------------------------------------------------------------- the mail servers


def _letter(recipient: str = "anna@example.com") -> SampleMessage:
    return SampleMessage("alice@staff.example", recipient, "Dots", ".starts with a dot\r\n..and with two")


async def _deliver(host: MailHost, letter: SampleMessage, timeline: Timeline) -> ConversationResult:
    port = await host.start("127.0.0.1")
    try:
        return await send(("127.0.0.1", port), letter, timeline)
    finally:
        await host.stop()


async def test_a_mail_server_takes_a_message_byte_for_byte_dots_included() -> None:
    host = MailHost("upstream", PeerRole.UPSTREAM, Timeline(), verdict=lambda _: "250 2.1.5 Ok")
    outcome = await _deliver(host, _letter(), Timeline())
    assert (outcome.stage, outcome.code, outcome.text) == ("dot", 250, "2.0.0 Ok: queued as DEMO0001")
    assert host.deliveries == [AcceptedMessage("alice@staff.example", ("anna@example.com",), outcome.content)]
    assert b"\r\n.starts with a dot\r\n..and with two\r\n" in outcome.content


async def test_a_refused_recipient_ends_the_conversation_there() -> None:
    host = MailHost("mx", PeerRole.EXCHANGER, Timeline(), verdict=lambda address: f"550 5.1.1 <{address}>: unknown")
    outcome = await _deliver(host, _letter("ghost@example.com"), Timeline())
    assert (outcome.stage, outcome.code, outcome.text) == ("RCPT", 550, "5.1.1 <ghost@example.com>: unknown")
    assert (host.asked, host.deliveries) == (["ghost@example.com"], [])


async def test_both_ends_note_the_same_dialogue_in_the_same_order() -> None:
    there, here = Timeline(), Timeline()
    host = MailHost("mx", PeerRole.EXCHANGER, there, verdict=lambda _: "451 4.7.1 Later")
    await _deliver(host, _letter(), here)
    heard = [event.text for event in there.take()]
    assert heard == [event.text for event in here.take()]
    assert heard == [
        "220 mx ESMTP",
        "EHLO client.example",
        "250 mx [PIPELINING, 8BITMIME, SMTPUTF8, SIZE 10485760]",
        "MAIL FROM:<alice@staff.example>",
        "250 2.1.0 Ok",
        "RCPT TO:<anna@example.com>",
        "451 4.7.1 Later",
        "QUIT",
        "221 2.0.0 Bye",
    ]


async def test_stopping_a_silent_mail_server_ends_its_conversations() -> None:
    timeline = Timeline()
    host = MailHost("mx", PeerRole.EXCHANGER, timeline, verdict=lambda _: "250 Ok", silent=True)
    port = await host.start("127.0.0.1")
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    async with asyncio.timeout(PATIENCE):
        await host.connected.wait()
        await host.stop()
        assert await reader.read() == b""
    await hang_up(writer)
    assert [event.text for event in timeline.take()] == ["connects, and waits for a greeting that never comes"]


async def test_a_line_that_never_ends_costs_the_client_its_connection() -> None:
    host = MailHost("mx", PeerRole.EXCHANGER, Timeline(), verdict=lambda _: "250 Ok")
    port = await host.start("127.0.0.1")
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(b"x" * 1_000_000)
    async with asyncio.timeout(PATIENCE):
        assert await reader.readline() == b"220 mx ESMTP\r\n"
        with contextlib.suppress(ConnectionResetError):
            assert await reader.read() == b""
    await hang_up(writer)
    await host.stop()


async def test_a_server_that_is_not_there_is_an_outcome_not_an_exception() -> None:
    host = MailHost("mx", PeerRole.EXCHANGER, Timeline(), verdict=lambda _: "250 Ok")
    port = await host.start("127.0.0.1")
    await host.stop()
    outcome = await send(("127.0.0.1", port), _letter(), Timeline())
    assert (outcome.stage, outcome.code) == ("connect", 0)


# ---------------------------------------------------------------- the judge

_SENT = b"Subject: x\r\n\r\nHello\r\n"
_DELIVERED = ConversationResult("dot", 250, "2.0.0 Ok", _SENT, 1.0)
_REFUSED = ConversationResult("MAIL", 550, "from address not reachable", _SENT, 1.0)
_SAMPLE = samples.ALL[0]
_FORGED = samples.ALL[1]
_PROBED = ("mx.staff.example",)


def _seen(outcome: ConversationResult, asked: tuple[str, ...], *contents: bytes) -> Observed:
    deliveries = tuple(AcceptedMessage("alice@staff.example", ("anna@example.com",), content) for content in contents)
    return Observed(outcome, None, _PROBED, asked, deliveries)


def test_a_sample_that_went_well_is_told_in_three_sentences() -> None:
    assert judge(_SAMPLE, _seen(_DELIVERED, _SAMPLE.asked, b"Received: x\r\n" + _SENT)) == (
        Check("accepted: 250 at the dot", held=True),
        Check("one probe, to mx.staff.example", held=True),
        Check("the upstream has it, byte for byte", held=True),
    )


def test_a_refusal_is_told_with_the_reply() -> None:
    assert judge(_FORGED, _seen(_REFUSED, _FORGED.asked)) == (
        Check("refused at MAIL: 550 from address not reachable", held=True),
        Check("one probe, to mx.staff.example", held=True),
        Check("nothing reached the upstream", held=True),
    )


@pytest.mark.parametrize(
    ("seen", "sentence"),
    [
        (
            _seen(replace(_REFUSED, text="go away"), _FORGED.asked),
            "not as it should be: 550 go away at MAIL",
        ),
        (
            _seen(replace(_REFUSED, code=451), _FORGED.asked),
            "not as it should be: 451 from address not reachable at MAIL",
        ),
        (
            replace(_seen(_REFUSED, _FORGED.asked), calls=()),
            "probes went to nobody instead of mx.staff.example",
        ),
        (
            _seen(_REFUSED, ("root@staff.example",)),
            "probes asked about root@staff.example instead of ghost@staff.example",
        ),
        (
            _seen(_REFUSED, _FORGED.asked, _SENT),
            "the upstream took 1 messages instead of 0",
        ),
    ],
)
def test_each_way_to_go_wrong_is_noticed(seen: Observed, sentence: str) -> None:
    assert [check.sentence for check in judge(_FORGED, seen) if not check.held] == [sentence]


def test_a_message_that_was_changed_on_the_way_is_noticed() -> None:
    seen = _seen(_DELIVERED, _SAMPLE.asked, b"Received: x\r\n" + _SENT + b"\r\n")
    assert [check.sentence for check in judge(_SAMPLE, seen) if not check.held] == [
        "the upstream has a changed message"
    ]


def test_a_second_client_that_had_to_wait_is_noticed() -> None:
    sample = samples.ALL[-1]
    late = replace(_DELIVERED, finished=2.0)
    deliveries = tuple(AcceptedMessage("", (), _SENT) for _ in range(2))
    seen = Observed(_DELIVERED, late, ("mx.silent.example",), (), deliveries)
    assert [check.sentence for check in judge(sample, seen) if not check.held] == [
        "the second client was served while the first one waited"
    ]


# ---------------------------------------------------------------- the screen


def _shown(show: Callable[[Screen], None]) -> str:
    paper = io.StringIO()
    show(Screen(Console(file=paper, width=100, color_system=None)))
    return paper.getvalue()


def test_a_message_cannot_drive_the_terminal() -> None:
    delivery = AcceptedMessage(
        "a\x1b[2J@staff.example", ("anna@example.com",), b"Subject: \x1b]0;gotcha\x07\r\n\r\n[bold]\xff\r\n"
    )
    shown = _shown(lambda screen: screen.delivery(delivery))
    assert "a\\x1b[2J@staff.example to anna@example.com" in shown
    assert "Subject: \\x1b]0;gotcha\\x07" in shown
    assert "[bold]\\xff" in shown
    assert "\x1b" not in shown


def test_a_long_message_is_shown_from_its_beginning() -> None:
    delivery = AcceptedMessage("", ("anna@example.com",), b"x" * 5000)
    shown = _shown(lambda screen: screen.delivery(delivery))
    assert shown.count("x") == 4096 + 1  # the x of example.com
    assert "... and 904 bytes more" in shown


def test_commands_to_copy_are_whole_however_narrow_the_terminal() -> None:
    paper = io.StringIO()
    screen = Screen(Console(file=paper, width=40))
    world = DemoWorld(Timeline(), MailHost("upstream", PeerRole.UPSTREAM, Timeline(), verdict=str), {})
    world.address, world.configuration = ("127.0.0.1", 12345), Path("/tmp/ringback-demo-12345678/ecelerity.conf")
    screen.by_hand(world)
    lines = [line.strip() for line in paper.getvalue().splitlines()]
    assert "swaks --server 127.0.0.1:12345 --from phantom@staff.example --to anna@example.com" in lines
    assert "ringback probe phantom@staff.example -c /tmp/ringback-demo-12345678/ecelerity.conf" in lines


# ---------------------------------------------------------------- the whole


def _python(code: str) -> subprocess.Popen[str]:
    environment = {**os.environ, "PYTHONUNBUFFERED": "1", "COLUMNS": "200", "TERM": "dumb"}
    return subprocess.Popen(
        [sys.executable, "-c", code],
        cwd=ROOT,
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        encoding="utf-8",
    )


def test_once_sends_every_sample_and_ends_with_status_0() -> None:
    with _python(
        "import sys, proxy.cli.serving, proxy.demo; sys.exit(proxy.demo.run(proxy.cli.serving.alone, once=True))"
    ) as demo:
        shown, complaints = demo.communicate(timeout=PATIENCE)
    assert (demo.returncode, complaints) == (0, "")
    assert "wrong" not in shown
    for sample in samples.ALL:
        assert re.search(rf"^  ok +{re.escape(sample.title)} ", shown, re.MULTILINE)


def test_once_ends_with_status_1_and_names_the_sample_that_went_wrong() -> None:
    # An exchanger without users refuses alice as well.
    code = """if True:
        import sys
        import proxy.demo.samples
        proxy.demo.samples.KNOWN_USERS = frozenset()
        import proxy.cli.serving, proxy.demo
        sys.exit(proxy.demo.run(proxy.cli.serving.alone, once=True))
    """
    with _python(code) as demo:
        shown, _ = demo.communicate(timeout=PATIENCE)
    assert demo.returncode == 1
    expected = "not as it should be: 550 from address not reachable at MAIL"
    assert re.search(rf"^  wrong +A sender who exists +{re.escape(expected)}", shown, re.MULTILINE)


def _fails(preparation: str) -> tuple[int, str, str]:
    """Run the demonstration in a world that lacks something; return its status and what it printed."""
    running = "import proxy.cli.serving, proxy.demo\nsys.exit(proxy.demo.run(proxy.cli.serving.alone, once=True))"
    code = f"import sys\n{preparation}\n{running}"
    with _python(code) as demo:
        shown, complaints = demo.communicate(timeout=PATIENCE)
    return demo.returncode, shown, complaints


def test_where_loopback_has_one_address_only_it_says_how_to_add_more() -> None:
    preparation = """
import errno, os
from proxy.demo.mailhost import MailHost
async def start(self, address, port=0):
    raise OSError(errno.EADDRNOTAVAIL, os.strerror(errno.EADDRNOTAVAIL))
MailHost.start = start
"""
    status, shown, complaints = _fails(preparation)
    assert (status, shown) == (69, "")
    assert " ".join(complaints.split()) == (
        "cannot listen on 127.0.0.2: Cannot assign requested address. "
        "The demo's exchangers need 127.0.0.2 to 127.0.0.4; "
        "On macOS and the BSDs, add them first: ifconfig lo0 alias 127.0.0.2 (and .3, .4)"
    )


def test_a_configuration_that_does_not_load_is_shown_with_its_mistake(tmp_path: Path) -> None:
    broken = tmp_path / "ecelerity.conf"
    broken.write_text("Relay_Domains\n")
    preparation = f"""
from pathlib import Path
import proxy.demo.world as world
world.shipped_configuration = lambda: Path({str(broken)!r})
"""
    status, shown, complaints = _fails(preparation)
    assert (status, shown) == (78, "")
    assert complaints.startswith(f"{broken}:1:1: error: `Relay_Domains` stands alone\n")


def _asked_in_a_browser(link: str, subject: str) -> tuple[str, str]:
    """Return what the page shows of a sender's mail, and of the first session."""
    browser = urllib.request.build_opener(urllib.request.HTTPCookieProcessor())
    address = link.partition("/login/")[0]
    browser.open(link, timeout=PATIENCE).close()
    with browser.open(f"{address}/why?q={subject}", timeout=PATIENCE) as answer:
        why = answer.read().decode()
    last = re.findall(r'href="(/session/[^"]+)"', why)[-1]
    with browser.open(f"{address}{last}", timeout=PATIENCE) as answer:
        return why, answer.read().decode()


@pytest.mark.parametrize("ending", [signal.SIGINT, signal.SIGTERM])
def test_without_once_it_stays_up_for_mail_by_hand_until_a_signal(ending: signal.Signals) -> None:
    with _python(
        "import sys, proxy.cli.serving, proxy.demo; sys.exit(proxy.demo.run(proxy.cli.serving.alone, once=False))"
    ) as demo:
        assert demo.stdout is not None
        port, link = 0, ""
        for line in demo.stdout:
            if found := re.search(r"http://127\.0\.0\.1:\d+/login/\S+", line):
                link = found[0]
            if found := re.search(r"swaks --server 127\.0\.0\.1:(\d+)", line):
                port = int(found[1])
            if "Ctrl-C ends it all" in line:
                break
        with smtplib.SMTP("127.0.0.1", port, timeout=PATIENCE) as client:
            client.ehlo("client.example")
            assert client.mail("dave@staff.example") == (250, b"2.1.0 Sender OK")
        why, session = _asked_in_a_browser(link, "ghost@staff.example")
        assert "550 from address not reachable" in why
        for words in ("Callback: fail (no such user)", "sender_callback.siv", "RCPT TO:&lt;ghost@staff.example&gt;"):
            assert words in session
        demo.send_signal(ending)
        shown, complaints = demo.communicate(timeout=PATIENCE)
    assert (demo.returncode, complaints) == (0, "")
    assert re.search(r"Ringback ─▸ mx\.staff\.example +RCPT TO:<dave@staff\.example>", shown)
    assert "Everything is stopped." in shown
