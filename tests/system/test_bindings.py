"""A script chooses a binding: which next hop takes the message, from which address, by which name, and with TLS."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
import trustme

from tests.support.exchanger import Exchanger
from tests.support.house import greeted, opened
from tests.support.ringback import Ringback
from tests.support.servers import Postfix
from tests.support.waiting import eventually
from tests.support.world import Stage

pytestmark = [pytest.mark.real("dnsmasq"), pytest.mark.real("postfix")]

BY_SENDER = """\
$from = envelope :localpart "from";
if ec_test :is $from "bulk" { ec_set_binding "bulk"; }
if ec_test :is $from "group" { ec_set_binding_group "mailers"; }
if ec_test :is $from "typo" { ec_set_binding "blk"; }
"""
AUTHORITY = trustme.CA()


@pytest.fixture(scope="module")
def bulk(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Postfix]:
    """A Postfix that wants TLS."""
    folder = tmp_path_factory.mktemp("tls")
    issued = AUTHORITY.issue_cert("127.0.0.1")
    key, chain = folder / "key.pem", folder / "chain.pem"
    issued.private_key_pem.write_to_path(key)
    for blob in issued.cert_chain_pems:
        blob.write_to_path(chain, append=True)
    options = {
        "smtpd_tls_cert_file": str(chain),
        "smtpd_tls_key_file": str(key),
        "smtpd_tls_security_level": "encrypt",
        "smtpd_tls_received_header": "yes",
    }
    with Postfix(options=options) as server:
        yield server


async def sent(ringback: Ringback, sender: str, mark: str) -> str:
    """Send a message; return the last reply."""
    async with await greeted(ringback) as client:
        for command in (f"MAIL FROM:<{sender}@sender.test>", "RCPT TO:<b@example.com>", "DATA"):
            reply = await client.ask(command)
            if reply[:1] not in "23":
                return reply
        return await client.content(f"Subject: {mark}\r\n\r\nbody\r\n".encode())


def failures(ringback: Ringback) -> list[str]:
    return [each["reason"] for each in ringback.log if each["event"] == "script_failed"]


async def started(stage: Stage, folder: Path, bulk: Postfix, phase: str) -> tuple[Ringback, Exchanger]:
    usual = await stage.upstream()
    stanza = f"""\
Binding_Group "mailers" {{
  Binding "bulk" {{
    Gateway = "127.0.0.1"
    Remote_SMTP_Port = {bulk.port}
    Bind_Address = "127.0.0.66"
    EHLO_Hostname = "bulk.test"
    TLS = required
  }}
}}"""
    ringback = await opened(
        stage, folder, "Workers = 1", stanza, upstream_port=usual.port, scripts={f"{phase}_phase1": BY_SENDER}
    )
    return ringback, usual


@pytest.mark.parametrize("phase", ["mailfrom", "set_binding"])
async def test_a_binding_chooses_next_hop_address_name_and_tls(
    stage: Stage, tmp_path: Path, bulk: Postfix, phase: str
) -> None:
    ringback, usual = await started(stage, tmp_path, bulk, phase)
    assert (await sent(ringback, "a", "usual")).startswith("250 ")
    assert (await sent(ringback, "bulk", f"by bulk {phase}")).startswith("250 ")
    assert (await sent(ringback, "group", f"by group {phase}")).startswith("250 ")
    assert (await sent(ringback, "typo", "unknown")).startswith("250 ")
    assert (await sent(ringback, "a", "usual again")).startswith("250 ")
    subjects = [each.content.split(b"Subject: ")[1].split(b"\r\n")[0] for each in usual.messages]
    assert subjects == [b"usual", b"unknown", b"usual again"]
    for mark in (f"Subject: by bulk {phase}", f"Subject: by group {phase}"):
        await eventually(lambda mark=mark: bulk.delivered(mark.encode()), "Postfix has it")  # type: ignore[misc]
        (message,) = bulk.delivered(mark.encode())
        received = message.split(b"Received: ")[1]
        assert b"from bulk.test (" in received
        assert b"[127.0.0.66]" in received
        assert b"TLSv1" in received
    assert all(each.peer[0] == "127.0.0.1" for each in usual.dialogues)
    await eventually(lambda: failures(ringback), "the unknown name is logged")
    assert failures(ringback) == ["there is no binding 'blk', so the binding is unchanged"]


async def test_the_next_hop_of_the_binding_answers_rcpt(stage: Stage, tmp_path: Path, bulk: Postfix) -> None:
    ringback, usual = await started(stage, tmp_path, bulk, "mailfrom")
    async with await greeted(ringback) as client:
        assert (await client.ask("MAIL FROM:<bulk@sender.test>")).startswith("250 ")
        assert "Access denied" in await client.ask("RCPT TO:<b@other.test>")
    assert usual.messages == []


async def test_an_address_that_is_not_ours_is_a_warning_and_defers_mail(stage: Stage, tmp_path: Path) -> None:
    usual = await stage.upstream()
    ringback = await opened(stage, tmp_path, 'Bind_Address = "192.0.2.77"', upstream_port=usual.port)
    assert (await sent(ringback, "a", "x")).startswith("451 4.4.1 ")
    warnings = [each["message"] for each in ringback.log if each["event"] == "configuration_warning"]
    assert any("cannot connect from 192.0.2.77" in each for each in warnings)
