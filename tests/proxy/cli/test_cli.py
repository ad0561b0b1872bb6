"""The command line: what it prints, and the exit codes of sysexits(3)."""

from __future__ import annotations

import asyncio
import json
import os
import pwd
import socket
from pathlib import Path

import pytest
from typer.testing import CliRunner

from proxy.cli import application
from tests.support.exchanger import Act, Exchanger, Step, closes, says
from tests.support.ringback import ended
from tests.support.worker import ALICE

ROOT = Path(__file__).parents[3]

CONFIGURATION = """\
ESMTP_Listener = ( 127.0.0.1:{port} )
Hostname = "ringback.test"
Relay_Domains = ( example.com )
Gateway = "127.0.0.1"
Remote_SMTP_Port = {upstream}
smtp_cbv passive {{
  port = {exchanger}
  timeout = 5
  map = [ sender.test = "127.0.0.1" ]
}}
sieve {{
  mailfrom_phase1 = "script.siv"
}}
"""
SCRIPT = """\
$from = envelope "from";
($rv) = smtp_callback_verify "${from}";
ec_log "verdict ${rv}";
if ec_test :is "${rv}" "fail" {
  ec_action 550 "from address not reachable";
}
"""


@pytest.fixture
def house(tmp_path: Path) -> Path:
    return written(tmp_path)


def written(folder: Path, *, port: int = 0, exchanger: int = 25, script: str = SCRIPT) -> Path:
    path = folder / "ecelerity.conf"
    path.write_text(CONFIGURATION.format(port=port, upstream=1, exchanger=exchanger))
    (folder / "script.siv").write_text(script)
    return path


def ringback(*arguments: str | Path) -> tuple[int, str, str]:
    """Run a command in this process; return exit status, standard output and standard error."""
    result = CliRunner().invoke(application, [str(each) for each in arguments])
    assert result.exception is None or isinstance(result.exception, SystemExit), result.exception
    return result.exit_code, result.stdout, result.stderr


async def process(*arguments: str | Path) -> tuple[int, str, str]:
    """Run a command in a process of its own."""
    return await asyncio.to_thread(ended, *arguments)


# ---------------------------------------------------------------- check


def test_check_says_that_there_are_no_errors(house: Path) -> None:
    status, out, told = ringback("check", house)
    assert (status, out) == (0, f"{house}: no errors\n")
    assert told == f"checked as {pwd.getpwuid(os.geteuid()).pw_name} (uid {os.geteuid()})\n"


def test_check_prints_every_mistake_of_a_configuration_with_its_place_and_exits_78(tmp_path: Path) -> None:
    path = tmp_path / "ecelerity.conf"
    path.write_text(
        "ESMTP_Listener = ( 127.0.0.1:0 )\n"
        "Gatewy = 127.0.0.1\n"
        'Gateway = "127.0.0.1"\n'
        "Remote_SMTP_Port = 99999\n"
        "smtp_cbv passive {\n"
        "  timeout = soon\n"
        "  phase = rcpt\n"
        "  max_probes = 0\n"
        "}\n"
    )
    status, out, err = ringback("check", path)
    assert (status, out) == (78, "")
    places = [line.partition(": error:")[0].removeprefix(f"{path}:") for line in err.splitlines() if ": error:" in line]
    assert [each.partition(":")[0] for each in places] == ["2", "4", "6", "7", "8"]
    assert err.count("^") >= 5


def test_check_prints_every_mistake_of_a_script_with_its_place_and_exits_78(tmp_path: Path) -> None:
    path = written(
        tmp_path,
        script=('frobnicate;\nec_action 550;\nec_header_add "X-A" "b";\nec_action "five" "x";\n$x = envelope;\n'),
    )
    status, out, err = ringback("check", path)
    assert (status, out) == (78, "")
    script = tmp_path / "script.siv"
    places = [line for line in err.splitlines() if line.startswith(f"{script}:") and ": error:" in line]
    assert [each.removeprefix(f"{script}:").partition(":")[0] for each in places] == ["1", "2", "3", "4", "5"]
    assert err.count("^") >= 5
    assert "ec_header_add" in err
    assert "data" in err  # the phases where it is legal


@pytest.mark.parametrize("command", [["check"], ["serve", "-c"], ["probe", ALICE, "-c"]])
async def test_a_configuration_that_is_not_there_is_told_without_a_traceback(
    tmp_path: Path, command: list[str]
) -> None:
    status, _, err = await process(*command, tmp_path / "nowhere.conf")
    assert status in {66, 78}
    assert "nowhere.conf" in err
    assert "Traceback" not in err


# ---------------------------------------------------------------- serve


async def test_serve_exits_78_for_a_configuration_with_mistakes(tmp_path: Path) -> None:
    path = tmp_path / "ecelerity.conf"
    path.write_text("Gatewy = 1\n")
    status, out, err = await process("serve", "-c", path)
    assert (status, out) == (78, "")
    assert f"{path}:1:1: error:" in err


