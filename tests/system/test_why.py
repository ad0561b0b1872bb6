"""`ringback why` for what modules, lists and logins decide, and however a person writes the subject."""

from __future__ import annotations

import asyncio
import base64
import re
from collections.abc import Mapping, Sequence
from pathlib import Path

import pytest

from tests.support.exchanger import Exchanger
from tests.support.house import greeted, opened
from tests.support.nameserver import ScriptedNameserver
from tests.support.ringback import Ringback, ended
from tests.support.waiting import eventually_answered
from tests.support.world import Stage
from tests.system.test_console import Desk, _answers
from tests.system.test_history import mail, state, told, why

pytestmark = pytest.mark.real("dnsmasq")

LISTED, NAMELESS, EARLY, UNWANTED, GREY = (f"127.0.0.{number}" for number in range(41, 46))
ZONE = (
    'spf.test TXT "v=spf1 -all"',
    '_dmarc.dmarc.test TXT "v=DMARC1; p=reject"',
    "41.0.0.127.bl.test A 127.0.0.4",
    *(f"{number}.0.0.127.in-addr.arpa PTR client.test." for number in (1, 41, 43, 44, 45)),
    *(f"client.test A 127.0.0.{number}" for number in (1, 41, 43, 44, 45)),
)
STANZAS = """
conntrol {{ pause_time = 0.5 }}
iprev {{ missing_code = 550 }}
spf_v1 "spf" {{ fail_code = 550 }}
dnsbl {{ zones = [ bl.test = [ test = no ] ] }}
greylist "grey" {{ whitelist_clients = ( "{folder}/known" ) }}
dmarc {{ action = enforce enforce_with = ( ) }}
python "checks" {{
  handler = "mondays:Checks"
  path = "{folder}/python"
}}
"""
HANDLER = """\
class Checks:
    async def handle_RCPT(self, server, session, envelope, address, options):
        return "451 4.7.0 not on a Monday" if address == "handler@example.com" else "250 OK"
"""
SCRIPT = """\
ec_throttle_create "all" "1/3600";
$tls = vctx_conn_get "tls";
if envelope "to" "tls@example.com" {
  if not ec_test :is "${tls}" "yes" { ec_action 530 "5.7.0 Must issue a STARTTLS command first"; }
}
if envelope "to" "throttled@example.com" {
  ec_throttle_inc "all";
  ec_throttle_inc "all";
  if ec_throttle_check "all" { ec_action 450 "4.7.1 too much of this"; }
}
"""
FORGED = b"From: Bank <service@dmarc.test>\r\nSubject: hurry\r\n\r\nhello\r\n"

KINDS: Mapping[str, Sequence[str]] = {
    "listed@example.com": (
        "was refused",
        f"554 5.7.1 {LISTED} is listed by bl.test",
        "Decided by dnsbl, a module.",
    ),
    "nameless@example.com": (
        "was refused",
        "550 5.7.25 Your address has no reverse DNS name",
        "Decided by iprev, a module.",
    ),
    EARLY: (
        "The connection was refused",
        "554 5.5.0",
        "Decided by early_talker: the client talked before the greeting.",
    ),
    UNWANTED: ("was refused", "554 5.7.1 spammer", "Decided by list bad."),
    "grey@example.com": ("was deferred", "451 4.7.1 Greylisted", "Decided by grey, a module."),
    "x@spf.test": (
        '"MAIL FROM:<x@spf.test>" was refused',
        "550 5.7.23 SPF validation failure",
        "Decided by spf, a module.",
    ),
    "forged@example.com": (
        "was refused",
        "550 5.7.1 Refused by the DMARC policy of dmarc.test",
        "Decided by dmarc, a module.",
    ),
    "handler@example.com": (
        "was deferred",
        "451 4.7.0 not on a Monday",
        "Decided by checks, a module.",
    ),
    "throttled@example.com": ("was deferred", "450 4.7.1 too much of this", "The script decided: ", ".siv:9"),
    "tls@example.com": ("was refused", "530 5.7.0 Must issue a STARTTLS", "The script decided: ", ".siv:4"),
    "bob": ("authentication_failed: a client's password was wrong", 'user="bob"'),
    "127.0.0.1": ('"AUTH" was refused', "535 5.7.8", "Decided by authentication: unknown user or wrong password."),
}
"""Whom or what is asked about, and the words of the answer."""


