"""What a script does to a message, its envelope and its route, seen from the upstream: nothing more, nothing less.

One server runs all statements of a table; the sender's localpart says which of them is for a message.
"""

from __future__ import annotations

import base64
import re
from collections.abc import Iterator, Mapping
from pathlib import Path

import pytest

from tests.support.conversation import Conversation
from tests.support.exchanger import Dialogue, Exchanger, Step, says
from tests.support.house import House, below_received, greeted, opened, transactions
from tests.support.programs import free_port
from tests.support.ringback import Ringback
from tests.support.servers import REFUSED_RECIPIENT, REFUSED_REPLY, Postfix
from tests.support.waiting import eventually
from tests.support.world import Stage

pytestmark = pytest.mark.real("dnsmasq")

RECIPIENT = "b@example.com"

FIELDS = (
    b"Received: from a by b;\r\n\tMon, 1 Jan 2024 00:00:00 +0000\r\n"
    b"Subject: first\r\n  folded\tonce\r\n"
    b"X-Raw: \xe4\xff \r\n"
    b".X-Dotted: yes\r\n"
    b"SUBJECT : second\r\n"
    b"DKIM-Signature: v=1; b=aGVs\r\n bG8=\r\n"
)
BODY = b".\r\n..two\r\neight bits \xff\xfe\r\n.end\r\n \r\n\r\n"
LETTER = FIELDS + b"\r\n" + BODY

FIRST_SUBJECT = b"Subject: first\r\n  folded\tonce\r\n"
SECOND_SUBJECT = b"SUBJECT : second\r\n"

FIVE_MIB = b"".join(
    b"%07d .............................................................\r\n" % at for at in range(74_000)
)

EDITS: Mapping[str, str] = {
    "nothing": "",
    "adds": 'ec_header_add "X-Policy" "seen";',
    "adds-twice": 'ec_header_add "X-Policy" "one"; ec_header_add "X-Policy" "two";',
    "adds-long": 'ec_header_add "X-Long" "{}";'.format(" ".join(f"word{at}" for at in range(200))),
    "adds-international": 'ec_header_add "X-Name" "Zürich";',
    "deletes": 'ec_header_delete "subject";',
    "deletes-none": 'ec_header_delete "X-None";',
    "deletes-raw": 'ec_header_delete "x-raw";',
    "prefixes": 'ec_header_prefix "subject" "[x] ";',
    "prefixes-raw": 'ec_header_prefix "X-Raw" ">";',
    "postfixes": 'ec_header_postfix "Subject" " (checked)";',
    "prefixes-none": 'ec_header_prefix "X-None" "[x] ";',
    "replaces": 'ec_header_delete "Subject"; ec_header_add "Subject" "third";',
}
SHOWN: Mapping[str, bytes] = {
    "nothing": LETTER,
    "adds": b"X-Policy: seen\r\n" + LETTER,
    "adds-twice": b"X-Policy: two\r\nX-Policy: one\r\n" + LETTER,
    "adds-international": "X-Name: Zürich\r\n".encode() + LETTER,
    "deletes": LETTER.replace(FIRST_SUBJECT, b"").replace(SECOND_SUBJECT, b""),
    "deletes-none": LETTER,
    "deletes-raw": LETTER.replace(b"X-Raw: \xe4\xff \r\n", b""),
    "prefixes": LETTER.replace(FIRST_SUBJECT, b"Subject: [x] first  folded\tonce\r\n"),
    "prefixes-raw": LETTER.replace(b"X-Raw: \xe4\xff \r\n", b"X-Raw: >\xe4\xff\r\n"),
    "postfixes": LETTER.replace(FIRST_SUBJECT, b"Subject: first  folded\tonce (checked)\r\n"),
    "prefixes-none": LETTER,
    "replaces": b"Subject: third\r\n" + LETTER.replace(FIRST_SUBJECT, b"").replace(SECOND_SUBJECT, b""),
}
HOSTILE: Mapping[str, str] = {
    "copies-subject": '$s = ec_header_get "Subject"; ec_header_add "X-Copy" "${s}"; ec_log "subject ${s}";',
    "copies-decoded": '$s = ec_header_get "X-B64"; $d = ec_base64_decode "${s}"; ec_header_add "X-Copy" "${d}";'
    ' ec_header_prefix "Subject" "${d}"; ec_log "decoded ${d}";',
    "replies-decoded": '$s = ec_header_get "X-B64"; $d = ec_base64_decode "${s}"; ec_action 550 "5.7.1 no ${d}";',
    "replies-subject": '$s = ec_header_get "Subject"; ec_action 550 "5.7.1 no ${s}";',
    "redirects-decoded": '$s = ec_header_get "X-B64"; $d = ec_base64_decode "${s}"; redirect "${d}";',
    "names-decoded": '$s = ec_header_get "X-B64"; $d = ec_base64_decode "${s}"; ec_header_add "${d}" "x";',
    "sends-decoded": '$s = ec_header_get "X-B64"; $d = ec_base64_decode "${s}"; ec_rewrite_mailfrom "${d}";',
    "routes-nowhere": '$to = "no address"; redirect "${to}";',
}
ENVELOPES: Mapping[str, str] = {
    "redirects": 'redirect "elsewhere@other.test";',
    "ec-redirects": 'ec_redirect "elsewhere@other.test" "a counter";',
    "copies": 'add_recipient "copy@other.test";',
    "copies-itself": 'add_recipient "b@example.com";',
    "copies-utf8": 'add_recipient "jürgen@other.test";',
    "renames": 'ec_rewrite_mailfrom "prvs=1@other.test";',
    "renames-null": 'ec_rewrite_mailfrom "";',
    "discards": "discard;",
    "both": 'ec_rewrite_mailfrom "new@other.test"; add_recipient "copy@other.test"; redirect "there@other.test";',
}


def dispatched(*tables: Mapping[str, str], by: str = "from") -> str:
    """Return a script in which the sender's, or the recipient's, localpart chooses one entry."""
    cases = [
        f'if ec_test :is "${{case}}" "{name}" {{ {run} }}' for table in tables for name, run in table.items() if run
    ]
    return "\n".join([f'$case = envelope :localpart "{by}";', *cases]) + "\n"


