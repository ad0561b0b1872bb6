"""What keeps Ringback from starting, and how it says so."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from tests.support.ringback import EX_CONFIG, PRINTED_SCRIPT, SIEVE_ONLY, Setup, run

BOTH = pytest.mark.parametrize("command", ["check", "serve"])


def _setup(**parts: object) -> Setup:
    return Setup(upstream_port=2526, nameserver="127.0.0.1:9", **parts)  # type: ignore[arg-type]


def _run(command: str, configuration: Path) -> tuple[int, str]:
    arguments = [command, "-c", str(configuration)] if command == "serve" else [command, str(configuration)]
    return run(*arguments, folder=configuration.parent)


def _places(printed: str, path: Path) -> list[int]:
    """Return the line of every error in a file; each is followed by that line of the file, and by a caret under it."""
    shown = printed.splitlines()
    lines = path.read_text().splitlines()
    found = []
    for at, text in enumerate(shown):
        place = re.match(rf"{re.escape(str(path))}:(\d+):(\d+): error: \S", text)
        if place is None:
            continue
        number, column = int(place[1]), int(place[2])
        assert shown[at + 1] == f"{number:>5} | {lines[number - 1]}".rstrip()
        assert re.fullmatch(rf" +\| {{{column}}}\^~*", shown[at + 2]), shown[at + 2]
        found.append(number)
    return found


def test_the_customers_configuration_is_found_in_order(tmp_path: Path) -> None:
    status, printed = _run("check", _setup().write(tmp_path))
    assert (status, ": error: " in printed, ": warning: " in printed) == (0, False, False), printed


@BOTH
def test_a_script_that_calls_back_while_smtp_cbv_is_not_loaded_keeps_it_from_starting(
    tmp_path: Path, command: str
) -> None:
    configuration = _setup(stanzas=SIEVE_ONLY).write(tmp_path)
    status, printed = _run(command, configuration)
    assert status == EX_CONFIG, printed
    assert _places(printed, tmp_path / "myscript.siv") == [2]
    assert "smtp_callback_verify" in printed
    assert "smtp_cbv" in printed.replace("smtp_callback_verify", "")


def test_smtp_cbv_may_be_loaded_actively_or_passively(tmp_path: Path) -> None:
    active = 'smtp_cbv "smtp_cbv" {\n  phase = "mailfrom"\n}\n' + SIEVE_ONLY
    status, printed = _run("check", _setup(stanzas=active).write(tmp_path))
    assert status == 0, printed


@BOTH
def test_five_mistakes_in_a_configuration_are_five_diagnostics_with_carets(tmp_path: Path, command: str) -> None:
    configuration = tmp_path / "ecelerity.conf"
    configuration.write_text(
        """\
ESMTP_Listener = ( 127.0.0.1:2525 )
Relay_Domain = ( example.com )
Remote_SMTP_Port = twenty
Gateway =
Validate validate/smtp_cbv smtp_cbv passive{
      phase = "mailfrom"
      timeout = never
      allow_networks = ( 127.0.0.0/99 )
}
"""
    )
    status, printed = _run(command, configuration)
    assert status == EX_CONFIG, printed
    assert _places(printed, configuration) == [2, 3, 4, 7, 8]
    assert printed.count(": error: ") == 5
    assert "relay_domains" in printed.lower(), "the nearest name is suggested"


def test_five_mistakes_in_a_script_are_five_diagnostics_with_carets(tmp_path: Path) -> None:
    script = """\
$from = envelope "from";
ec_header_add "X-Seen" "yes";
($rv) = smtp_callback_verifi "${from}";
if ec_test :iss "${from}" "a" {
  ec_action 550;
}
discard "now" "please";
"""
    configuration = _setup(script=script).write(tmp_path)
    status, printed = _run("check", configuration)
    assert status == EX_CONFIG, printed
    assert _places(printed, tmp_path / "myscript.siv") == [2, 3, 4, 5, 7]
    assert printed.count(": error: ") == 5
    assert "smtp_callback_verify" in printed.replace("smtp_callback_verifi", ""), "the nearest name is suggested"


def test_five_slips_of_the_pen_in_a_script_are_five_diagnostics_with_carets(tmp_path: Path) -> None:
    script = """\
$a = ;
ec_log "fine";
if { ec_log "no test"; }
$b "no equals sign";
ec_log "fine";
else { ec_log "no if"; }
($c) = ;
"""
    configuration = _setup(script=script).write(tmp_path)
    status, printed = _run("check", configuration)
    assert status == EX_CONFIG, printed
    assert _places(printed, tmp_path / "myscript.siv") == [1, 3, 4, 6, 7]
    assert printed.count(": error: ") == 5


def test_ec_header_add_in_a_mailfrom_script_is_refused_naming_the_phases_where_it_is_legal(tmp_path: Path) -> None:
    configuration = _setup(script='ec_header_add "X-Seen" "yes";\n' + PRINTED_SCRIPT).write(tmp_path)
    status, printed = _run("check", configuration)
    assert status == EX_CONFIG, printed
    assert _places(printed, tmp_path / "myscript.siv") == [1]
    assert printed.count(": error: ") == 1
    assert all(
        re.search(rf"\b{phase}\b", printed) for phase in ("ec_header_add", "mailfrom", "data", "each_rcpt", "spool")
    )


@BOTH
def test_a_configuration_or_script_that_cannot_be_read_keeps_it_from_starting(tmp_path: Path, command: str) -> None:
    configuration = _setup().write(tmp_path)
    (tmp_path / "myscript.siv").unlink()
    status, printed = _run(command, configuration)
    assert status == EX_CONFIG, printed
    assert _places(printed, tmp_path / "validate.conf") == [6]
    status, printed = _run(command, tmp_path / "absent.conf")
    assert status == EX_CONFIG, printed
    assert "absent.conf" in printed
    assert "Traceback" not in printed
