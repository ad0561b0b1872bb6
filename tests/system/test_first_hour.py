"""The first hour as docs/first-hour.md has it, and the pages for those who come from other servers."""

from __future__ import annotations

import asyncio
import re
import signal
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from config.schema.declared import declared
from proxy.app import MODULES
from proxy.options.core import CoreOptions
from proxy.options.inbound import InboundOptions
from proxy.options.outbound import OutboundOptions
from tests.support.conversation import Conversation
from tests.support.programs import Program, accepts_connections, find_program, free_port
from tests.support.ringback import ROOT, command, ended, environment
from tests.support.servers import Dnsmasq, Postfix, Zone
from tests.support.waiting import eventually

DOCS = ROOT / "docs"
FROM = ("postfix", "exim", "haraka", "momentum")
SENDER = "MAIL FROM:<someone@no-such-domain.test>"


async def _said_to(port: int, *lines: str) -> list[str]:
    async with await Conversation.open("127.0.0.1", port) as client:
        await client.ehlo()
        return [await client.ask(line) for line in lines]


@contextmanager
def _serves(path: Path) -> Iterator[Program]:
    served = Program(command("serve", "-c", str(path)), folder=path.parent, name="serve", environment=environment())
    try:
        yield served
    finally:
        assert served.stop() == 0


async def _is_relayed(port: int) -> None:
    """Send a message from a sender that does not exist: in shadow mode the next hop takes it."""
    await eventually(lambda: accepts_connections("127.0.0.1", port), "it serves", within=30)
    heard = await _said_to(port, SENDER, "RCPT TO:<anna@example.com>", "DATA", "Subject: x\r\n\r\nx\r\n.")
    assert heard[-1].startswith("250 2.0.0 Ok: queued as "), heard


@pytest.mark.real("postfix")
@pytest.mark.real("dnsmasq")
async def test_from_a_main_cf_to_verified_mail_in_shadow_mode_and_then_to_a_refusal(tmp_path: Path) -> None:
    path, port = tmp_path / "ecelerity.conf", free_port()
    with Postfix() as postfix, Dnsmasq(Zone(addresses={}, exchangers={})) as dns:
        enters = f"\n{postfix.address}\nmx.example.com\n127.0.0.1:{port}\nnone\n"
        arguments = ("config", "init", "--from", postfix.folder / "main.cf", path)
        status, out, err = await asyncio.to_thread(ended, *arguments, given=enters.encode())
        assert (status, f"next:  ringback check {path}" in out) == (0, True), err
        of_this_world = f'State_Directory = "{tmp_path}"\nNameservers = ( "{dns.address}" )\n'
        path.write_text(path.read_text() + of_this_world)
        assert (await asyncio.to_thread(ended, "check", path))[:2] == (0, f"{path}: no errors\n")
        with _serves(path) as served:
            await _is_relayed(port)
            await eventually(lambda: '"event":"shadow"' in served.printed(), "the verdict is logged")
            assert '"status":"fail","reason":"nxdomain"' in served.printed()
            await eventually(
                lambda: "no-such-domain.test" in ended("why", "someone@no-such-domain.test", "-c", path)[1], "why knows"
            )
            path.write_text(path.read_text().replace("  enforce = false\n", ""))
            served.process.send_signal(signal.SIGHUP)
            await eventually(lambda: '"event":"reloaded"' in served.printed(), "it has reloaded")
            await eventually(lambda: '"event":"worker_ended"' in served.printed(), "the old worker has ended")
            assert await _said_to(port, SENDER) == ["550 from address not reachable"]


OLD_FRONT_END = """\
Hostname = "mx.example.com"
Spoolbase = "/var/spool/ecelerity"
Retry_Interval = 1200
ESMTP_Listener {
  Listen ":25" { }
  SMTP_Extensions = ( "ENHANCEDSTATUSCODES" "STARTTLS" )
  TLS_Certificate = "/etc/pki/mx.crt"
  TLS_Key = "/etc/pki/mx.key"
}
Control_Listener { Listen "/tmp/2025" { } }
Relay_Hosts = ( "127.0.0.1" "192.0.2.0/24" )
Relay_Domains = ( "example.com" "*.example.com" )
ec_logger "ec_logger" { mainlog = "/var/log/ecelerity/mainlog.ec" }
ThreadPool "gimli" { }
conntrol "conntrol" { pause_time = 1 }
smtp_cbv "smtp_cbv1" { phase = "mailfrom" }
sieve "sieve1" { mailfrom_phase1 = "old.siv" }
include "domains.conf"
"""
"""What a Momentum 4 that receives mail may have; the script is beside it."""