def in_spool(table: Mapping[str, str]) -> dict[str, str]:
    return {f"spool-{name}": run for name, run in table.items()}


@pytest.fixture(scope="module")
def ringback(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Ringback]:
    """One server whose scripts read the envelope and the header section; no body is kept."""
    house = House(
        upstream_port=free_port(),
        scripts={
            "rcptto_phase1": dispatched(ENVELOPES, {"bad": '$to = "no address"; redirect "${to}";'}, by="to"),
            "data_phase1": dispatched(EDITS, HOSTILE, ENVELOPES),
            "spool_phase1": dispatched(in_spool(EDITS), in_spool(ENVELOPES)),
        },
    )
    server = Ringback(house, tmp_path_factory.mktemp("effects")).start()
    yield server
    server.stop()


@pytest.fixture(scope="module")
def reading(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Ringback]:
    """One server whose script reads the whole message."""
    text = '$h = hash_create; hash_set $h "plain" "--\nDISCLAIMED"; disclaimer_add $h;'
    house = House(
        upstream_port=free_port(),
        scripts={
            "data_phase1": dispatched(
                {
                    "disclaims": text,
                    "disclaims-and-adds": f'{text} ec_header_add "X-Policy" "seen";',
                    "adds": 'ec_header_add "X-Policy" "seen";',
                    "disclaims-decoded": '$s = ec_header_get "X-B64"; $d = ec_base64_decode "${s}"; $h = hash_create;'
                    ' hash_set $h "plain" "${d}"; disclaimer_add $h;',
                    "looks": 'if body :raw :contains "0070000 " { ec_log "found"; }',
                }
            )
        },
    )
    server = Ringback(house, tmp_path_factory.mktemp("reading")).start()
    yield server
    server.stop()


async def sent(ringback: Ringback, sender: str, message: bytes, *recipients: str) -> str:
    """Run a whole transaction as a client; return the reply to the dot."""
    async with await ringback.conversation() as client:
        return await client.deliver(sender, recipients or (RECIPIENT,), message)


async def arrived(stage: Stage, ringback: Ringback, case: str, message: bytes = LETTER) -> bytes:
    """Return what the upstream gets of a message that is accepted, less our Received field."""
    upstream = await stage.upstream(ringback)
    reply = await sent(ringback, f"{case}@sender.test", message)
    assert reply.startswith("250 2.0.0 Ok: queued as "), reply
    (received,) = upstream.messages
    return below_received(received.content)


def failures(ringback: Ringback) -> list[str]:
    return [each["reason"] for each in ringback.log if each["event"] == "script_failed"]


# ---------------------------------------------------------------- header fields


@pytest.mark.parametrize("phase", ["data", "spool"])
@pytest.mark.parametrize("case", SHOWN)
async def test_an_edit_changes_the_field_it_names_and_leaves_every_other_byte(
    stage: Stage, ringback: Ringback, case: str, phase: str
) -> None:
    sender = case if phase == "data" else f"spool-{case}"
    assert await arrived(stage, ringback, sender) == SHOWN[case]


async def test_a_field_too_long_for_a_line_is_folded_at_its_blanks(stage: Stage, ringback: Ringback) -> None:
    received = await arrived(stage, ringback, "adds-long")
    added = received.removesuffix(LETTER)
    assert all(len(line) <= 998 for line in added.split(b"\r\n"))
    assert added.replace(b"\r\n ", b" ") == b"X-Long: " + b" ".join(b"word%d" % at for at in range(200)) + b"\r\n"


@pytest.mark.parametrize(
    ("message", "expected"),
    [
        (b"\r\nonly a body\r\n", b"X-Policy: seen\r\n\r\nonly a body\r\n"),
        (b"\r\n", b"X-Policy: seen\r\n\r\n"),
        (b"", b"X-Policy: seen\r\n"),
        (b"Subject: no empty line\r\n", b"X-Policy: seen\r\nSubject: no empty line\r\n"),
        (b"no field at all\r\n", b"X-Policy: seen\r\nno field at all\r\n"),
        (b" folded: first\r\nA: b\r\n\r\n", b"X-Policy: seen\r\n\r\n folded: first\r\nA: b\r\n\r\n"),
        (b".\r\n..\r\n...\r\n\r\n.\r\n", b"X-Policy: seen\r\n.\r\n..\r\n...\r\n\r\n.\r\n"),
    ],
    ids=["no header section", "one empty line", "0 octets", "no body", "no field", "folded first", "dots"],
)
@pytest.mark.parametrize("server", ["ringback", "reading"])
async def test_a_message_of_an_odd_shape_is_edited_like_any_other(
    stage: Stage, request: pytest.FixtureRequest, server: str, message: bytes, expected: bytes
) -> None:
    running = request.getfixturevalue(server)
    assert await arrived_raw(stage, running, "adds", message) == expected


@pytest.mark.parametrize(
    "message",
    [b"", b"\r\n", b"\r\nonly a body\r\n", b"A: b\r\n", b"A: b\r\nno field\r\nC: d\r\n", b".\r\n.\r\n\r\n..\r\n.\r\n"],
    ids=["0 octets", "one empty line", "no header section", "no body", "no field", "dots"],
)
@pytest.mark.parametrize("server", ["ringback", "reading"])
async def test_a_message_of_an_odd_shape_that_no_script_touches_arrives_as_it_was(
    stage: Stage, request: pytest.FixtureRequest, server: str, message: bytes
) -> None:
    running = request.getfixturevalue(server)
    assert await arrived_raw(stage, running, "nothing", message) == message


async def arrived_raw(stage: Stage, ringback: Ringback, case: str, message: bytes) -> bytes:
    """Do as `arrived` for a message that may be empty or lack its empty line."""
    upstream = await stage.upstream(ringback)
    async with await ringback.conversation() as client:
        await client.envelope(f"{case}@sender.test", [RECIPIENT])
        dots = re.sub(rb"(\A|\r\n)\.", rb"\1..", message)
        await client.send_raw(dots + b".\r\n")
        reply = await client.reply()
    assert reply.startswith("250 2.0.0 Ok: queued as "), reply
    (received,) = upstream.messages
    return below_received(received.content)


