"""`ringback config`, `check --json` and the `sieve` commands as an operator meets them: exact output and exit codes."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner

from proxy.cli import application

CONFIGURATION = """\
# top
ESMTP_Listener = ( 127.0.0.1:2525 )
Hostname = "mx.example.com"
Relay_Domains = ( example.com *.example.org )
Gateway = "192.0.2.10"   # behind
Remote_SMTP_Port = 26
Domain "special.test" { Gateway = "192.0.2.11:2600" }
Binding_Group "g" {
  Connect_Timeout = 5
  Binding "b" { Gateway = "192.0.2.12" Domain "deep.test" { EHLO_Hostname = "deep" } }
}
Domain "/[.]rx[.]test$/" { XCLIENT = required }
"""


def ringback(*arguments: str | Path) -> tuple[int, str, str]:
    """Run a command in this process; return exit status, standard output and standard error."""
    result = CliRunner().invoke(application, [str(each) for each in arguments])
    assert result.exception is None or isinstance(result.exception, SystemExit), result.exception
    return result.exit_code, result.stdout, result.stderr


@pytest.fixture
def path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """Return the configuration's name; the folder is the current one, so that messages are short."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "e.conf").write_text(CONFIGURATION)
    return "e.conf"


# ---------------------------------------------------------------- eval and get


@pytest.mark.parametrize(
    ("words", "answer"),
    [
        ("gateway", "gateway = 192.0.2.10  # set at e.conf:5:11 in global"),
        ("GATEWAY", "gateway = 192.0.2.10  # set at e.conf:5:11 in global"),
        ("global gateway", "gateway = 192.0.2.10  # set at e.conf:5:11 in global"),
        ("idle_time", "idle_time = 300  # default"),
        ("domain special.test gateway", 'gateway = 192.0.2.11:2600  # set at e.conf:7:35 in domain "special.test"'),
        ("domain SPECIAL.test. gateway", 'gateway = 192.0.2.11:2600  # set at e.conf:7:35 in domain "special.test"'),
        ("domain other.test gateway", "gateway = 192.0.2.10  # set at e.conf:5:11 in global"),
        ("domain a.rx.test xclient", 'xclient = required  # set at e.conf:12:38 in domain "/[.]rx[.]test$/"'),
        ("binding b connect_timeout", 'connect_timeout = 5  # set at e.conf:9:21 in binding_group "g"'),
        (
            "binding_group g binding b domain special.test gateway",
            'gateway = 192.0.2.12  # set at e.conf:10:27 in binding_group "g", binding "b"',
        ),
        (
            "binding b binding_group g domain deep.test ehlo_hostname",
            'ehlo_hostname = deep  # set at e.conf:10:77 in binding_group "g", binding "b", domain "deep.test"',
        ),
    ],
)
def test_eval_prints_the_value_in_force_and_where_it_was_set(path: str, words: str, answer: str) -> None:
    assert ringback("config", "eval", "-c", path, *words.split()) == (0, answer + "\n", "")


@pytest.mark.parametrize(
    ("words", "answer"),
    [
        ("gateway", "gateway = 192.0.2.10  # set at e.conf:5:11 in global"),
        ("domain special.test gateway", 'gateway = 192.0.2.11:2600  # set at e.conf:7:35 in domain "special.test"'),
    ],
)
def test_get_prints_what_the_named_scope_sets(path: str, words: str, answer: str) -> None:
    assert ringback("config", "get", "-c", path, *words.split()) == (0, answer + "\n", "")


@pytest.mark.parametrize("words", ["idle_time", "domain other.test gateway", "domain a.rx.test xclient"])
def test_get_of_what_the_scope_does_not_set_exits_1(path: str, words: str) -> None:
    told = "not set in this scope; `config eval` follows the fallback\n"
    assert ringback("config", "get", "-c", path, *words.split()) == (1, "", told)


