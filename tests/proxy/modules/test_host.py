"""A script's world over a session: what it reads is what the session knows, what it does is what the relay will say."""

from __future__ import annotations

import asyncio
import tempfile
from pathlib import Path
from typing import Any, cast

import pytest
from structlog.testing import capture_logs

from proxy.app import load
from proxy.callback.verdict import CallbackVerdict, Status
from proxy.dns.resolver import Resolver
from proxy.mail.message import Message
from proxy.mail.session import Path as MailPath
from proxy.mail.session import Recipient, Session
from proxy.modules.services import NoCallbacks, Services
from proxy.modules.sieve_policy.effects import path_of
from proxy.modules.sieve_policy.host import LONGEST_LOG, SessionHost
from proxy.options.core import CoreOptions
from sieve.host import CallbackAnswer, ConnectionEnd, DnsAnswer
from sieve.phases import Phase
from sieve.run.values import ScriptError
from tests.support.answers import settled

LINES = """\
ESMTP_Listener = ( 127.0.0.1:2525 )
Hostname = "ringback.test"
Relay_Domains = ( example.com *.example.org )
Relay_Hosts = ( 192.0.2.0/24 2001:db8::/32 )
Gateway = "192.0.2.10"
Domain "special.test" { Gateway = "192.0.2.11:26" }
Binding "b" { Gateway = "192.0.2.12" }
"""


class Names:
    """Answers of plain values, and what was asked."""

    def __init__(self) -> None:
        self.asked: list[tuple[str, ...]] = []

    async def lookup(self, name: str, record: str, server: str | None = None) -> tuple[str, list[str]]:
        self.asked.append((name, record, str(server)))
        return "SUCCESS", ["192.0.2.1"]

    async def name_of(self, address: str) -> str | None:
        self.asked.append((address,))
        return "host.test" if address == "192.0.2.77" else None


class Callbacks:
    """A service that finds everybody; for a recipient it says so."""

    async def ask(self, _session: Session, address: str, sender: str | None) -> Any:
        return CallbackVerdict(Status.PASS, "accepted", f"{address} by {sender}")

    async def ask_for_recipient(self, session: Session, address: str, sender: str | None) -> Any:
        return await self.ask(session, f"{address} for a recipient", sender)


def path(text: str) -> MailPath:
    local_part, _, domain = text.rpartition("@")
    return MailPath(text.encode(), local_part, domain)


def session(*recipients: str, sender: str = "a@sender.test", address: str = "192.0.2.77") -> Session:
    with tempfile.NamedTemporaryFile("w", suffix=".conf") as file:
        file.write(LINES)
        file.flush()
        loaded = load(Path(file.name))[0]
    made = Session(asyncio.get_running_loop(), (address, 40025), ("192.0.2.2", 25), cast(CoreOptions, loaded.core))
    made.host_name, made.extended_smtp = "client.test", True
    made.transaction.begin(path(sender), {})
    for each in recipients:
        made.transaction.add(Recipient(path(each)))
    made.context["settings"] = cast(str, loaded.settings)
    return made


def host(subject: Session, phase: Phase = Phase.DATA, *, callbacks: Callbacks | None = None) -> SessionHost:
    names = Names()
    settings: Any = subject.context.pop("settings")
    services = Services(subject.options, settings, cast(Resolver, names), cast(Any, callbacks or NoCallbacks()))
    return SessionHost(subject, services, phase)


# ---------------------------------------------------------------- reading


async def test_the_connection_is_both_ends_the_clients_name_and_ours() -> None:
    seen = host(session()).connection
    assert (seen.client, seen.local) == (ConnectionEnd("192.0.2.77", 40025), ConnectionEnd("192.0.2.2", 25))
    assert (seen.ehlo, seen.hostname) == ("client.test", "ringback.test")


async def test_before_ehlo_the_clients_name_is_empty() -> None:
    subject = session()
    subject.host_name, subject.extended_smtp = None, False
    seen = host(subject).connection
    assert seen.ehlo == ""


@pytest.mark.parametrize(("address", "name"), [("192.0.2.77", "host.test"), ("192.0.2.78", "unknown")])
async def test_the_clients_validated_name_is_looked_up_once_a_session(address: str, name: str) -> None:
    subject = session(address=address)
    world = host(subject)
    assert await world.connection.client_name() == name
    assert await world.connection.client_name() == name
    assert cast(Any, world)._services.resolver.asked == [(address,)]