OLD_SCRIPT = """\
$from = envelope "from";
($rv) = smtp_callback_verify "${from}";
if ec_test :is "${rv}" "fail" {
  ec_action 550 "sender does not exist";
}
"""


def _as_the_page_says(text: str, port: int, gateway: str) -> str:
    """Change the copy of the old front end's file as the table on the page says, and add the page's lines."""
    page = (DOCS / "from-momentum.md").read_text()
    (lines,) = re.findall(r"^```\n(Gateway = .*?)^```", page, re.MULTILINE | re.DOTALL)
    for each in (
        '`Listen ":25"`',
        '`Listen "127.0.0.1:2525"`',
        "leave out `127.0.0.1`",
        "`TLS_Certificate`, `TLS_Key`",
    ):
        assert each in page, "the table has it no longer"
    text = text.replace('":25"', f'"127.0.0.1:{port}"').replace('( "127.0.0.1" ', "( ")
    text = re.sub(r"^  TLS_.*\n", "", text, flags=re.MULTILINE)
    return text + lines.replace('"192.0.2.25"', f'"{gateway}"')


@pytest.mark.real("postfix")
@pytest.mark.real("dnsmasq")
async def test_from_a_momentum_configuration_to_verified_mail_in_shadow_mode(tmp_path: Path) -> None:
    path, port = tmp_path / "ecelerity.conf", free_port()
    (tmp_path / "domains.conf").write_text('Domain "example.com" { Max_Outbound_Connections = 20 }\n')
    (tmp_path / "old.siv").write_text(OLD_SCRIPT)
    (tmp_path / "state").mkdir(mode=0o700)
    path.write_text(OLD_FRONT_END)
    status, out, err = await asyncio.to_thread(ended, "check", "--strict", path)
    assert "neither Gateway nor Routes is set" in out + err, "the page says so"
    with Postfix() as postfix, Dnsmasq(Zone(addresses={}, exchangers={})) as dns:
        path.write_text(
            _as_the_page_says(OLD_FRONT_END, port, postfix.address) + f'Nameservers = ( "{dns.address}" )\n'
        )
        status, out, err = await asyncio.to_thread(ended, "check", "--strict", path)
        assert (status, "accepted, not acted on" in out + err) == (0, True), err
        with _serves(path) as served:
            await _is_relayed(port)
            await eventually(lambda: '"event":"session"' in served.printed(), "the log has all of the session")
            assert '"reason":"nxdomain"' in served.printed()
            assert served.printed().count('"event":"shadow"') == 1
            for words in (
                ("sieve", "stats"),
                ("sieve:sieve1", "stats"),
                ("summary",),
                ("xml", "summary"),
                ("config", "reload"),
            ):
                status, out, err = await asyncio.to_thread(ended, "console", "-c", path, *words)
                assert (status, bool(out)) == (0, True), (words, err)
            told = "Shadow mode: the verdict on <someone@no-such-domain.test> would have been fail (nxdomain)."
            await eventually(lambda: told in ended("why", "someone@no-such-domain.test", "-c", path)[1], "why tells it")
            assert "dialogue of the callback" not in ended("why", "someone@no-such-domain.test", "-c", path)[1]


# ---------------------------------------------------------------- the pages


def _rows(page: str) -> Iterator[tuple[str, str]]:
    """Yield (theirs, ours) of the table of options."""
    text = (DOCS / page).read_text().partition(" options and Ringback's\n")[2].partition("\n## ")[0]
    for row in re.findall(r"^\| (.+) \|$", text, re.MULTILINE):
        theirs, ours, *_ = re.split(r" \| |\| ", row)
        if not theirs.startswith(("---", "Postfix", "Exim", "Haraka", "Momentum")):
            yield theirs, ours