LIMIT = 1024 * 1024


def of_head_size(octets: int) -> bytes:
    """Return a message whose header section has this size, with its empty line."""
    line = b"X-Pad: " + b"x" * 91 + b"\r\n"
    count, rest = divmod(octets - 2 - 200, len(line))
    last = b"X-Last: " + b"y" * (200 + rest - 10) + b"\r\n"
    head = line * count + last + b"\r\n"
    assert len(head) == octets
    return head + b"body\r\n"


@pytest.mark.parametrize("octets", [LIMIT - 1, LIMIT])
async def test_a_header_section_of_1_mib_is_edited_and_arrives_whole(
    stage: Stage, ringback: Ringback, octets: int
) -> None:
    message = of_head_size(octets)
    received = await arrived(stage, ringback, "adds", message)
    assert received == b"X-Policy: seen\r\n" + message


async def test_a_header_section_beyond_1_mib_is_552_5_3_4_and_nothing_arrives(stage: Stage, ringback: Ringback) -> None:
    upstream = await stage.upstream(ringback)
    reply = await sent(ringback, "adds@sender.test", of_head_size(LIMIT + 3))
    assert reply == "552 5.3.4 Header section too big"
    assert upstream.messages == []


@pytest.mark.parametrize(
    ("server", "case"), [("ringback", "adds"), ("reading", "adds"), ("reading", "looks"), ("ringback", "nothing")]
)
async def test_5_mib_arrive_whole_whether_streamed_or_read_by_a_script(
    stage: Stage, request: pytest.FixtureRequest, server: str, case: str
) -> None:
    running = request.getfixturevalue(server)
    received = await arrived(stage, running, case, FIELDS + b"\r\n" + FIVE_MIB)
    head = b"X-Policy: seen\r\n" + FIELDS if case == "adds" else FIELDS
    assert len(FIVE_MIB) > 5 << 20
    assert received == head + b"\r\n" + FIVE_MIB
    if case == "looks":
        found = await eventually(lambda: [each for each in running.log if each["event"] == "script"], "it is logged")
        assert [each["text"] for each in found] == ["found"]


@pytest.mark.parametrize("server", ["ringback", "reading"])
@pytest.mark.parametrize("case", ["nothing", "adds"])
@pytest.mark.parametrize(
    "message",
    [LETTER, FIELDS + b"\r\n" + b".dot\r\n.", FIELDS + b"\r\n.\r\n", b"\r\n.\r\n..\r\n", b"", FIELDS],
    ids=["letter", "no last line break", "a dot alone", "no header section", "0 octets", "no empty line"],
)
async def test_a_message_in_chunks_is_edited_like_any_other_and_arrives_stuffed(
    stage: Stage, request: pytest.FixtureRequest, server: str, case: str, message: bytes
) -> None:
    """RFC 3030: BDAT's octets are counted and not dot-stuffed; the upstream gets them by DATA."""
    running = request.getfixturevalue(server)
    upstream = await stage.upstream(running)
    async with await greeted(running) as client:
        for command in (f"MAIL FROM:<{case}@sender.test>", f"RCPT TO:<{RECIPIENT}>"):
            assert (await client.ask(command)).startswith("250 ")
        half = len(message) // 2
        await client.send_raw(b"BDAT %d\r\n%b" % (half, message[:half]))
        assert (await client.reply()).startswith("250 ")
        await client.send_raw(b"BDAT %d LAST\r\n%b" % (len(message) - half, message[half:]))
        assert (await client.reply()).startswith("250 2.0.0 Ok: queued as ")
    (received,) = upstream.messages
    ended = message if not message or message.endswith(b"\r\n") else message + b"\r\n"
    head, empty, body = (b"", ended[:2], ended[2:]) if ended.startswith(b"\r\n") else split(ended)
    added = b"X-Policy: seen\r\n" if case == "adds" else b""
    assert below_received(received.content) == added + head + empty + body


def split(message: bytes) -> tuple[bytes, bytes, bytes]:
    """Return header section, empty line and body."""
    at = message.find(b"\r\n\r\n")
    return (message, b"", b"") if at < 0 else (message[: at + 2], b"\r\n", message[at + 4 :])


# ---------------------------------------------------------------- disclaimers

SAID = b"--\r\nDISCLAIMED\r\n"


@pytest.mark.parametrize(
    ("message", "expected"),
    [
        (LETTER, LETTER + SAID),
        (b"Subject: no body\r\n\r\n", b"Subject: no body\r\n\r\n" + SAID),
        (b"Subject: no empty line\r\n", b"Subject: no empty line\r\n\r\n" + SAID),
        (b"", b"\r\n" + SAID),
        (b"\r\nonly a body\r\n", b"\r\nonly a body\r\n" + SAID),
        (b"Content-Type: text/html\r\n\r\n<p>\r\n", b"Content-Type: text/html\r\n\r\n<p>\r\n"),
        (
            b"Content-Transfer-Encoding: quoted-printable\r\n\r\nna=C3=AFve=\r\n end\r\n",
            b"Content-Transfer-Encoding: quoted-printable\r\n\r\nna=C3=AFve=\r\n end\r\n" + SAID,
        ),
        (
            b"Content-Transfer-Encoding: base64\r\n\r\naGVsbG8=\r\n",
            b"Content-Transfer-Encoding: base64\r\n\r\naGVsbG8NCi0tDQpESVNDTEFJTUVEDQo=\r\n",
        ),
        (
            b"Content-Transfer-Encoding: base64\r\n\r\n",
            b"Content-Transfer-Encoding: base64\r\n\r\nDQotLQ0KRElTQ0xBSU1FRA0K\r\n",
        ),
        (
            (b'Content-Type: multipart/mixed; boundary="x"\r\n\r\npre\r\n--x\r\n\r\n.one\r\n--x\r\n'
            b"Content-Disposition: attachment\r\n\r\n.two\r\n--x--\r\n.post\r\n"),
            (b'Content-Type: multipart/mixed; boundary="x"\r\n\r\npre\r\n--x\r\n\r\n.one\r\n--\r\nDISCLAIMED\r\n--x\r\n'
            b"Content-Disposition: attachment\r\n\r\n.two\r\n--x--\r\n.post\r\n"),
        ),
    ],
    ids=[
        "plain", "no body", "no empty line", "0 octets", "no header section", "HTML alone", "quoted-printable",
        "base64", "empty base64", "multipart",
    ],
)  # fmt: skip
async def test_a_disclaimer_stands_below_the_text_and_the_message_still_ends(
    stage: Stage, reading: Ringback, message: bytes, expected: bytes
) -> None:
    assert await arrived_raw(stage, reading, "disclaims", message) == expected