async def test_the_envelope_is_all_recipients_or_the_one_in_question() -> None:
    subject = session("b@example.com", "c@example.com")
    world = host(subject)
    assert (world.sender, list(world.recipients)) == ("a@sender.test", ["b@example.com", "c@example.com"])
    subject.current_recipient = subject.transaction.recipients[1]
    assert list(world.recipients) == ["b@example.com", "c@example.com"]
    for phase in (Phase.RCPTTO, Phase.EACH_RCPT):
        assert list(SessionHost(subject, world._services, phase).recipients) == ["c@example.com"]


async def test_a_recipient_that_was_discarded_is_none_of_the_recipients() -> None:
    subject = session("b@example.com", "c@example.com")
    subject.transaction.recipients[0].relayed = False
    assert list(host(subject).recipients) == ["c@example.com"]


async def test_the_transaction_has_the_id_that_received_carries_and_its_age() -> None:
    subject = session()
    subject.transaction_id = f"{subject.id}.3"
    seen = host(subject).transaction
    assert (seen.id, seen.created) == (f"{subject.id}.3", subject.transaction.created)


async def test_both_contexts_are_the_sessions_own() -> None:
    subject = session()
    world = host(subject)
    world.vctx_conn["x"], world.vctx_mess["y"] = "1", "2"
    assert (subject.context, subject.transaction.context) == ({"x": "1"}, {"y": "2"})


async def test_there_is_a_message_from_the_data_phase_on() -> None:
    subject = session()
    world = host(subject)
    assert (world.message, world.content) == (None, None)
    message = subject.transaction.message = Message(b"A: 1\r\n")
    assert world.message is world.content is world.edits is message


# ---------------------------------------------------------------- the envelope's edits


async def test_a_redirect_takes_the_place_of_all_or_of_the_one_in_question() -> None:
    subject = session("b@example.com", "c@example.com")
    world = host(subject)
    subject.current_recipient = subject.transaction.recipients[1]
    SessionHost(subject, world._services, Phase.RCPTTO).envelope.redirect("x@other.test")
    assert list(world.recipients) == ["b@example.com", "x@other.test"]
    world.envelope.redirect("y@other.test")
    assert list(world.recipients) == ["y@other.test"]
    assert [each.path.text for each in subject.transaction.recipients] == ["b@example.com", "c@example.com"]


async def test_a_copy_stands_behind_the_others_once_and_the_sender_can_be_null() -> None:
    world = host(subject := session("b@example.com"))
    for address in ("copy@other.test", "b@example.com", "copy@other.test"):
        world.envelope.copy(address)
    world.envelope.set_sender("")
    assert list(world.recipients) == ["b@example.com", "copy@other.test"]
    assert (world.sender, subject.transaction.reverse_path.raw) == ("", b"")


@pytest.mark.parametrize(
    ("written", "raw"),
    [
        ("b@example.com", b"b@example.com"),
        ("<b@example.com>", b"b@example.com"),
        (" b@example.com ", b"b@example.com"),
        ('"a b"@example.com', b'"a b"@example.com'),
        ("b@[192.0.2.1]", b"b@[192.0.2.1]"),
        ("@relay.test:b@example.com", b"b@example.com"),
        ("", b""),
    ],
)
def test_an_address_of_a_script_is_read_by_the_clients_grammar(written: str, raw: bytes) -> None:
    assert path_of(written).raw == raw


@pytest.mark.parametrize(
    "written",
    [
        "b", "b@", "@example.com", "b@@example.com", "b@example.com> SIZE=1", "b@example.com\r\nDATA",
        "b@example.com\0", "b c@example.com", "b@exa mple.com", '"b@example.com', "b@-x.test", "b@example.com SIZE=1",
        "b@example.com> SIZE=1 SIZE=2", "b@example.com> =", "\udcff@example.com",
    ],
)  # fmt: skip
def test_what_is_no_address_is_a_script_error_that_quotes_it_and_nothing_else(written: str) -> None:
    with pytest.raises(ScriptError, match=r" is not a mail address$"):
        path_of(written)


# ---------------------------------------------------------------- the session and the server