async def test_serve_exits_69_where_the_address_is_taken(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        status, _, err = await process("serve", "-c", written(tmp_path, port=port))
    assert status == 69
    (line,) = (json.loads(each) for each in err.splitlines())
    assert (line["event"], line["reason"]) == ("cannot_listen", f"127.0.0.1:{port}: Address already in use")


# ---------------------------------------------------------------- probe


@pytest.mark.parametrize(
    ("act", "status", "verdict", "reason"),
    [
        (says("250 2.1.5 ok"), 0, "pass", "accepted"),
        (says("550 5.1.1 no such user"), 65, "fail", "no_such_user"),
        (says("451 later"), 69, "transient", "deferred"),
        (says("550 5.7.1 blocked"), 69, "error", "policy"),
        (closes(), 69, "transient", "timeout"),
    ],
)
async def test_probe_prints_the_verdict_and_its_exit_status_tells_it(
    tmp_path: Path, act: Act, status: int, verdict: str, reason: str
) -> None:
    async with Exchanger(script={Step.RCPT: act}) as exchanger:
        path = written(tmp_path, exchanger=exchanger.port)
        found, out, err = await process("probe", ALICE, "-c", path, "--from", "probe@ringback.test", "--json")
        assert "MAIL FROM:<probe@ringback.test>" in exchanger.commands
        assert exchanger.commands[0] == "EHLO ringback.test"
    answer = json.loads(out)
    assert (found, answer["question"], answer["status"], answer["reason"], err) == (status, ALICE, verdict, reason, "")


@pytest.mark.parametrize("text", ["no such user", "[bold]no[/]", r"\[/x] no", "[/] no", "\\"])
async def test_probe_shows_whatever_the_exchanger_said_as_it_was_said(tmp_path: Path, text: str) -> None:
    async with Exchanger(script={Step.RCPT: says(f"550 5.1.1 {text}")}) as exchanger:
        status, out, err = await process("probe", ALICE, "-c", written(tmp_path, exchanger=exchanger.port))
    assert (status, err) == (65, "")
    assert f"{ALICE}: fail" in out
    assert f"550 5.1.1 {text}" in out


@pytest.mark.parametrize("address", ["", "alice", "alice@", "@sender.test"])
async def test_probe_of_what_is_no_address_is_a_usage_error(address: str) -> None:
    status, out, err = await process("probe", address)
    assert (status, out, err) == (64, "", f"{address}: not an address; write local-part@domain\n")


@pytest.mark.parametrize("arguments", [["serve"], ["check"], ["probe"], ["frobnicate"], ["sieve", "run"]])
def test_a_command_that_is_not_understood_is_a_usage_error(arguments: list[str]) -> None:
    status, out, err = ringback(*arguments)
    assert (status, out) == (2, "")
    assert "Usage:" in err


# ---------------------------------------------------------------- sieve


def test_sieve_check_says_that_there_are_no_errors(house: Path) -> None:
    script = house.parent / "script.siv"
    assert ringback("sieve", "check", "--phase", "mailfrom", script) == (0, f"{script}: no errors\n", "")


def test_sieve_check_prints_mistakes_and_exits_65(tmp_path: Path) -> None:
    script = tmp_path / "script.siv"
    script.write_text("frobnicate;\nkeep\n")
    status, out, err = ringback("sieve", "check", "--phase", "mailfrom", script)
    assert (status, out) == (65, "")
    assert f"{script}:1:1: error:" in err


def test_a_script_or_message_that_is_not_there_exits_66(house: Path) -> None:
    gone, script = house.parent / "gone", house.parent / "script.siv"
    assert ringback("sieve", "check", gone) == (66, "", f"{gone}: No such file or directory\n")
    assert ringback("sieve", "run", gone) == (66, "", f"{gone}: No such file or directory\n")
    assert ringback("sieve", "run", "--message", gone, script) == (66, "", f"{gone}: No such file or directory\n")


@pytest.mark.parametrize(
    ("callback", "code", "text"),
    [
        ("pass", 250, ""),
        ("fail", 550, "from address not reachable"),
        ("transient", 250, ""),
        ("error", 250, ""),
    ],
)
def test_sieve_run_prints_what_a_script_decides(house: Path, callback: str, code: int, text: str) -> None:
    script = house.parent / "script.siv"
    status, out, err = ringback("sieve", "run", "--from", ALICE, "--callback", callback, "--json", script)
    assert (status, err) == (0, "")
    outcome = json.loads(out)
    assert (outcome["code"], outcome["text"], outcome["failed"]) == (code, text, False)
    assert outcome["log"][0] == f"verdict {callback}"
    assert outcome["variables"]["rv"] == callback
    assert outcome["variables"]["from"] == ALICE
    assert outcome["vctx_mess"]["mailfrom_domain"] == "sender.test"


def test_sieve_run_gives_the_script_its_recipients_and_message(tmp_path: Path) -> None:
    script, message = tmp_path / "script.siv", tmp_path / "message.eml"
    message.write_bytes(b"Subject: hello\n folded\n\nbody\n")
    script.write_text(
        '$to = envelope "to";\nec_log "${to}";\nif header :is "subject" "hello folded" { ec_action 450 "seen"; }\n'
    )
    status, out, _ = ringback(
        "sieve", "run", "--phase", "data", "--rcpt", "bob@example.com",
        "--message", message, "--json", script,
    )  # fmt: skip
    outcome = json.loads(out)
    assert (status, outcome["code"], outcome["text"]) == (0, 450, "seen")
    assert outcome["log"][0] == "bob@example.com"


def test_sieve_run_without_json_prints_a_table(house: Path) -> None:
    status, out, _ = ringback("sieve", "run", "--callback", "fail", "--from", ALICE, house.parent / "script.siv")
    assert status == 0
    assert "550" in out
    assert "from address not reachable" in out


@pytest.mark.parametrize("text", ["[/x]", "[bold]", "\\[/]", "[red]x[/red]"])
def test_sieve_run_shows_brackets_in_a_scripts_text_as_they_are(tmp_path: Path, text: str) -> None:
    script = tmp_path / "script.siv"
    quoted = text.replace("\\", "\\\\")
    script.write_text(f'ec_action 550 "{quoted}";\n')
    status, out, _ = ringback("sieve", "run", script)
    assert status == 0
    assert text in out