def _ours() -> set[str]:
    names = {name.lower() for model in (CoreOptions, InboundOptions, OutboundOptions) for name in declared(model)}
    for module in MODULES:
        names |= {module.spec.type.lower(), *(name.lower() for name in declared(module.spec.options))}
    return names | {"domain", "peer", "listen", "session", "ec_action", "smtp_callback_verify", "smtp_cbv_reason"}


_PHRASES = {
    "rcptto_phase1",
    "mailfrom_phase1",
    "spf_v1",
    "nxdomain",
    "null_mx",
    "no_address",
    "transient",
    "error",
    "auto",
}


@pytest.mark.parametrize("server", FROM)
def test_each_option_of_ours_on_a_page_for_newcomers_is_there(server: str) -> None:
    known, rows = _ours() | _PHRASES, list(_rows(f"from-{server}.md"))
    assert len(rows) >= 12
    words = [
        word
        for _, ours in rows
        for code in re.findall(r"`([^`]+)`", ours)
        for word in re.findall(r"^[A-Za-z_]\w+", code)
    ]
    files = {code for _, ours in rows for code in re.findall(r"`(etc/[^`]+)`", ours)}
    assert [each for each in files if not (ROOT / each).exists()] == []
    assert [each for each in words if each.lower() not in known and each not in {"etc", "Validate"}] == []


@pytest.mark.real("postfix")
def test_each_parameter_of_postfix_on_its_page_is_one() -> None:
    names = {
        line.partition(" ")[0]
        for line in subprocess.run(
            [find_program("postconf"), "-d"], capture_output=True, text=True, check=True
        ).stdout.splitlines()
    }
    restrictions = {
        "reject_unverified_sender",
        "reject_unverified_recipient",
        "warn_if_reject",
        "reject_rbl_client",
        "reject_rhsbl_sender",
        "check_policy_service",
    }
    theirs = [code for row, _ in _rows("from-postfix.md") for code in re.findall(r"`([^`]+)`", row)]
    assert len(theirs) > 30
    assert [each for each in theirs if each not in names | restrictions] == []


@pytest.mark.real("systemd-analyze")
def test_the_unit_on_the_page_is_whole(tmp_path: Path) -> None:
    (unit,) = re.findall(r"^```\n(\[Unit\]\n.*?)^```", (DOCS / "operating.md").read_text(), re.MULTILINE | re.DOTALL)
    path = tmp_path / "ringback.service"
    path.write_text(unit.replace("/opt/ringback/bin/ringback", "/bin/true"))
    command = [find_program("systemd-analyze"), "verify", "--man=no", "--generators=no", str(path)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert [line for line in done.stderr.splitlines() if "ringback.service" in line] == []
    assert done.returncode == 0, done.stderr
    assert all(f"[{section}]" in unit for section in ("Unit", "Service", "Install"))


def test_what_the_matrix_calls_tested_is_what_ci_installs() -> None:
    rows = re.findall(r"^\| ([^|]+) \| ([^|]+) \| [^|]*\|$", (DOCS / "support.md").read_text(), re.MULTILINE)
    tested = {row.strip(): told for row, told in rows}
    script = (ROOT / ".ci/run").read_text()
    for row, packages in {
        "next hop": ("postfix", "exim4", "opensmtpd"),
        "load balancer": ("haproxy",),
        "shared store": ("redis-server",),
        "metrics": ("prometheus",),
        "log readers": ("fail2ban", "rsyslog"),
        "name server": ("dnsmasq",),
        "browser for the page": ("chromium",),
        "shells' completion": ("zsh", "fish"),
    }.items():
        for package in packages:
            assert package in script
            assert re.sub(r"\d?(?:-server)?$", "", package) in tested[row].lower(), (row, package)


def test_the_alerts_on_the_page_are_the_rules_that_ship() -> None:
    rules = re.findall(r"alert: (\w+)", (ROOT / "share/prometheus/ringback.rules.yml").read_text())
    assert re.findall(r"^\| `(Ringback\w+)` \|", (DOCS / "operating.md").read_text(), re.MULTILINE) == rules