async def test_a_disclaimer_and_a_field_arrive_together(stage: Stage, reading: Ringback) -> None:
    received = await arrived(stage, reading, "disclaims-and-adds")
    assert received == b"X-Policy: seen\r\n" + LETTER + SAID


@pytest.mark.parametrize("decoded", [b"a\r.\rMAIL", b"a\n.\nMAIL", b"a\r\n.\r\nMAIL", b"a\n.\rMAIL", b"a\r"])
async def test_line_breaks_that_a_script_decodes_into_the_body_are_whole_and_do_not_end_the_message(
    stage: Stage, reading: Ringback, decoded: bytes
) -> None:
    """A bare CR or LF behind us may end the message for another server (SMTP smuggling)."""
    message = b"X-B64: " + base64.b64encode(decoded) + b"\r\n\r\nbody\r\n"
    received = await arrived(stage, reading, "disclaims-decoded", message)
    assert received.startswith(message)
    assert re.search(rb"\r(?!\n)|(?<!\r)\n", received) is None, received


async def test_a_message_that_cannot_be_kept_for_a_script_is_451_and_a_small_one_passes(
    stage: Stage, tmp_path: Path
) -> None:
    upstream = await stage.upstream()
    spool = tmp_path / "gone"
    spool.mkdir()
    ringback = await opened(
        stage, tmp_path, f'Spool_Directory = "{spool}"', upstream_port=upstream.port,
        scripts={"data_phase1": 'if size :over 10M { ec_log "large"; }\n'},
    )  # fmt: skip
    spool.rmdir()
    large = FIELDS + b"\r\n" + FIVE_MIB
    assert await sent(ringback, "a@sender.test", large) == "451 4.3.0 Temporary failure, try again later"
    assert upstream.messages == []
    assert (await sent(ringback, "a@sender.test", LETTER)).startswith("250 ")


# ---------------------------------------------------------------- envelope


ORIGINAL = "MAIL FROM:<{}@sender.test>"


def expected_envelope(case: str, sender: str, recipient: str) -> tuple[str, ...]:
    """Return what the upstream hears after a case of ENVELOPES."""
    mail, rcpt = f"MAIL FROM:<{sender}>", f"RCPT TO:<{recipient}>"
    return {
        "redirects": (mail, "RCPT TO:<elsewhere@other.test>"),
        "ec-redirects": (mail, "RCPT TO:<elsewhere@other.test>"),
        "copies": (mail, rcpt, "RCPT TO:<copy@other.test>"),
        "copies-itself": (mail, rcpt),
        "renames": ("MAIL FROM:<prvs=1@other.test>", rcpt),
        "renames-null": ("MAIL FROM:<>", rcpt),
        "both": ("MAIL FROM:<new@other.test>", "RCPT TO:<there@other.test>", "RCPT TO:<copy@other.test>"),
    }[case]


CHANGES = ["redirects", "ec-redirects", "copies", "copies-itself", "renames", "renames-null", "both"]


@pytest.mark.parametrize("phase", ["data", "spool"])
@pytest.mark.parametrize("case", CHANGES)
async def test_a_change_of_the_envelope_by_content_is_what_the_upstream_hears_last(
    stage: Stage, ringback: Ringback, case: str, phase: str
) -> None:
    upstream = await stage.upstream(ringback)
    sender = f"{case if phase == 'data' else f'spool-{case}'}@sender.test"
    assert (await sent(ringback, sender, LETTER)).startswith("250 ")
    assert transactions(upstream) == [expected_envelope(case, sender, RECIPIENT)]
    assert below_received(upstream.messages[0].content) == LETTER


@pytest.mark.parametrize("case", [each for each in CHANGES if each != "copies-itself"])
async def test_a_change_of_the_envelope_at_a_recipient_is_what_the_upstream_hears(
    stage: Stage, ringback: Ringback, case: str
) -> None:
    upstream = await stage.upstream(ringback)
    assert (await sent(ringback, "someone@sender.test", LETTER, f"{case}@example.com")).startswith("250 ")
    assert transactions(upstream) == [expected_envelope(case, "someone@sender.test", f"{case}@example.com")]


async def test_a_redirect_by_content_takes_the_place_of_every_recipient(stage: Stage, ringback: Ringback) -> None:
    upstream = await stage.upstream(ringback)
    assert (await sent(ringback, "redirects@sender.test", LETTER, RECIPIENT, "c@example.com")).startswith("250 ")
    assert transactions(upstream) == [("MAIL FROM:<redirects@sender.test>", "RCPT TO:<elsewhere@other.test>")]


async def test_a_redirect_at_one_recipient_leaves_the_others(stage: Stage, ringback: Ringback) -> None:
    upstream = await stage.upstream(ringback)
    names = ("one@example.com", "redirects@example.com", "three@example.com")
    assert (await sent(ringback, "someone@sender.test", LETTER, *names)).startswith("250 ")
    assert transactions(upstream) == [
        (
            "MAIL FROM:<someone@sender.test>",
            "RCPT TO:<one@example.com>",
            "RCPT TO:<elsewhere@other.test>",
            "RCPT TO:<three@example.com>",
        )
    ]