@pytest.mark.parametrize("command", ["eval", "get"])
@pytest.mark.parametrize(
    ("words", "told"),
    [
        ("gatewya", "unknown option gatewya; did you mean gateway?"),
        ("domain special.test gatewya", "unknown option gatewya; did you mean gateway?"),
        (
            "max_resident_active_queue",
            "max_resident_active_queue is a Momentum option that is accepted, not acted on",
        ),
        (
            "planet x gateway",
            "planet is not a scope; scopes are: binding_group, binding, pathway_group, pathway, domain, host",
        ),
    ],
)
def test_a_question_that_names_nothing_is_a_usage_error(path: str, command: str, words: str, told: str) -> None:
    assert ringback("config", command, "-c", path, *words.split()) == (64, "", told + "\n")


# ---------------------------------------------------------------- show


SHOWN = """\
gateway = 192.0.2.10
remote_smtp_port = 26
hostname = mx.example.com
relay_domains = ( example.com *.example.org )
esmtp_listener {
  listen "127.0.0.1:2525" {
  }
}
domain special.test {
  gateway = 192.0.2.11:2600
}
binding_group g {
  connect_timeout = 5
  binding b {
    gateway = 192.0.2.12
    domain deep.test {
      ehlo_hostname = deep
    }
  }
}
domain "/[.]rx[.]test$/" {
  xclient = required
}
"""


def test_show_prints_what_is_set_and_its_output_loads_to_the_same(path: str) -> None:
    assert ringback("config", "show", "-c", path) == (0, SHOWN, "")
    Path("again.conf").write_text(SHOWN)
    assert ringback("config", "show", "-c", "again.conf") == (0, SHOWN, "")


def test_show_with_origins_says_where_each_value_stands(path: str) -> None:
    status, out, err = ringback("config", "show", "--origin", "-c", path)
    assert (status, err) == (0, "")
    assert out.splitlines()[:5] == [
        "gateway = 192.0.2.10  # e.conf:5:11",
        "remote_smtp_port = 26  # e.conf:6:20",
        "hostname = mx.example.com  # e.conf:3:12",
        "relay_domains = ( example.com *.example.org )  # e.conf:4:17",
        "esmtp_listener {",
    ]
    Path("again.conf").write_text(out)
    assert ringback("config", "show", "-c", "again.conf") == (0, SHOWN, "")


def test_show_with_defaults_loads_again_to_the_same_settings(path: str) -> None:
    status, out, err = ringback("config", "show", "--defaults", "-c", path)
    assert (status, err) == (0, "")
    assert "idle_time = 300\n" in out
    assert "upstream_hold = 5\n" in out
    Path("again.conf").write_text(out)
    assert ringback("config", "show", "--defaults", "-c", "again.conf") == (0, out, "")


def test_show_as_json_has_options_scopes_and_modules(path: str) -> None:
    status, out, err = ringback("config", "show", "--json", "-c", path)
    shown = json.loads(out)
    assert (status, err) == (0, "")
    assert shown["options"] == {
        "gateway": "192.0.2.10",
        "remote_smtp_port": 26,
        "hostname": "mx.example.com",
        "relay_domains": ["example.com", "*.example.org"],
        "esmtp_listener": [
            {
                "address": "127.0.0.1", "port": 2525, "backlog": 500, "concurrency": 0, "enabled": True,
                "options": {}, "peers": [],
            }
        ],
    }  # fmt: skip
    assert shown["scopes"] == [
        {"scope": [["domain", "special.test"]], "options": {"gateway": "192.0.2.11:2600"}},
        {"scope": [["binding_group", "g"]], "options": {"connect_timeout": 5.0}},
        {"scope": [["binding_group", "g"], ["binding", "b"]], "options": {"gateway": "192.0.2.12"}},
        {
            "scope": [["binding_group", "g"], ["binding", "b"], ["domain", "deep.test"]],
            "options": {"ehlo_hostname": "deep"},
        },
        {"scope": [["domain", "/[.]rx[.]test$/"]], "options": {"xclient": "required"}},
    ]
    assert shown["modules"] == []


# ---------------------------------------------------------------- format and convert


FORMATTED = """\
# top
ESMTP_Listener = ( 127.0.0.1:2525 )
Hostname = "mx.example.com"
Relay_Domains = ( example.com *.example.org )
Gateway = "192.0.2.10"  # behind
Remote_SMTP_Port = 26
Domain "special.test" {
  Gateway = "192.0.2.11:2600"
}
Binding_Group "g" {
  Connect_Timeout = 5
  Binding "b" {
    Gateway = "192.0.2.12"
    Domain "deep.test" {
      EHLO_Hostname = "deep"
    }
  }
}
Domain "/[.]rx[.]test$/" {
  XCLIENT = required
}
"""


