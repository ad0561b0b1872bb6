"""`ringback check-mail`: every finding about a message, from a name server of the test."""

from __future__ import annotations

import asyncio
import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from proxy.cli import application, exits
from tests.support.nameserver import ScriptedNameserver

ZONE = (
    "1.2.0.192.in-addr.arpa PTR mx.forger.test.",
    "mx.forger.test A 192.0.2.9",
    'bank.test TXT "v=spf1 -all"',
    '_dmarc.bank.test TXT "v=DMARC1; p=reject"',
    "2.0.0.127.bl.test A 127.0.0.2",
    "1.2.0.192.bl.test A 127.0.0.4",
    "test.uri.test A 127.0.0.2",
    "evil.test.uri.test A 127.0.0.2",
)
MESSAGE = b"From: Bank <service@bank.test>\nSubject: hurry\n\nhttp://www.evil.test/login\n"


@contextmanager
def name_server(lines: tuple[str, ...]) -> Iterator[str]:
    """Serve in a thread of its own, since the command has a loop of its own."""
    started, ended = threading.Event(), asyncio.Event()
    address: list[str] = []
    loop = asyncio.new_event_loop()

    async def serve() -> None:
        async with ScriptedNameserver(lines) as server:
            address.append(server.address)
            started.set()
            await ended.wait()

    thread = threading.Thread(target=lambda: loop.run_until_complete(serve()))
    thread.start()
    assert started.wait(10)
    yield address[0]
    loop.call_soon_threadsafe(ended.set)
    thread.join()
    loop.close()


@pytest.fixture(scope="module")
def server() -> Iterator[str]:
    with name_server(ZONE) as address:
        yield address


def run(folder: Path, server: str, modules: str, *words: str, content: bytes = MESSAGE) -> tuple[int, Any]:
    (folder / "m.eml").write_bytes(content)
    (folder / "r.conf").write_text(
        f'ESMTP_Listener = ( 127.0.0.1:0 )\nHostname = "mx.test"\nGateway = "127.0.0.1"\nNameservers = ( "{server}" )\n'
        + modules
    )
    line = ["check-mail", str(folder / "m.eml"), "--client-ip", "192.0.2.1", "--from", "a@bank.test"]
    result = CliRunner().invoke(application, [*line, "-c", str(folder / "r.conf"), *words])
    assert result.exception is None or isinstance(result.exception, SystemExit), result.exception
    return result.exit_code, json.loads(result.stdout) if "--json" in words else result.stdout


def test_what_is_not_configured_is_checked_by_default_and_refuses_nothing(tmp_path: Path, server: str) -> None:
    status, found = run(tmp_path, server, "", "--json")
    assert status == 0
    results = {each["method"]: each["result"] for each in found["findings"]}
    assert results | {"iprev": "fail", "spf": "fail", "dmarc": "fail"} == results
    assert found["variables"]["dmarc_domain_policy"] == "reject"
    assert found["verdicts"] == []
    assert found["fields"][0].startswith("Authentication-Results: mx.test")


def test_what_the_configuration_refuses_is_told_with_the_module_and_the_phase(tmp_path: Path, server: str) -> None:
    modules = """
    spf_v1 "spf" { }
    dnsbl { zones = [ bl.test = [ reason = "%s is bad" ] uri.test = [ checks = ( url ) ] ] }
    dmarc { action = enforce }
    """
    status, found = run(tmp_path, server, modules, "--json")
    assert status == exits.SCRIPT
    assert [(each["module"], each["phase"], each["reply"]) for each in found["verdicts"]] == [
        ("dnsbl", "rcptto", "554 5.7.1 192.0.2.1 is bad"),
        ("dnsbl", "data", "554 5.7.1 192.0.2.1 is bad"),
        ("dmarc", "data", "550 5.7.1 Refused by the DMARC policy of bank.test"),
    ]
    assert found["variables"]["dnsbl_zones"] == "bl.test uri.test"


def test_a_module_in_shadow_mode_says_what_it_would_have_done(tmp_path: Path, server: str) -> None:
    status, text = run(tmp_path, server, "dnsbl { zones = ( bl.test ) shadow = true }")
    assert status == 0
    assert "dnsbl would refuse (shadow) at rcptto: 554 5.7.1 192.0.2.1 is listed by bl.test" in text


def test_mail_to_postmaster_passes_the_blocklists(tmp_path: Path, server: str) -> None:
    status, _ = run(tmp_path, server, "dnsbl { zones = ( bl.test ) }", "--rcpt", "postmaster@example.com")
    assert status == 0


def test_a_client_that_may_relay_is_not_checked(tmp_path: Path, server: str) -> None:
    status, text = run(tmp_path, server, "Relay_Hosts = ( 192.0.2.0/24 )\n")
    assert status == 0
    assert "nothing is checked" in text


@pytest.mark.parametrize(
    ("words", "status"),
    [
        (["--client-ip", "nonsense"], exits.USAGE),
        (["--client-ip", "192.0.2.1", "--from", "no address"], exits.USAGE),
        (["--client-ip", "192.0.2.1"], exits.NO_INPUT),
    ],
)
def test_what_cannot_be_checked_ends_with_its_status(tmp_path: Path, words: list[str], status: int) -> None:
    result = CliRunner().invoke(application, ["check-mail", str(tmp_path / "missing.eml"), *words])
    assert result.exit_code == status


HEAD = b"From: Bank <service@bank.test>\nSubject: hurry\n"
FILES = {
    "LF": MESSAGE,
    "CRLF": MESSAGE.replace(b"\n", b"\r\n"),
    "mbox": b"From a@bank.test Mon Nov 30 10:00:00 2026\n" + MESSAGE,
    "without a body": HEAD,
    "of 30 MB": MESSAGE + b"0123456789abcdef\n" * (30_000_000 // 17),
    "of any octets": HEAD + b"\n" + bytes(range(256)) * 1000,
}


@pytest.mark.parametrize("content", FILES.values(), ids=FILES)
@pytest.mark.parametrize("stdin", [False, True])
def test_a_message_is_read_as_it_comes(tmp_path: Path, server: str, content: bytes, *, stdin: bool) -> None:
    (tmp_path / "m.eml").write_bytes(content)
    (tmp_path / "r.conf").write_text(
        f'ESMTP_Listener = ( 127.0.0.1:0 )\nHostname = "mx.test"\nGateway = "127.0.0.1"\nNameservers = ( "{server}" )\n'
    )
    where = "-" if stdin else str(tmp_path / "m.eml")
    line = ["check-mail", where, "--client-ip", "192.0.2.1", "--json", "-c", str(tmp_path / "r.conf")]
    result = CliRunner().invoke(application, line, input=content if stdin else None)
    assert result.exit_code == 0, result.output
    assert json.loads(result.stdout)["variables"]["dmarc_domain"] == "bank.test"


def test_an_empty_message_has_no_author(tmp_path: Path, server: str) -> None:
    status, text = run(tmp_path, server, "", content=b"")
    assert status == 0
    assert "no From field" in text