async def test_two_recipients_redirected_to_one_address_are_one_recipient(stage: Stage, ringback: Ringback) -> None:
    upstream = await stage.upstream(ringback)
    names = ("redirects@example.com", "ec-redirects@example.com")
    assert (await sent(ringback, "someone@sender.test", LETTER, *names)).startswith("250 ")
    assert transactions(upstream) == [("MAIL FROM:<someone@sender.test>", "RCPT TO:<elsewhere@other.test>")]


async def test_a_sender_rewritten_at_the_second_recipient_holds_for_the_message(
    stage: Stage, ringback: Ringback
) -> None:
    upstream = await stage.upstream(ringback)
    assert (await sent(ringback, "someone@sender.test", LETTER, RECIPIENT, "renames@example.com")).startswith("250 ")
    assert transactions(upstream) == [
        ("MAIL FROM:<prvs=1@other.test>", f"RCPT TO:<{RECIPIENT}>", "RCPT TO:<renames@example.com>")
    ]


async def test_a_change_of_one_message_does_not_touch_the_sessions_next(stage: Stage, ringback: Ringback) -> None:
    upstream = await stage.upstream(ringback)
    async with await ringback.conversation() as client:
        assert (await client.deliver("both@sender.test", [RECIPIENT], LETTER)).startswith("250 ")
        assert (await client.deliver("plain@sender.test", [RECIPIENT], LETTER)).startswith("250 ")
    assert transactions(upstream) == [
        expected_envelope("both", "both@sender.test", RECIPIENT),
        ("MAIL FROM:<plain@sender.test>", f"RCPT TO:<{RECIPIENT}>"),
    ]


async def test_a_message_that_is_discarded_is_250_and_the_upstream_gets_nothing(
    stage: Stage, ringback: Ringback
) -> None:
    upstream = await stage.upstream(ringback)
    for case in ("discards", "spool-discards"):
        assert await sent(ringback, f"{case}@sender.test", LETTER) == "250 2.0.0 Message accepted"
    assert (await sent(ringback, "nothing@sender.test", LETTER)).startswith("250 2.0.0 Ok: queued")
    assert transactions(upstream) == [("MAIL FROM:<nothing@sender.test>", f"RCPT TO:<{RECIPIENT}>")]


async def test_a_recipient_that_is_discarded_is_accepted_and_the_others_get_the_mail(
    stage: Stage, ringback: Ringback
) -> None:
    upstream = await stage.upstream(ringback)
    assert (await sent(ringback, "a@sender.test", LETTER, "discards@example.com", RECIPIENT)).startswith("250 ")
    assert transactions(upstream) == [("MAIL FROM:<a@sender.test>", f"RCPT TO:<{RECIPIENT}>")]


async def test_where_every_recipient_is_discarded_the_upstream_is_not_asked(stage: Stage, ringback: Ringback) -> None:
    upstream = await stage.upstream(ringback)
    reply = await sent(ringback, "a@sender.test", LETTER, "discards@example.com")
    assert (reply, upstream.count("MAIL")) == ("250 2.0.0 Message accepted", 0)


@pytest.mark.parametrize("case", ["redirects", "copies"])
async def test_a_script_recipient_that_the_upstream_refuses_is_refused_in_its_words_at_the_dot(
    stage: Stage, ringback: Ringback, case: str
) -> None:
    words = says("550-5.1.1 not", "550 5.1.1 known here")
    upstream = await stage.upstream(ringback, recipients={"elsewhere@other.test": words, "copy@other.test": words})
    assert await sent(ringback, f"{case}@sender.test", LETTER) == "550-5.1.1 not\n550 5.1.1 known here"
    assert upstream.messages == []


async def test_a_redirect_at_the_recipient_that_the_upstream_refuses_is_refused_there(
    stage: Stage, ringback: Ringback
) -> None:
    await stage.upstream(ringback, recipients={"elsewhere@other.test": says("452 4.2.2 full")})
    async with await greeted(ringback) as client:
        await client.ask("MAIL FROM:<a@sender.test>")
        assert await client.ask("RCPT TO:<redirects@example.com>") == "452 4.2.2 full"
        assert (await client.ask("RCPT TO:<b@example.com>")).startswith("250 ")


async def test_a_rewritten_sender_that_the_upstream_refuses_is_refused_in_its_words(
    stage: Stage, ringback: Ringback
) -> None:
    class Picky(Exchanger):
        def act_at(self, step: Step, command: str):  # type: ignore[no-untyped-def]  # noqa: ANN202
            if step is Step.MAIL and "prvs" in command:
                return says("553 5.1.8 not that sender")
            return super().act_at(step, command)

    upstream = await stage.put_up(Picky(port=ringback.upstream_port))
    assert await sent(ringback, "renames@sender.test", LETTER) == "553 5.1.8 not that sender"
    assert upstream.messages == []


async def test_an_international_address_of_a_script_is_not_said_to_an_upstream_without_smtputf8_being_asked(
    stage: Stage, ringback: Ringback
) -> None:
    """RFC 6531 section 3.4: such an address may be said only in a transaction that asked for SMTPUTF8."""
    upstream = await stage.upstream(ringback)
    reply = await sent(ringback, "copies-utf8@sender.test", LETTER)
    said = [each for each in upstream.commands if not each.isascii()]
    asked = [each for each in upstream.commands if each.startswith("MAIL") and "SMTPUTF8" in each]
    assert not said or asked, (reply, upstream.commands)


# ---------------------------------------------------------------- what a message cannot do


TRICKS = b"%{vctx_conn:ehlo_domain} ${case} \\r\\nX-Evil: 1 \x1b[31m $case =?utf-8?q?=0D=0AX-Evil:_1?="


async def test_a_subject_that_looks_like_a_macro_arrives_in_a_field_as_it_was(stage: Stage, ringback: Ringback) -> None:
    message = b"Subject: " + TRICKS.replace(b"\x1b", b"") + b"\r\n\tX-Evil: folded\r\n\r\nbody\r\n"
    received = await arrived(stage, ringback, "copies-subject", message)
    copy = b"X-Copy: " + TRICKS.replace(b"\x1b", b"") + b"\tX-Evil: folded\r\n"
    assert received == copy + message