def test_format_prints_the_canonical_layout_and_leaves_the_file_alone(path: str) -> None:
    assert ringback("config", "format", path) == (0, FORMATTED, "")
    assert Path(path).read_text() == CONFIGURATION
    Path(path).write_text(FORMATTED)
    assert ringback("config", "format", path) == (0, FORMATTED, "")


BROKEN = """\
bad.conf:1:9: error: `=` is not allowed before `{`
    1 | Gateway =
      |         ^
  hint: write Gateway { … } for a stanza, or Gateway = [ … ] for a dictionary
bad.conf:2:1: error: this stanza is never closed
    2 | {
      | ^
  hint: add } where it ends
"""


@pytest.mark.parametrize("command", ["format", "convert"])
def test_a_file_that_is_no_configuration_is_not_formatted_or_converted(path: str, command: str) -> None:
    Path(path).with_name("bad.conf").write_text("Gateway = \n{")
    assert ringback("config", command, "bad.conf") == (78, "", BROKEN)


@pytest.mark.parametrize("command", ["format", "convert"])
def test_a_file_that_is_not_there_cannot_be_formatted_or_converted(path: str, command: str) -> None:
    del path
    assert ringback("config", command, "gone.conf") == (
        78,
        "",
        "error: cannot read gone.conf: No such file or directory\n",
    )


@pytest.mark.parametrize(
    "command",
    [
        ("check", "gone.conf"),
        ("config", "show", "-c", "gone.conf"),
        ("config", "eval", "-c", "gone.conf", "gateway"),
        ("config", "get", "-c", "gone.conf", "gateway"),
    ],
)
def test_a_file_that_is_not_there_is_one_error(path: str, command: tuple[str, ...]) -> None:
    del path
    assert ringback(*command) == (78, "", "error: cannot read gone.conf: No such file or directory\n")


def test_convert_writes_the_other_dialect_which_loads_to_the_same_settings(path: str) -> None:
    old = Path(path).with_name("old.conf")
    old.write_text(
        "# two-two\n"
        'ESMTP_Listener = ( 127.0.0.1:2525,100 <Idle_Time="30"> )\n'
        'Gateway = "192.0.2.10"  # behind\n'
        'Hostname = "mx.example.com"\n'
        "Validate validate/smtp_cbv smtp_cbv passive{\n"
        '      phase = "mailfrom"\n'
        "}\n"
    )
    status, converted, err = ringback("config", "convert", "--to", "4x", "old.conf")
    assert (status, err) == (0, "")
    assert converted == (
        "# two-two\n"
        "ESMTP_Listener {\n"
        '  Listen "127.0.0.1:2525" {\n'
        "    listen_backlog = 100\n"
        '    Idle_Time = "30"\n'
        "  }\n"
        "}\n"
        'Gateway = "192.0.2.10"  # behind\n'
        'Hostname = "mx.example.com"\n'
        'smtp_cbv "smtp_cbv" {\n'
        "  enabled = false\n"
        '  phase = "mailfrom"\n'
        "}\n"
    )
    Path("new.conf").write_text(converted)
    assert ringback("config", "show", "-c", "new.conf") == ringback("config", "show", "-c", "old.conf")


def test_convert_to_a_dialect_that_there_is_not_is_a_usage_error(path: str) -> None:
    assert ringback("config", "convert", "--to", "5x", path) == (64, "", "cannot convert to 5x; known: 4x\n")


# ---------------------------------------------------------------- check --json


def test_check_as_json_is_an_empty_list_where_nothing_is_wrong(path: str) -> None:
    assert ringback("check", "--json", path) == (0, "[]\n", "")


def test_check_as_json_gives_warnings_and_errors_of_configuration_and_scripts_with_their_places(path: str) -> None:
    Path("bad.siv").write_text("keep;\n\nfrobnicate;\n")
    Path(path).write_text(
        CONFIGURATION + 'Max_Resident_Active_Queue = 10\nGatewya = 1\nsieve {\n  data_phase1 = "bad.siv"\n}\n'
    )
    status, out, err = ringback("check", "--json", path)
    found = json.loads(out)
    assert (status, err) == (78, "")
    assert all(
        each.keys()
        == {"severity", "code", "message", "hint", "file", "line", "column", "end_line", "end_column", "notes"}
        for each in found
    )
    places = [(each["severity"], each["file"], each["line"], each["column"], each["end_column"]) for each in found]
    assert ("warning", "e.conf", 13, 1, 26) in places
    assert ("error", "e.conf", 14, 1, 8) in places