async def server(stage: Stage, folder: Path) -> tuple[Ringback, Exchanger]:
    """Start one with everything that may refuse."""
    upstream = await stage.upstream()
    names = await stage._stack.enter_async_context(ScriptedNameserver(ZONE))
    (folder / "known").write_text("127.0.0.1\n127.0.0.41\n127.0.0.42\n127.0.0.43\n")
    (folder / "python").mkdir(mode=0o755)
    (folder / "python" / "mondays.py").write_text(HANDLER)
    _, users, _ = await asyncio.to_thread(ended, "password", "bob", "--stdin", given=b"right\n")
    (folder / "users").write_text(users)
    (folder / "users").chmod(0o600)
    lines = (
        state(folder),
        "Authentication = file",
        f'Authentication_File = "{folder}/users"',
        "Authentication_Without_TLS = true",
        "Refuse_Lists = ( bad )",
        *STANZAS.format(folder=folder).strip().splitlines(),
    )
    parts = {"scripts": {"rcptto_phase1": SCRIPT}, "nameserver": names.address, "upstream_port": upstream.port}
    return await opened(stage, folder, *lines, **parts), upstream


async def refusals(ringback: Ringback, upstream: Exchanger, folder: Path) -> None:
    """Bring about a refusal of each kind."""
    at = Desk(ringback, upstream, folder / "state")
    await eventually_answered(lambda: _answers(at), "the console answers")
    await at(f"list add bad {UNWANTED} 1h spammer")
    reader, writer = await asyncio.open_connection("127.0.0.1", ringback.port, local_addr=(EARLY, 0))
    writer.write(b"EHLO early.test\r\n")
    await reader.read()
    writer.close()
    async with await ringback.conversation(source=UNWANTED) as client:
        await client.rest()
    for source, recipient in ((LISTED, "listed"), (NAMELESS, "nameless"), (GREY, "grey"), ("127.0.0.1", "handler"),
                              ("127.0.0.1", "throttled"), ("127.0.0.1", "tls")):  # fmt: skip
        await mail(ringback, f"{recipient}@example.com", source=source)
    async with await greeted(ringback) as client:
        await client.ask("MAIL FROM:<x@spf.test>")
        await client.ask("AUTH PLAIN " + base64.b64encode(b"\0bob\0wrong").decode())
        await client.ask("MAIL FROM:<a@nothing.test>")
        await client.ask("RCPT TO:<forged@example.com>")
        await client.ask("DATA")
        await client.content(FORGED)
        await client.quit()


async def test_whatever_module_list_or_login_decides_is_named_also_after_a_restart_and_with_the_server_down(
    stage: Stage, tmp_path: Path
) -> None:
    ringback, upstream = await server(stage, tmp_path)
    await refusals(ringback, upstream, tmp_path)
    for subject, words in KINDS.items():
        await told(ringback, subject, words)
    await asyncio.to_thread(ringback.stop)
    for subject, words in KINDS.items():
        await told(ringback, subject, words)
    await asyncio.to_thread(ringback.start)
    for subject in ("Listed@EXAMPLE.com", "<grey@example.com>", '"handler"@example.com', f"::ffff:{LISTED}"):
        assert "at RCPT TO" in await asyncio.to_thread(why, ringback, subject), subject
    (session,) = re.findall(r"session (\S+),", await asyncio.to_thread(why, ringback, "grey@example.com"))
    for subject in (session, session.upper(), session[:9], f"{session}.1"):
        assert "Greylisted" in await asyncio.to_thread(why, ringback, subject), subject
    for command in ("why", "history export", "history forget"):
        status, _, said = await asyncio.to_thread(ended, *command.split(), "<>", "-c", ringback.configuration)
        assert (status, "is no single sender: all bounces have the sender <>" in said) == (64, True), command
