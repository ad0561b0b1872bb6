"""mail_loop: mail that goes in circles is refused, or noted for scripts."""

from __future__ import annotations

from pathlib import Path

import pytest

from proxy.app import load
from proxy.base.rejected import ConfigurationRejected
from proxy.mail.session import Session
from proxy.mail.verdict import PASS, Verdict
from proxy.modules.mail_loop.module import MailLoopValidator
from proxy.modules.mail_loop.options import MailLoopOptions
from sieve.phases import Phase
from tests.support.exchanger import Exchanger
from tests.support.worker import ALICE, BOB, Rule, WorkerStage, serving

CORE = """\
ESMTP_Listener = ( 127.0.0.1:0 )
Hostname = "ringback.test"
Relay_Domains = a.test
Gateway = "127.0.0.1"
Remote_SMTP_Port = 1
"""
NAMES = ("mail_loop_header_count", "mail_loop_ip")


def looking(**options: object) -> MailLoopValidator:
    return MailLoopValidator("mail_loop", MailLoopOptions.model_validate(options))


def passed(servers: int) -> bytes:
    """Return a message with this number of Received fields."""
    return b"Received: from a by b\r\n" * servers + b"Subject: s\r\n\r\n"


async def answers(stage: WorkerStage, *messages: bytes) -> list[str]:
    client = await stage.greeted()
    found = [await client.deliver(ALICE, [BOB], each) for each in messages]
    await client.close()
    return found


@pytest.mark.parametrize(
    ("servers", "expected"),
    [(2, "250 2.0.0 Ok: queued as 000001"), (3, "554 5.4.6 Too many Received fields: mail loop")],
)
async def test_a_message_that_passed_too_many_servers_is_refused(servers: int, expected: str) -> None:
    async with Exchanger() as upstream, serving(upstream, looking(max_received_headers=2)) as stage:
        assert await answers(stage, passed(servers)) == [expected]
        assert len(upstream.messages) == (expected[0] == "2")


async def test_with_the_code_250_scripts_learn_the_number_and_decide() -> None:
    seen: list[str | None] = []

    async def note(session: Session) -> Verdict:
        seen.append(session.context.get("mail_loop_header_count"))
        return PASS

    validators = looking(max_received_headers=2, code=250), Rule(Phase.DATA, note)
    async with Exchanger() as upstream, serving(upstream, *validators) as stage:
        heard = await answers(stage, passed(7), passed(1))
    assert [each[:3] for each in heard] == ["250", "250"]
    assert seen == ["7", None]


@pytest.mark.parametrize(
    ("options", "source", "expected"),
    [
        ({"use_ip": True}, "127.0.0.1", "554 5.4.6 This server delivers to itself: mail loop"),
        ({"use_ip": True, "code": 451}, "127.0.0.1", "451 4.4.6 This server delivers to itself: mail loop"),
        ({"use_ip": True, "code": 250}, "127.0.0.1", "250 2.1.0 Sender OK"),
        ({"use_ip": True}, "127.0.0.9", "250 2.1.0 Sender OK"),
        ({}, "127.0.0.1", "250 2.1.0 Sender OK"),
    ],
)
async def test_a_machine_that_delivers_to_itself_is_refused_where_that_is_wanted(
    options: dict[str, object], source: str, expected: str
) -> None:
    seen: list[str | None] = []

    async def note(session: Session) -> Verdict:
        seen.append(session.context.get("mail_loop_ip"))
        return PASS

    async with serving(None, looking(**options), Rule(Phase.EHLO, note)) as stage:
        client = await stage.connection(source)
        await client.reply()
        await client.ehlo()
        assert await client.ask(f"MAIL FROM:<{ALICE}>") == expected
    assert seen == ["match" if "use_ip" in options and source == "127.0.0.1" else None]


@pytest.mark.parametrize(
    "stanza",
    [
        'mail_loop "mail_loop1" {\n  max_received_headers = 20\n  use_ip = true\n  code = 250\n}\n',
        "Validate validate/mail_loop mail_loop {\n  code = 450\n}\n",
    ],
)
def test_momentums_stanzas_load(tmp_path: Path, stanza: str) -> None:
    path = tmp_path / "ecelerity.conf"
    path.write_text(CORE + stanza)
    assembly, diagnostics = load(path)
    assert (diagnostics, [each.type for each in assembly.settings.modules]) == ((), ["mail_loop"])


def test_a_code_that_accepts_and_is_not_250_is_a_diagnostic(tmp_path: Path) -> None:
    path = tmp_path / "ecelerity.conf"
    path.write_text(CORE + 'mail_loop "m" {\n  code = 221\n}\n')
    with pytest.raises(ConfigurationRejected) as rejected:
        load(path)
    told = "write a code from 400 to 599 to reject, or 250 to leave the decision to scripts"
    assert told in rejected.value.diagnostics[0].message