@pytest.mark.parametrize(
    ("line", "status"),
    [
        ("Suspend_Delivery = true", 78),
        ("Suspend_Delivery = false", 0),
        ("Max_Resident_Active_Queue = 10", 0),
        ('Domain "a.test" { Outbound_SMTP_AUTH_Pass = "x" }', 78),
        ("Validate validate/av_clamav clamav { }", 78),
        ("Validate validate/av_clamav clamav passive { }", 0),
        ("Gatewya = 1", 78),
    ],
)
def test_check_strict_fails_if_something_is_not_enforced(path: str, line: str, status: int) -> None:
    Path(path).write_text(f"{CONFIGURATION}{line}\n")
    assert ringback("check", "--strict", path)[0] == status
    assert ringback("check", path)[0] == (78 if line == "Gatewya = 1" else 0)


def test_check_as_json_names_what_is_not_enforced(path: str) -> None:
    Path(path).write_text(f"{CONFIGURATION}Suspend_Delivery = true\nMax_Resident_Active_Queue = 10\n")
    _, out, _ = ringback("check", "--json", path)
    assert [each["code"] for each in json.loads(out)] == ["not_enforced", None]


def test_check_as_json_exits_0_where_there_are_only_warnings(path: str) -> None:
    Path(path).write_text(CONFIGURATION + "Max_Resident_Active_Queue = 10\n")
    status, out, err = ringback("check", "--json", path)
    (found,) = json.loads(out)
    assert (status, err, found["severity"], found["line"]) == (0, "", "warning", 13)


def test_check_as_json_finds_the_mistakes_of_scripts(path: str) -> None:
    Path("bad.siv").write_text("keep;\n\nfrobnicate;\n")
    Path(path).write_text(CONFIGURATION + 'sieve {\n  data_phase1 = "bad.siv"\n}\n')
    status, out, err = ringback("check", "--json", path)
    errors = [each for each in json.loads(out) if each["severity"] == "error"]
    assert (status, err) == (78, "")
    assert [(Path(each["file"]).name, each["line"], each["column"]) for each in errors] == [("bad.siv", 3, 1)]


# ---------------------------------------------------------------- sieve

SCRIPT = """\
# policy
$s = header "subject";
if header :contains "subject" "offer" { ec_header_prefix "Subject" "[ad] "; ec_log "saw ${s}"; }
ec_header_add "X-Seen" "yes"; ec_header_delete "X-Gone";
if size :over 10 { add_recipient "copy@example.com"; }
redirect "there@example.com";
"""

TRACE = """\
   2  $s = header "subject"
        header ['subject'] → ['an offer']
        $s = 'an offer'
   3  if header :contains "subject" "offer" { ec_header_prefix "Subject" "[ad] "; ec_log "saw ${s}"; }
        header ['subject'] → ['an offer']
        header :contains "subject" "offer" → true
   3  ec_header_prefix "Subject" "[ad] "
        ec_header_prefix 'Subject' '[ad] ' → None
   3  ec_log "saw ${s}"
        ec_log 'saw an offer' → None
   4  ec_header_add "X-Seen" "yes"
        ec_header_add 'X-Seen' 'yes' → None
   4  ec_header_delete "X-Gone"
        ec_header_delete 'X-Gone' → None
   5  if size :over 10 { add_recipient "copy@example.com"; }
        size ['over', 10] → True
        size :over 10 → true
   5  add_recipient "copy@example.com"
        add_recipient 'copy@example.com' → None
   6  redirect "there@example.com"
        redirect 'there@example.com' → None
"""