@pytest.mark.parametrize(
    ("scopes", "name", "value"),
    [
        ((), "Gateway", "192.0.2.10"),
        (("Domain", "special.test"), "Gateway", "192.0.2.11:26"),
        (("domain", "special.test"), "gateway", "192.0.2.11:26"),
        (("domain", "other.test"), "gateway", "192.0.2.10"),
        (("binding", "b", "domain", "special.test"), "gateway", "192.0.2.12"),
        ((), "Relay_Domains", ["example.com", "*.example.org"]),
        ((), "relay_hosts", ["192.0.2.0/24", "2001:db8::/32"]),
        ((), "idle_time", "300"),
        ((), "hostname", "ringback.test"),
        ((), "open_relay", "false"),
        ((), "static_banner", ""),
        ((), "no_such_option", None),
        (("planet", "x"), "gateway", None),
        (("domain",), "gateway", None),
    ],
)
async def test_an_option_is_its_effective_value_as_it_would_be_written(
    scopes: tuple[str, ...], name: str, value: object
) -> None:
    assert host(session()).control.option(scopes, name) == value


async def test_what_is_advertised_and_withdrawn_is_kept_with_the_session() -> None:
    subject = session()
    control = host(subject).control
    control.advertise("XPOLICY 1")
    control.withdraw("size 100")
    control.withdraw("Pipelining")
    assert (list(subject.advertised), subject.withdrawn) == (["XPOLICY 1"], {"SIZE", "PIPELINING"})


async def test_a_route_is_the_recipients_in_question() -> None:
    subject = session("b@example.com", "c@example.com")
    one, two = subject.transaction.recipients
    subject.current_recipient = two
    host(subject, Phase.EACH_RCPT).control.route("192.0.2.99")
    assert (one.gateway, two.gateway) == ("", "192.0.2.99")


async def test_the_machines_addresses_leave_loopback_out_and_memory_is_counted_in_mib() -> None:
    control = host(session()).control
    assert not any(each.startswith("127.") for each in control.interfaces())
    assert 5 < control.memory() < 5000


async def test_a_line_is_appended_to_a_log_file_and_a_file_that_cannot_be_written_is_an_os_error(
    tmp_path: Path,
) -> None:
    control = host(session()).control
    for line in ("one", "zwölf \udcff"):
        await control.write_line(str(tmp_path / "own.log"), line)
    assert (tmp_path / "own.log").read_bytes() == "one\nzwölf \\udcff\n".encode()
    with pytest.raises(OSError, match="No such file or directory"):
        await control.write_line(str(tmp_path / "gone" / "own.log"), "x")


# ---------------------------------------------------------------- asking and telling


@pytest.mark.parametrize(
    ("phase", "text"),
    [
        (Phase.MAILFROM, "x@y.test by me@z.test"),
        (Phase.DATA, "x@y.test by me@z.test"),
        (Phase.RCPTTO, "x@y.test for a recipient by me@z.test"),
        (Phase.EACH_RCPT, "x@y.test for a recipient by me@z.test"),
    ],
)
async def test_a_callback_is_the_services_answer_for_the_phase(phase: Phase, text: str) -> None:
    world = host(session(), phase, callbacks=Callbacks())
    assert await settled(world.callback("x@y.test", "me@z.test")) == CallbackAnswer("pass", text)


async def test_a_callback_is_an_error_where_nobody_asks() -> None:
    assert host(session()).callback("x@y.test", None) == CallbackAnswer("error", "smtp_cbv is not loaded")


async def test_records_are_looked_up_by_type_at_the_server_that_was_named() -> None:
    world = host(session())
    assert await world.resolve("x.test", "mx", "192.0.2.53") == DnsAnswer("SUCCESS", ("192.0.2.1",))
    assert cast(Any, world)._services.resolver.asked == [("x.test", "MX", "192.0.2.53")]


async def test_what_a_script_logs_is_one_printable_line_of_bounded_length() -> None:
    subject = session()
    world = host(subject)
    with capture_logs() as logs:
        world.log("a\r\nb \x1b[31m ü \udcff")
        world.log("x" * 5000)
        world.count("data:s.siv:1", 550)
        world.script_failed("s.siv\n", 7, "bad\nthing")
    assert [each["event"] for each in logs] == ["script", "script", "counter", "script_failed"]
    assert all(each["session"] == subject.id for each in logs)
    assert logs[0]["text"] == "a\\r\\nb \\x1b[31m \\xfc \\udcff"
    assert len(logs[1]["text"]) == LONGEST_LOG
    assert (logs[2]["counter"], logs[2]["code"], logs[2]["phase"]) == ("data:s.siv:1", 550, "data")
    assert (logs[3]["script"], logs[3]["line"], logs[3]["reason"]) == ("s.siv\\n", 7, "bad\\nthing")


async def test_a_hold_ends_with_the_session() -> None:
    holding = asyncio.get_running_loop().create_task(host(session()).tarpit(3600))
    await asyncio.sleep(0)
    holding.cancel()
    with pytest.raises(asyncio.CancelledError):
        await holding
