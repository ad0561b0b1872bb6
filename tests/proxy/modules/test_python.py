"""python: a handler for aiosmtpd judges senders, recipients and messages, and never keeps mail from the next hop."""

from __future__ import annotations

import mailbox
from pathlib import Path

import pytest
from structlog.testing import capture_logs

from proxy.metrics.book import BOOK
from proxy.metrics.table import REFUSALS
from tests.support.exchanger import Exchanger, Step, says
from tests.support.handlers import handler, loading, with_handler
from tests.support.worker import ACCEPTED, BOB, CAROL, LETTER, RECIPIENT_OK, SENDER_OK, client_of, transaction

INTERNAL = "451 4.3.0 Temporary failure, try again later"


async def replies_to(folder: Path, methods: str, *recipients: str, before: str = "") -> tuple[list[str], list[str]]:
    """Return the replies to a transaction, and the reasons of the handler's failures in the log."""
    async with Exchanger() as upstream:
        with capture_logs() as log:
            async with client_of(with_handler(folder, upstream.port, methods, before=before)) as client:
                replies = await transaction(client, *recipients)
    return replies, [each["reason"] for each in log if each["event"] in {"handler_failed", "validator_failed"}]


# ---------------------------------------------------------------- aiosmtpd's own handlers


@pytest.mark.parametrize("name", ["Sink", "Debugging"])
async def test_mail_is_relayed_behind_aiosmtpds_own_handlers(
    name: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    async with Exchanger() as upstream:
        async with client_of(loading(tmp_path, upstream.port, f"aiosmtpd.handlers:{name}", path=None)) as client:
            assert await transaction(client) == [SENDER_OK, RECIPIENT_OK, ACCEPTED]
        assert [each.content.endswith(LETTER) for each in upstream.messages] == [True]
    assert ("MESSAGE FOLLOWS" in capsys.readouterr().out) is (name == "Debugging")


MESSAGES = """
from aiosmtpd.handlers import {base}
class Base({base}):
    {define} handle_message(self, message):
        seen.append((message["X-MailFrom"], message["X-RcptTo"], message["Subject"], message.get_payload()))
seen = []
"""


@pytest.mark.parametrize(("base", "define"), [("Message", "def"), ("AsyncMessage", "async def")])
async def test_mail_is_relayed_behind_a_handler_of_messages(base: str, define: str, tmp_path: Path) -> None:
    named = handler(tmp_path, "", before=MESSAGES.format(base=base, define=define), base="Base")
    async with Exchanger() as upstream:
        async with client_of(loading(tmp_path, upstream.port, named)) as client:
            assert await transaction(client) == [SENDER_OK, RECIPIENT_OK, ACCEPTED]
        assert [each.content.endswith(LETTER) for each in upstream.messages] == [True]
    module = __import__(named.partition(":")[0])
    assert module.seen == [("alice@sender.test", BOB, "hello", "hello\r\n")]


async def test_mail_is_relayed_behind_a_mailbox_which_gets_a_copy(tmp_path: Path) -> None:
    methods = f"def __init__(self):\n    super().__init__({str(tmp_path / 'maildir')!r})"
    named = handler(tmp_path, methods, before="from aiosmtpd.handlers import Mailbox", base="Mailbox")
    async with Exchanger() as upstream:
        async with client_of(loading(tmp_path, upstream.port, named)) as client:
            assert await transaction(client) == [SENDER_OK, RECIPIENT_OK, ACCEPTED]
        assert len(upstream.messages) == 1
    assert [each["Subject"] for each in mailbox.Maildir(tmp_path / "maildir")] == ["hello"]


# ---------------------------------------------------------------- what a hook returns

ALL = """
async def handle_MAIL(self, server, session, envelope, address, options):
    return {0!r}
async def handle_RCPT(self, server, session, envelope, address, options):
    return {1!r}
async def handle_DATA(self, server, session, envelope):
    return {2!r}
"""


@pytest.mark.parametrize("passes", ["250 OK", "250", "250-a\r\n250 b", b"250 bytes", "2500"], ids=repr)
async def test_a_250_goes_on_and_the_client_hears_the_next_hop(passes: object, tmp_path: Path) -> None:
    replies, failures = await replies_to(tmp_path, ALL.format(passes, passes, passes))
    assert (replies, failures) == ([SENDER_OK, RECIPIENT_OK, ACCEPTED], [])


@pytest.mark.parametrize(
    ("status", "reply"),
    [
        ("550 5.7.1 no", "550 5.7.1 no"),
        (b"450 later", "450 later"),
        ("550-one\r\n550 two", "550-one\n550 two"),
        ("550-one\n550 two\n", "550-one\n550 two"),
        ("554", "554 "),
    ],
    ids=repr,
)
@pytest.mark.parametrize("place", [0, 1, 2], ids=["MAIL", "RCPT", "DATA"])
async def test_anything_else_is_the_reply(place: int, status: object, reply: str, tmp_path: Path) -> None:
    statuses: list[object] = ["250 OK"] * 3
    statuses[place] = status
    replies, failures = await replies_to(tmp_path, ALL.format(*statuses))
    assert (replies[-1], failures) == (reply, [])
    assert len(replies) == place + 1


@pytest.mark.parametrize(
    "status",
    [
        None, True, 550, ["550 no"], "", "no", "55 no", "650 no", "550no", "550-open", "550-a\r\n551 b",
        "550 a\r\n550 b", "550 a\rb", "550 \x1b[31m", "550 caf\u00e9", "550 " + "x" * 600,
        "\r\n".join(["550-x"] * 200 + ["550 x"]),
        "354 go", "220 hello", "251 ok", "235 in", b"\xff",
    ],
    ids=ascii,
)  # fmt: skip
@pytest.mark.parametrize("place", [0, 1, 2], ids=["MAIL", "RCPT", "DATA"])
async def test_what_is_no_reply_is_451_and_a_line_in_the_log(place: int, status: object, tmp_path: Path) -> None:
    statuses: list[object] = ["250 OK"] * 3
    statuses[place] = status
    replies, failures = await replies_to(tmp_path, ALL.format(*statuses))
    assert (replies[-1], len(replies), len(failures)) == (INTERNAL, place + 1, 1)


async def test_a_421_closes_the_session(tmp_path: Path) -> None:
    async with Exchanger() as upstream:
        made = with_handler(tmp_path, upstream.port, ALL.format("421 4.7.0 bye", "250 OK", "250 OK"))
        async with client_of(made) as client:
            assert await client.ask("MAIL FROM:<a@sender.test>") == "421 4.7.0 bye"
            assert await client.rest() == b""


async def test_a_hook_decides_about_each_recipient(tmp_path: Path) -> None:
    methods = """
    async def handle_RCPT(self, server, session, envelope, address, options):
        return "250 OK" if address.startswith("bob@") else f"550 no {address}"
    """
    replies, failures = await replies_to(tmp_path, methods, BOB, CAROL)
    assert (replies, failures) == ([SENDER_OK, RECIPIENT_OK, f"550 no {CAROL}", ACCEPTED], [])


async def test_the_next_hops_rejection_is_heard_although_the_hook_returns_250(tmp_path: Path) -> None:
    async with Exchanger() as upstream:
        upstream.script[Step.RCPT] = says("550 5.1.1 unknown here")
        async with client_of(with_handler(tmp_path, upstream.port, ALL.format(*["250 OK"] * 3))) as client:
            assert (await transaction(client))[-1].startswith("550 5.1.1 unknown here")


# ---------------------------------------------------------------- what a hook sees

SEES = """
async def handle_MAIL(self, server, session, envelope, address, options):
    seen.append((address, options, envelope.mail_from, session.host_name, session.extended_smtp, session.peer[0]))
    envelope.note = "kept"
    return "250 OK"
async def handle_RCPT(self, server, session, envelope, address, options):
    seen.append((address, options, envelope.mail_from, envelope.mail_options, envelope.rcpt_tos, envelope.note))
    envelope.mail_from, envelope.rcpt_tos = "forged@elsewhere.test", ["forged@elsewhere.test"]
    return "250 OK"
async def handle_DATA(self, server, session, envelope):
    seen.append((envelope.mail_from, envelope.rcpt_tos, envelope.content, envelope.original_content, envelope.note))
    seen.append((server.hostname, server.session is session, server.envelope is envelope, server.loop is session.loop))
    envelope.content = b"changed"
    return "250 OK"
"""


async def test_a_hook_sees_our_records_and_changes_none(tmp_path: Path) -> None:
    named = handler(tmp_path, SEES, before="seen = []")
    async with Exchanger() as upstream:
        async with client_of(loading(tmp_path, upstream.port, named)) as client:
            assert await transaction(client, BOB, CAROL) == [SENDER_OK, RECIPIENT_OK, RECIPIENT_OK, ACCEPTED]
            assert (await transaction(client, sender=""))[-1].startswith("250")
        first, _ = upstream.messages
        assert first.content.endswith(LETTER)
    seen = __import__(named.partition(":")[0]).seen
    assert seen[:5] == [
        ("alice@sender.test", [], None, "client.test", True, "127.0.0.1"),
        (BOB, [], "alice@sender.test", [], [], "kept"),
        (CAROL, [], "alice@sender.test", [], [BOB], "kept"),
        ("alice@sender.test", [BOB, CAROL], LETTER, LETTER, "kept"),
        ("ringback.test", True, True, True),
    ]
    assert seen[5][0] == "<>"


async def test_a_hook_sees_parameters_as_aiosmtpd_gives_them(tmp_path: Path) -> None:
    methods = """
    async def handle_MAIL(self, server, session, envelope, address, options):
        return "550 " + " ".join(options)
    """
    async with Exchanger() as upstream, client_of(with_handler(tmp_path, upstream.port, methods)) as client:
        assert await client.ask("MAIL FROM:<a@sender.test> size=100 BODY=8bitmime") == "550 SIZE=100 BODY=8BITMIME"


# ---------------------------------------------------------------- coroutines, threads, failures


async def test_a_plain_function_runs_in_a_thread(tmp_path: Path) -> None:
    methods = """
    def handle_MAIL(self, server, session, envelope, address, options):
        return "550 " + threading.current_thread().name
    """
    replies, _ = await replies_to(tmp_path, methods, before="import threading")
    assert replies == ["550 python-site_0"]


async def test_a_hook_that_takes_too_long_is_451(tmp_path: Path) -> None:
    methods = """
    async def handle_MAIL(self, server, session, envelope, address, options):
        await asyncio.Event().wait()
    """
    made = with_handler(tmp_path, 1, methods, "timeout = 0.05", before="import asyncio")
    with capture_logs() as log:
        async with client_of(made) as client:
            assert await client.ask("MAIL FROM:<a@sender.test>") == INTERNAL
    assert [each["reason"] for each in log if each["event"] == "validator_failed"] == ["deadline passed"]


async def test_threads_are_bounded_and_a_hook_that_waits_for_one_is_under_the_deadline(tmp_path: Path) -> None:
    before = "import threading\nheld = threading.Event()\nrunning = []"
    methods = """
    def handle_MAIL(self, server, session, envelope, address, options):
        running.append(address)
        held.wait()
        return "250 OK"
    """
    named = handler(tmp_path, methods, before=before)
    made = loading(tmp_path, 1, named, "timeout = 0.05", "threads = 1")
    async with client_of(made) as client:
        try:
            for _ in range(3):
                assert await client.ask("MAIL FROM:<a@sender.test>") == INTERNAL
        finally:
            module = __import__(named.partition(":")[0])
            module.held.set()
    assert module.running == ["a@sender.test"]


FAILS = """
async def handle_MAIL(self, server, session, envelope, address, options):
    raise RuntimeError("why")
"""


async def test_an_exception_is_451_and_a_line_in_the_log(tmp_path: Path) -> None:
    replies, failures = await replies_to(tmp_path, FAILS)
    assert (replies, failures) == ([INTERNAL], ["RuntimeError"])


@pytest.mark.parametrize(
    ("code", "reply"),
    [
        ("return f'550 {error}'", "550 why"),
        ("return '250 fine'", INTERNAL),
        ("return 'nonsense'", INTERNAL),
        ("raise error", INTERNAL),
    ],
)
@pytest.mark.parametrize("define", ["def", "async def"])
async def test_handle_exception_words_the_reply_but_never_accepts(
    define: str, code: str, reply: str, tmp_path: Path
) -> None:
    replies, failures = await replies_to(tmp_path, f"{FAILS}\n{define} handle_exception(self, error):\n    {code}")
    assert replies == [reply]
    assert failures[0] == "RuntimeError"


# ---------------------------------------------------------------- push


@pytest.mark.parametrize(
    ("code", "reply"),
    [
        ("await server.push('550-one'); return '550 two'", "550-one\n550 two"),
        ("await server.push(b'550 all'); return '250 OK'", "550 all"),
        ("await server.push('550 all')", "550 all"),
        ("await server.push('250-more'); return '250 OK'", SENDER_OK),
        ("await server.push('250 accepted'); return '250 OK'", SENDER_OK),
        ("await server.push('250 accepted'); return '550 no'", INTERNAL),
        ("await server.push('250-more'); return '550 no'", INTERNAL),
        ("await server.push('250 accepted')", SENDER_OK),
        ("await server.push('550 a'); return '550 b'", INTERNAL),
        ("await server.push('nonsense'); return '250 OK'", INTERNAL),
        ("await server.push('550 a\\r\\n250 b'); return '250 OK'", "550 a"),
        ("await server.push('334 dGVsbA=='); return '250 OK'", INTERNAL),
        ("await server.challenge_auth('tell'); return '250 OK'", INTERNAL),
    ],
)
async def test_each_command_gets_one_reply_whatever_a_hook_pushes(code: str, reply: str, tmp_path: Path) -> None:
    methods = f"async def handle_MAIL(self, server, session, envelope, address, options):\n    {code}"
    async with Exchanger() as upstream, client_of(with_handler(tmp_path, upstream.port, methods)) as client:
        assert await client.ask("MAIL FROM:<a@sender.test>") == reply
        assert await client.ask("NOOP") == "250 2.0.0 OK"


async def test_push_fails_if_no_command_waits(tmp_path: Path) -> None:
    methods = """
    async def handle_MAIL(self, server, session, envelope, address, options):
        servers.append(server)
        return "250 OK"
    """
    named = handler(tmp_path, methods, before="servers = []")
    async with client_of(loading(tmp_path, 1, named)) as client:
        assert await client.ask("MAIL FROM:<a@sender.test>") == SENDER_OK
        (server,) = __import__(named.partition(":")[0]).servers
        with pytest.raises(ConnectionResetError):
            await server.push("250 late")


async def test_a_refusal_of_a_stanza_with_a_name_of_its_own_is_counted_under_its_type(tmp_path: Path) -> None:
    methods = """
    async def handle_MAIL(self, server, session, envelope, address, options):
        return "550 5.7.1 no"
    """
    async with client_of(loading(tmp_path, 1, handler(tmp_path, methods))) as client:
        before = BOOK.counts[REFUSALS.at("mailfrom", "python", "5xx")]
        assert await client.ask("MAIL FROM:<a@sender.test>") == "550 5.7.1 no"
        assert BOOK.counts[REFUSALS.at("mailfrom", "python", "5xx")] == before + 1


# ---------------------------------------------------------------- the page


async def test_the_handler_of_the_page_does_what_the_page_says(tmp_path: Path) -> None:
    page = (Path(__file__).parents[3] / "docs" / "python.md").read_text()
    place = tmp_path / "python"
    place.mkdir(mode=0o755)
    (place / "office.py").write_text(page.split("```python\n")[1].partition("```")[0])
    (place / "office.py").chmod(0o644)
    async with Exchanger() as upstream, client_of(loading(tmp_path, upstream.port, "office:Office")) as client:
        assert await transaction(client) == [SENDER_OK, RECIPIENT_OK, ACCEPTED]
        replies = await transaction(client, BOB, "press@example.com", sender="a@news.example.com")
        assert replies[1:3] == ["550 5.7.1 Newsletters go to the press office", RECIPIENT_OK]
        await client.envelope("a@sender.test", [BOB])
        reply = await client.content(b"Subject: x\r\nX-Confidential: yes\r\n\r\nx\r\n")
        assert reply == "554 5.7.1 Confidential mail does not come from outside"