async def test_a_control_character_of_a_subject_does_not_reach_a_field_or_the_log(
    stage: Stage, ringback: Ringback
) -> None:
    received = await arrived(stage, ringback, "copies-subject", b"Subject: \x1b[31m red\r\n\r\nbody\r\n")
    assert received.replace(b"X-Copy:  ", b"X-Copy: ").startswith(b"X-Copy: [31m red\r\nSubject: ")
    log = ringback.program.stderr
    await eventually(lambda: b"[31m red" in log.read_bytes(), "the subject is logged")
    assert b"\x1b" not in log.read_bytes()


@pytest.mark.parametrize(
    "decoded", [b"a\r\nX-Evil: 1", b"a\nX-Evil: 1", b"a\rX-Evil: 1", b"a\r\n\r\nX-Evil: 1", b"a\x00\x0b\x0cX-Evil: 1"]
)
async def test_line_breaks_that_a_script_decodes_cannot_begin_a_field_or_the_body(
    stage: Stage, ringback: Ringback, decoded: bytes
) -> None:
    message = b"Subject: s\r\nX-B64: " + base64.b64encode(decoded) + b"\r\n\r\nbody\r\n"
    received = await arrived(stage, ringback, "copies-decoded", message)
    head, _, body = received.partition(b"\r\n\r\n")
    names = [line.partition(b":")[0] for line in head.split(b"\r\n")]
    assert (names, body) == ([b"X-Copy", b"Subject", b"X-B64"], b"body\r\n")
    assert head.startswith(b"X-Copy: a X-Evil: 1\r\n")
    assert all(each["event"] != "unstructured" for each in ringback.log)


@pytest.mark.parametrize("decoded", ["x\r\n250 2.0.0 taken", "x\n250 2.0.0 taken", "x\r250 2.0.0 taken"])
async def test_line_breaks_that_a_script_decodes_cannot_make_a_second_reply(
    stage: Stage, ringback: Ringback, decoded: str
) -> None:
    upstream = await stage.upstream(ringback)
    message = b"X-B64: " + base64.b64encode(decoded.encode()) + b"\r\n\r\nbody\r\n"
    async with await ringback.conversation() as client:
        reply = await client.deliver("replies-decoded@sender.test", [RECIPIENT], message)
        assert reply == "550 5.7.1 no x 250 2.0.0 taken"
        assert (await client.ask("NOOP")).startswith("250 ")
    assert upstream.messages == []


async def test_a_subject_in_a_reply_is_printable_text_in_lines_that_fit(stage: Stage, ringback: Ringback) -> None:
    """RFC 5321 section 4.5.3.1.5: a reply line has 512 octets at most."""
    await stage.upstream(ringback)
    message = b"Subject: " + TRICKS + b" \xff " + b"long " * 180 + b"\r\n\r\nbody\r\n"
    reply = await sent(ringback, "replies-subject@sender.test", message)
    lines = reply.split("\n")
    assert all(line.startswith("550") and line.isascii() and line.isprintable() for line in lines)
    assert lines[0].startswith("550 5.7.1 no %{vctx_conn:ehlo_domain} ${case} ") or lines[0].startswith(
        "550-5.7.1 no %{"
    )
    assert all(len(line) + 2 <= 512 for line in lines), [len(line) for line in lines]


NO_ADDRESSES = [
    "evil@other.test>\r\nRCPT TO:<x@other.test",
    "evil@other.test> SIZE=1",
    "evil@other.test>,<x@other.test",
    "evil@other.test\n",
    "evil",
    "a@b@other.test",
    'a"b@other.test',
    "a@-other.test",
    "a@other..test",
    "evil@other.test\x00",
    "x" * 600 + "@other.test",
    "@other.test",
]


@pytest.mark.parametrize("decoded", NO_ADDRESSES)
@pytest.mark.parametrize("case", ["redirects-decoded", "sends-decoded"])
async def test_text_that_is_no_address_never_reaches_a_command_and_the_message_is_451(
    stage: Stage, ringback: Ringback, case: str, decoded: str
) -> None:
    upstream = await stage.upstream(ringback)
    before = len(failures(ringback))
    message = b"X-B64: " + base64.b64encode(decoded.encode()) + b"\r\n\r\nbody\r\n"
    assert await sent(ringback, f"{case}@sender.test", message) == "451 4.3.0 Temporary failure, try again later"
    assert upstream.messages == []
    assert not any("evil" in each or "x@other" in each for each in upstream.commands)
    found = await eventually(lambda: failures(ringback)[before:], "the run-time error is logged")
    assert len(found) == 1


@pytest.mark.parametrize("decoded", ["X: y\r\nX-Evil", "X Y", "", "X:", "Zürich"])
async def test_text_that_is_no_field_name_is_a_run_time_error(stage: Stage, ringback: Ringback, decoded: str) -> None:
    upstream = await stage.upstream(ringback)
    message = b"X-B64: " + base64.b64encode(decoded.encode()) + b"\r\n\r\nbody\r\n"
    assert (await sent(ringback, "names-decoded@sender.test", message)).startswith("451 4.3.0 ")
    assert upstream.messages == []


async def test_an_address_that_is_none_is_451_at_the_recipient_and_another_recipient_is_taken(
    stage: Stage, ringback: Ringback
) -> None:
    upstream = await stage.upstream(ringback)
    async with await greeted(ringback) as client:
        await client.ask("MAIL FROM:<a@sender.test>")
        assert await client.ask("RCPT TO:<bad@example.com>") == "451 4.3.0 Temporary failure, try again later"
        assert (await client.ask(f"RCPT TO:<{RECIPIENT}>")).startswith("250 ")
        assert (await client.ask("DATA")).startswith("354 ")
        assert (await client.content(LETTER)).startswith("250 ")
    assert transactions(upstream) == [("MAIL FROM:<a@sender.test>", f"RCPT TO:<{RECIPIENT}>")]