def test_a_trace_shows_each_statement_and_the_outcome_shows_every_edit(path: str) -> None:
    del path
    Path("s.siv").write_text(SCRIPT)
    Path("m.eml").write_bytes(b"Subject: an\n offer\nX-Gone: 1\nKept: 2\n\nbody\n")
    status, out, err = ringback(
        "sieve", "run", "--phase", "data", "--from", "a@b.test", "--rcpt", "c@example.com", "--rcpt", "d@example.com",
        "--message", "m.eml", "--trace", "--json", "s.siv",
    )  # fmt: skip
    assert (status, err) == (0, TRACE)
    outcome = json.loads(out)
    assert {name: outcome[name] for name in ("code", "text", "ended", "failed", "discard", "close")} == {
        "code": 250, "text": "", "ended": True, "failed": False, "discard": False, "close": False,
    }  # fmt: skip
    assert outcome["actions"] == [
        "ec_header_prefix", "ec_log", "ec_header_add", "ec_header_delete", "add_recipient", "redirect",
    ]  # fmt: skip
    assert outcome["log"] == ["saw an offer", "(counter data:s.siv:6, code 250)"]
    assert outcome["variables"] == {"s": "an offer"}
    assert outcome["sender"] == "a@b.test"
    assert outcome["recipients"] == ["there@example.com", "copy@example.com"]
    assert outcome["headers"] == ["X-Seen: yes", "Subject: [ad] an offer", "Kept: 2"]


def test_a_script_that_fails_exits_65_and_says_where(path: str) -> None:
    del path
    Path("s.siv").write_text('$a = ec_add 1 1;\nredirect "no address ${a}";\n')
    status, out, err = ringback("sieve", "run", "--phase", "rcptto", "--rcpt", "c@example.com", "--json", "s.siv")
    outcome = json.loads(out)
    assert (status, err, outcome["code"], outcome["failed"]) == (65, "", 451, True)
    assert outcome["log"] == ["s.siv:2: run-time error: 'no address 2.000000' is not a mail address"]
    assert outcome["recipients"] == ["c@example.com"]


def test_sieve_format_prints_the_canonical_layout_with_every_comment(path: str) -> None:
    del path
    expected = (
        '# policy\n$s = header "subject";\nif header :contains "subject" "offer" {\n'
        '  ec_header_prefix "Subject" "[ad] ";\n  ec_log "saw ${s}";\n}\nec_header_add "X-Seen" "yes";\n'
        'ec_header_delete "X-Gone";\nif size :over 10 {\n  add_recipient "copy@example.com";\n}\n'
        'redirect "there@example.com";\n'
    )
    Path("s.siv").write_text(SCRIPT)
    assert ringback("sieve", "format", "s.siv") == (0, expected, "")
    assert Path("s.siv").read_text() == SCRIPT
    Path("s.siv").write_text(expected)
    assert ringback("sieve", "format", "s.siv") == (0, expected, "")


def test_a_script_that_does_not_parse_is_not_formatted(path: str) -> None:
    del path
    Path("s.siv").write_text("keep")
    told = "s.siv:1:4: error: expected ; after keep\n    1 | keep\n      |    ^\n"
    assert ringback("sieve", "format", "s.siv") == (65, "", told)
    assert ringback("sieve", "format", "gone.siv") == (66, "", "gone.siv: No such file or directory\n")


ENTRY = """\
ec_header_add [ :folded ] { field-name } { field-body }

Add a field at the top of the header section. The last field added comes first. Line breaks become spaces.

With `:folded`, lines longer than 78 characters are folded at spaces. Ringback's own Received field stays above it.

Is        an action
Legal in  data, spool, each_rcpt
Needs     the header section
Changes   the message
"""


@pytest.mark.parametrize("name", ["ec_header_add", "EC_Header_Add"])
def test_explain_prints_the_manual_entry_of_a_function(name: str) -> None:
    assert ringback("sieve", "explain", name) == (0, ENTRY, "")


def test_explain_says_why_a_function_of_the_manual_is_not_there() -> None:
    status, out, err = ringback("sieve", "explain", "clamav_avscan")
    assert (status, err) == (0, "")
    assert out.startswith("clamav_avscan")
    assert "Ringback does not have this Momentum function: Ringback runs no virus scanner" in out


def test_explain_of_what_nobody_knows_is_a_usage_error() -> None:
    told = "nothing_such: no such function in Ringback or the manual\n"
    assert ringback("sieve", "explain", "nothing_such") == (64, "", told)
