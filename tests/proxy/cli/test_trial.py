"""`ringback sieve run`: the session that the options make, and that nothing outside is touched."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from proxy.cli import application


def run(folder: Path, script: str, *arguments: str, message: bytes | None = None) -> tuple[int, Any, str]:
    """Run a script; return exit status, the outcome and standard error."""
    (folder / "s.siv").write_text(script)
    options = list(arguments)
    if message is not None:
        (folder / "m.eml").write_bytes(message)
        options += ["--message", str(folder / "m.eml")]
    result = CliRunner().invoke(application, ["sieve", "run", *options, "--json", str(folder / "s.siv")])
    assert result.exception is None or isinstance(result.exception, SystemExit), result.exception
    return result.exit_code, json.loads(result.stdout) if result.stdout else None, result.stderr


def logged(folder: Path, script: str, *arguments: str, message: bytes | None = None) -> list[str]:
    status, outcome, err = run(folder, script, *arguments, message=message)
    assert (status, err) == (0, ""), (outcome, err)
    log: list[str] = outcome["log"]
    return log


# ---------------------------------------------------------------- the session


def test_the_session_is_that_of_the_options(tmp_path: Path) -> None:
    script = """\
$from = envelope "from";
$to = envelope "to";
$ip = ec_get_message_received_from;
$by = ec_get_message_protocol;
ec_log "${from} ${to} ${ip} ${by} %{vctx_conn:ehlo_domain} %{vctx_mess:mailfrom_domain} %{vctx_mess:rcptto_localpart}";
"""
    options = ("--phase", "rcptto", "--from", "a@b.test", "--rcpt", "c@d.test", "--client-ip", "2001:db8::1")
    assert logged(tmp_path, script, *options) == ["a@b.test c@d.test 2001:db8::1 ESMTP client.example.org b.test c"]


@pytest.mark.parametrize(("phase", "seen"), [("rcptto", "d@x.test"), ("each_rcpt", "d@x.test"), ("data", "c@x.test")])
def test_the_recipient_in_question_is_the_last(tmp_path: Path, phase: str, seen: str) -> None:
    options = ("--phase", phase, "--rcpt", "c@x.test", "--rcpt", "d@x.test")
    assert logged(tmp_path, '$to = envelope "to"; ec_log "${to}";\n', *options, message=b"A: 1\n\n") == [seen]


def test_without_a_sender_it_is_the_null_sender(tmp_path: Path) -> None:
    script = 'if envelope :is "from" "" { ec_log "null"; }\n'
    assert logged(tmp_path, script) == ["null"]


@pytest.mark.parametrize(
    ("option", "value", "told"),
    [
        ("--from", "no address", "no address: not an address; write local-part@domain\n"),
        ("--rcpt", "nope", "nope: not an address; write local-part@domain\n"),
        ("--rcpt", "", ": not an address; write local-part@domain\n"),
        ("--client-ip", "bogus", "bogus: not an IP address\n"),
    ],
)
def test_an_option_that_is_no_address_is_a_usage_error(tmp_path: Path, option: str, value: str, told: str) -> None:
    assert run(tmp_path, "keep;\n", option, value) == (64, None, told)


# ---------------------------------------------------------------- the message


@pytest.mark.parametrize(
    ("message", "body", "size"),
    [
        (b"A: 1\r\n\r\n.dot\r\nx\r\n", ".dot\r\nx\r\n", 17),
        (b"A: 1\n\n.dot\nx\n", ".dot\r\nx\r\n", 17),
        (b"A: 1\n\nx\n.dot\n..\n.\n", "x\r\n.dot\r\n..\r\n.\r\n", 24),
        (b"\n.only a body\n", ".only a body\r\n", 16),
        (b"A: 1\n\n", "", 8),
    ],
    ids=["first line dotted", "line feeds alone", "other lines dotted", "no header section", "no body"],
)
def test_the_body_is_the_files_own(tmp_path: Path, message: bytes, body: str, size: int) -> None:
    script = "$b = body :raw; $n = ec_get_message_size; if size :over 0 { keep; }\n"
    _, outcome, _ = run(tmp_path, script, "--phase", "data", message=message)
    assert outcome["variables"] == {"b": [body], "n": str(size)}


@pytest.mark.parametrize("message", [b"", b"A: 1\n", b"no field\n", b"\n", b"\xff\xfe\n\n\x80\n"])
def test_no_message_is_too_odd_for_a_trial(tmp_path: Path, message: bytes) -> None:
    script = 'ec_header_add "X-New" "yes"; if size :over 0 { ec_log "some"; } if body :contains "x" { keep; }\n'
    status, outcome, err = run(tmp_path, script, "--phase", "data", message=message)
    assert (status, err, outcome["headers"][0]) == (0, "", "X-New: yes")


def test_a_message_that_a_script_would_send_is_shown_and_not_sent(tmp_path: Path) -> None:
    script = 'ec_forward "" ["a@x.test", "b@x.test"] "look"; generate_mail_raw "me@x.test" "c@x.test" "Subject: x";\n'
    status, outcome, err = run(tmp_path, script, "--phase", "data", message=b"Subject: x\n\nbody\n")
    assert (status, err, outcome["mail"]) == (
        0,
        "",
        [
            "forward from <> to <a@x.test>",
            "forward from <> to <b@x.test>",
            "generated from <me@x.test> to <c@x.test>",
        ],
    )


@pytest.mark.parametrize("phase", ["data", "spool", "each_rcpt"])
def test_a_content_phase_without_a_message_file_has_an_empty_message(tmp_path: Path, phase: str) -> None:
    script = 'ec_header_add "X-New" "yes"; $n = ec_header_get "X-New"; ec_log "${n}";\n'
    status, outcome, err = run(tmp_path, script, "--phase", phase, "--rcpt", "c@x.test")
    assert (status, err, outcome["headers"], outcome["log"]) == (0, "", ["X-New: yes"], ["yes"])


# ---------------------------------------------------------------- what it would do


def test_every_change_of_the_envelope_is_shown(tmp_path: Path) -> None:
    script = 'ec_rewrite_mailfrom "new@x.test"; add_recipient "copy@x.test"; redirect "there@x.test";\n'
    _, outcome, _ = run(
        tmp_path, script, "--phase", "rcptto", "--from", "a@x.test", "--rcpt", "b@x.test", "--rcpt", "c@x.test"
    )
    assert (outcome["sender"], outcome["recipients"]) == ("new@x.test", ["b@x.test", "there@x.test", "copy@x.test"])


def test_a_hold_is_said_and_not_waited_for(tmp_path: Path) -> None:
    assert logged(tmp_path, 'ec_tarpit 30; ec_log "behind";\n') == [
        "(counter mailfrom:" + str(tmp_path / "s.siv") + ":1, code 250)",
        "(would hold the session for 30 s)",
        "behind",
    ]


@pytest.mark.parametrize("answer", ["pass", "fail", "transient", "error"])
def test_a_callback_is_answered_by_the_option(tmp_path: Path, answer: str) -> None:
    script = '($rv, $why) = smtp_callback_verify "x@y.test"; ec_log "${rv}: ${why}";\n'
    assert logged(tmp_path, script, "--callback", answer) == [f"{answer}: answered by --callback {answer}"]


def test_a_trial_writes_no_file(tmp_path: Path) -> None:
    target = tmp_path / "own.log"
    script = f'ec_log_file "{target}" "a line";\n'
    found = logged(tmp_path, script, "--phase", "spool", message=b"A: 1\n\n")
    assert not target.exists()
    assert found == [f"(would write to {target}: a line)"]


@pytest.mark.parametrize("arguments", [["--trace"], []])
def test_octets_that_are_no_text_are_shown_and_break_nothing(tmp_path: Path, arguments: list[str]) -> None:
    (tmp_path / "s.siv").write_text('$s = header "subject"; ec_log "${s}"; ec_action 550 "no ${s}";\n')
    (tmp_path / "m.eml").write_bytes(b"Subject: \xff \x1b[31m\n\nx\n")
    result = CliRunner().invoke(
        application,
        ["sieve", "run", "--phase", "data", "--message", str(tmp_path / "m.eml"), *arguments, str(tmp_path / "s.siv")],
    )
    assert result.exit_code == 0, result.exception
    assert "550" in result.stdout
    assert "\x1b" not in result.stdout + result.stderr


# ---------------------------------------------------------------- under a configuration

CONFIGURATION = """\
ESMTP_Listener "inside" {
  Listen "127.0.0.1:587" {
    Peer "192.0.2.0/24" { Relay_Hosts = ( 192.0.2.0/24 ) }
  }
}
ESMTP_Listener "outside" { Listen "127.0.0.1:25" { } }
Hostname = "out.test"
Gateway = "192.0.2.200"
"""
SEEN = 'ec_log "%{vctx_conn:can_relay} %{vctx_conn:ehlo_domain} %{vctx_conn:tls} %{vctx_conn:auth_user}";\n'


@pytest.fixture
def configured(tmp_path: Path) -> tuple[str, str]:
    (tmp_path / "r.conf").write_text(CONFIGURATION)
    return "-c", str(tmp_path / "r.conf")


def test_the_session_has_its_name_encryption_and_login(tmp_path: Path) -> None:
    assert logged(tmp_path, SEEN, "--helo", "[192.0.2.9]", "--tls", "--auth", "joe") == ["true 192.0.2.9 on joe"]
    assert logged(tmp_path, SEEN) == ["false client.example.org  "]


@pytest.mark.parametrize(
    ("listener", "client", "seen"),
    [
        ("127.0.0.1:587", "192.0.2.1", "true"),
        ("127.0.0.1:587", "198.51.100.1", "false"),
        ("127.0.0.1:25", "192.0.2.1", "false"),
    ],
)
def test_the_options_are_those_of_the_listener_and_the_client(
    tmp_path: Path, configured: tuple[str, str], listener: str, client: str, seen: str
) -> None:
    script = 'ec_log "%{vctx_conn:can_relay}";\n'
    assert logged(tmp_path, script, *configured, "--listener", listener, "--client-ip", client) == [seen]


def test_a_listener_that_is_not_there_is_told_with_those_that_are(tmp_path: Path, configured: tuple[str, str]) -> None:
    told = "`elsewhere` is not a listener of this configuration; the listeners are: 127.0.0.1:587, 127.0.0.1:25\n"
    assert run(tmp_path, "keep;\n", *configured, "--listener", "elsewhere") == (64, None, told)


def test_a_function_needs_its_module_in_the_configuration(tmp_path: Path, configured: tuple[str, str]) -> None:
    script = '($rv) = smtp_callback_verify "a@b.test"; ec_log "${rv}";\n'
    assert logged(tmp_path, script) == ["pass"]
    status, outcome, err = run(tmp_path, script, *configured)
    assert (status, outcome) == (65, None)
    assert "smtp_cbv" in err
    (tmp_path / "r.conf").write_text(CONFIGURATION + "smtp_cbv passive { }\n")
    assert logged(tmp_path, script, *configured) == ["pass"]


def test_the_stanza_decides_how_its_script_is_compiled(tmp_path: Path, configured: tuple[str, str]) -> None:
    script = 'if envelope :is "from" "A@B.TEST" { ec_log "same"; } else { ec_log "other"; }\n'
    (tmp_path / "r.conf").write_text(
        CONFIGURATION + 'sieve "first" { default_comparator = "i;octet" }\n'
        'sieve "second" { mailfrom_phase1 = "s.siv" default_comparator = "i;ascii-casemap" }\n'
    )
    assert logged(tmp_path, script, *configured, "--from", "a@b.test") == ["same"]
    assert logged(tmp_path, script, "--from", "a@b.test") == ["other"]


def test_a_configuration_with_errors_is_told(tmp_path: Path, configured: tuple[str, str]) -> None:
    (tmp_path / "r.conf").write_text("Gatewy = 1\n")
    status, outcome, err = run(tmp_path, "keep;\n", *configured)
    assert (status, outcome) == (78, None)
    assert "Gatewy" in err