@pytest.mark.parametrize("server", ["ringback", "reading"])
@pytest.mark.parametrize("end", ["abort", "half_close"])
async def test_a_client_gone_in_the_middle_leaves_nothing_of_an_edited_message(
    stage: Stage, request: pytest.FixtureRequest, server: str, end: str
) -> None:
    running = request.getfixturevalue(server)
    upstream = await stage.upstream(running)
    async with await running.conversation() as client:
        await client.envelope("adds@sender.test", [RECIPIENT])
        await client.send_raw(FIELDS + b"\r\n" + FIVE_MIB[: 2 << 20])
        getattr(client, end)()
        await client.rest()
    await eventually(
        lambda: [each for each in running.log if each["event"] == "session" and each["ended"] == "client gone"],
        "the session has ended",
    )
    assert (await sent(running, "next@sender.test", LETTER)).startswith("250 ")
    assert [each.sender for each in upstream.messages] == ["MAIL FROM:<next@sender.test>"]
    half: list[Dialogue] = [each for each in upstream.dialogues if each.sender == "MAIL FROM:<adds@sender.test>"]
    for each in half:
        await upstream.until(lambda each=each: each.ended or not each.in_transaction, "the half message is dropped")


# ---------------------------------------------------------------- each_rcpt


async def test_each_recipient_judged_by_content_has_its_own_transaction_and_its_own_edit(
    stage: Stage, tmp_path: Path
) -> None:
    upstream = await stage.upstream()
    ringback = await opened(
        stage, tmp_path, upstream_port=upstream.port,
        scripts={
            "each_rcpt_phase1": dispatched(
                {
                    "one": 'ec_header_add "X-For" "one";',
                    "two": 'if exists "subject" { redirect "elsewhere@other.test"; }',
                    "three": 'ec_header_delete "Subject"; discard;',
                    "four": 'ec_header_add "X-For" "four"; ec_rewrite_mailfrom "new@sender.test";',
                },
                by="to",
            )
        },
    )  # fmt: skip
    message = b"Subject: s\r\n\r\nbody\r\n"
    waiting = ["one@example.com", "two@example.com", "three@example.com", "four@example.com"]
    replies = []
    async with await greeted(ringback) as client:
        while waiting:
            replies.append(await transaction(client, waiting, message))
    assert replies == [250, 250, 250, 250]
    assert transactions(upstream) == [
        ("MAIL FROM:<a@sender.test>", "RCPT TO:<one@example.com>"),
        ("MAIL FROM:<a@sender.test>", "RCPT TO:<elsewhere@other.test>"),
        ("MAIL FROM:<new@sender.test>", "RCPT TO:<four@example.com>"),
    ]
    assert [below_received(each.content) for each in upstream.messages] == [
        b"X-For: one\r\nSubject: s\r\n\r\nbody\r\n",
        message,
        b"X-For: four\r\nSubject: s\r\n\r\nbody\r\n",
    ]


async def transaction(client: Conversation, waiting: list[str], message: bytes) -> int:
    """Send to all that wait; take those that were accepted out of the list; the others must hear 452 4.5.3."""
    assert (await client.ask("MAIL FROM:<a@sender.test>")).startswith("250 ")
    taken = []
    for each in waiting:
        reply = await client.ask(f"RCPT TO:<{each}>")
        if reply.startswith("250 "):
            taken.append(each)
        else:
            assert reply == "452 4.5.3 Too many recipients"
    assert len(taken) == 1
    waiting.remove(taken[0])
    assert (await client.ask("DATA")).startswith("354 ")
    return int((await client.content(message))[:3])


async def test_each_recipient_judged_without_content_shares_the_transaction(stage: Stage, tmp_path: Path) -> None:
    upstream = await stage.upstream()
    script = dispatched(
        {"two": 'redirect "elsewhere@other.test";', "three": "discard;", "four": 'ec_action 550 "5.7.1 not you";'},
        by="to",
    )
    ringback = await opened(stage, tmp_path, upstream_port=upstream.port, scripts={"each_rcpt_phase1": script})
    async with await greeted(ringback) as client:
        replies = await client.pipeline(
            "MAIL FROM:<a@sender.test>", *(f"RCPT TO:<{name}@example.com>" for name in ("one", "two", "three", "four"))
        )
        assert [each[:4] for each in replies] == ["250 ", "250 ", "250 ", "250 ", "550 "]
        assert (await client.ask("DATA")).startswith("354 ")
        assert (await client.content(LETTER)).startswith("250 ")
    assert transactions(upstream) == [
        ("MAIL FROM:<a@sender.test>", "RCPT TO:<one@example.com>", "RCPT TO:<elsewhere@other.test>")
    ]


# ---------------------------------------------------------------- the route


GATEWAYS = (
    'if envelope :localpart :is "to" "second" {{ ec_set_routing_gateway "127.0.0.1:{0}"; }}\n'
    'if envelope :localpart :is "to" "dead" {{ ec_set_routing_gateway "127.0.0.1:{1}"; }}\n'
)


async def test_a_gateway_set_for_a_recipient_takes_its_mail(stage: Stage, tmp_path: Path) -> None:
    first, second = await stage.upstream(), await stage.upstream()
    script = GATEWAYS.format(second.port, stage.nobody_listens())
    ringback = await opened(stage, tmp_path, upstream_port=first.port, scripts={"each_rcpt_phase1": script})
    assert (await sent(ringback, "a@sender.test", LETTER, "second@example.com")).startswith("250 ")
    assert (await sent(ringback, "a@sender.test", LETTER, "first@example.com")).startswith("250 ")
    assert (len(first.messages), len(second.messages)) == (1, 1)
    async with await greeted(ringback) as client:
        await client.ask("MAIL FROM:<a@sender.test>")
        reply = await client.ask("RCPT TO:<dead@example.com>")
        assert reply == "451 4.4.1 Next-hop server is unreachable, try again later"
        assert (await client.ask("RCPT TO:<first@example.com>")).startswith("250 ")


@pytest.mark.parametrize("order", [("first", "second"), ("second", "first")])
async def test_a_gateway_set_for_one_recipient_leaves_the_mail_of_another_where_it_belongs(
    stage: Stage, tmp_path: Path, order: tuple[str, str]
) -> None:
    upstreams = {"first": await stage.upstream(), "second": await stage.upstream()}
    script = GATEWAYS.format(upstreams["second"].port, 1)
    ringback = await opened(
        stage, tmp_path, upstream_port=upstreams["first"].port, scripts={"each_rcpt_phase1": script}
    )
    taken, sent_later = (f"{name}@example.com" for name in order)
    async with await greeted(ringback) as client:
        await client.ask("MAIL FROM:<a@sender.test>")
        assert (await client.ask(f"RCPT TO:<{taken}>")).startswith("250 ")
        assert (await client.ask(f"RCPT TO:<{sent_later}>")).startswith("452 4.5.3 ")
        assert (await client.ask("DATA")).startswith("354 ")
        assert (await client.content(LETTER)).startswith("250 ")
        assert (await client.deliver("a@sender.test", [sent_later], LETTER)).startswith("250 ")
    for name, upstream in upstreams.items():
        assert transactions(upstream) == [("MAIL FROM:<a@sender.test>", f"RCPT TO:<{name}@example.com>")], name


async def test_a_gateway_is_named_with_an_ipv6_address_and_a_port(stage: Stage, tmp_path: Path) -> None:
    first, second = await stage.upstream(), await stage.upstream(address="::1")
    script = f'ec_set_routing_gateway "[::1]:{second.port}";\n'
    ringback = await opened(stage, tmp_path, upstream_port=first.port, scripts={"each_rcpt_phase1": script})
    assert (await sent(ringback, "a@sender.test", LETTER)).startswith("250 ")
    assert (len(first.messages), len(second.messages)) == (0, 1)


# ---------------------------------------------------------------- EHLO


async def test_capabilities_are_added_to_and_taken_out_of_the_reply_to_ehlo(stage: Stage, tmp_path: Path) -> None:
    upstream = await stage.upstream()
    script = (
        'advertize_esmtp_capability "XPOLICY one two";\n'
        'disable_esmtp_capability "pipelining";\n'
        'disable_esmtp_capability "SIZE";\n'
    )
    ringback = await opened(stage, tmp_path, upstream_port=upstream.port, scripts={"ehlo_phase1": script})
    async with await ringback.conversation() as client:
        expected = [
            "250-ringback.test", "250-ENHANCEDSTATUSCODES", "250-CHUNKING", "250-PRDR", "250-8BITMIME", "250-SMTPUTF8",
            "250-LIMITS RCPTMAX=1000", "250 XPOLICY one two",
        ]  # fmt: skip
        assert (await client.ehlo()).split("\n") == expected
        assert (await client.ehlo()).split("\n") == expected, "greeting again changes nothing"
        assert (await client.ask("HELO client.test")) == "250 ringback.test"


async def test_a_capability_taken_out_for_one_client_is_there_for_the_next(stage: Stage, tmp_path: Path) -> None:
    upstream = await stage.upstream()
    script = 'if ec_test :is "%{vctx_conn:ehlo_domain}" "odd.test" { disable_esmtp_capability "8BITMIME"; }\n'
    ringback = await opened(stage, tmp_path, upstream_port=upstream.port, scripts={"ehlo_phase1": script})
    async with await ringback.conversation() as odd, await ringback.conversation() as even:
        assert "8BITMIME" not in await odd.ehlo("odd.test")
        assert "8BITMIME" in await even.ehlo("even.test")


# ---------------------------------------------------------------- a real MTA


@pytest.mark.real("postfix")
async def test_postfix_delivers_what_the_script_made_of_the_message_to_whom_it_said(
    stage: Stage, tmp_path: Path, postfix: Postfix
) -> None:
    script = (
        'ec_header_delete "X-Secret";\nec_header_prefix "Subject" "[checked] ";\nec_header_add "X-Policy" "seen";\n'
        'ec_rewrite_mailfrom "rewritten@sender.test";\nadd_recipient "copy@example.com";\n'
    )
    ringback = await opened(stage, tmp_path, upstream_port=postfix.port, scripts={"data_phase1": script})
    message = b"Subject: effects\r\nX-Secret: 1\r\nDKIM-Signature: v=1;\r\n\tb=x \r\n\r\n.dot\r\n..\r\n\xff\r\n"
    reply = await sent(ringback, "a@sender.test", message)
    assert re.fullmatch(r"250 2\.0\.0 Ok: queued as [0-9A-F]+", reply), reply
    texts = await eventually(
        lambda: len(found := postfix.delivered(b"[checked] effects")) >= 2 and found, "Postfix delivers to both"
    )
    assert texts
    expected = (
        b"X-Policy: seen\r\nSubject: [checked] effects\r\nDKIM-Signature: v=1;\r\n\tb=x \r\n\r\n.dot\r\n..\r\n\xff\r\n"
    )
    assert sorted(re.search(rb"Delivered-To: (\S+)", text)[1] for text in texts) == [  # type: ignore[index]
        b"b@example.com",
        b"copy@example.com",
    ]
    assert all(text.endswith(b"\r\n" + expected) for text in texts)
    assert all(b"Return-Path: <rewritten@sender.test>\r\n" in text for text in texts)


@pytest.mark.real("postfix")
async def test_a_redirect_that_postfix_refuses_is_refused_in_its_words_at_the_dot(
    stage: Stage, tmp_path: Path, postfix: Postfix
) -> None:
    script = f'redirect "{REFUSED_RECIPIENT}";\n'
    ringback = await opened(stage, tmp_path, upstream_port=postfix.port, scripts={"data_phase1": script})
    message = b"Subject: refused-redirect\r\n\r\nbody\r\n"
    assert await sent(ringback, "a@sender.test", message) == REFUSED_REPLY
    assert not postfix.queued(b"refused-redirect")
    assert postfix.delivered(b"refused-redirect") == []
