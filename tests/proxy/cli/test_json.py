"""Every `--json`: declared, in the one schema that ships, and what is printed is valid."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from jsonschema import Draft202012Validator
from typer.testing import CliRunner

from proxy.cli import application
from proxy.cli.grammar import schema
from proxy.cli.grammar.tree import Command

CONFIGURATION = """\
ESMTP_Listener = ( 127.0.0.1:0 )
Hostname = "mx.test"
Relay_Domains = ( a.test )
Gateway = "127.0.0.1"
Domain "b.test" { Gateway = "127.0.0.2" }
smtp_cbv passive { store = memory port = 1 map = [ b.invalid = "127.0.0.1" ] }
"""
SCRIPT = """\
$from = envelope "from";
ec_log "from ${from} \u202e";
ec_header_add "X-A" "b";
ec_forward "" "c@d.test" "look";
ec_action 550 "no";
"""

SAMPLES: dict[str, list[str]] = {
    "ringback check": ["check r.conf", "check broken.conf", "check nowhere.conf"],
    "ringback check-mail": ["check-mail m.eml --client-ip 192.0.2.1 --from a@b.invalid -c r.conf"],
    "ringback config show": [
        "config show -c r.conf",
        "config show -c r.conf --origin --defaults",
        "config show -c r.conf --defaults",
    ],
    "ringback explain": [],  # it needs a server: tests/system/test_settings.py reads what it prints
    "ringback page": [],  # it needs a server: tests/system/test_page_served.py reads what it prints
    "ringback probe": ["probe a@b.invalid -c r.conf", "probe --file list -c r.conf"],
    "ringback sieve run": [
        "sieve run x.siv --phase data --from a@b.test --rcpt c@d.test",
        "sieve run failing.siv --phase data",
    ],
    "ringback status": ["status -c history.conf"],
    "ringback tail": [],  # it needs a server: tests/system/test_console.py reads what it prints
    "ringback why": ["why a@b.test -c history.conf"],
}
"""A command with --json needs at least one sample here."""


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    (tmp_path / "r.conf").write_text(CONFIGURATION)
    (tmp_path / "broken.conf").write_text(
        'Gatewy = 1\nHostname = "a.test"\nHostname = "b.test"\nRemote_SMTP_Port = 99999\n'
    )
    (tmp_path / "history.conf").write_text(f'{CONFIGURATION}State_Directory = "{tmp_path}"\n')
    (tmp_path / "list").write_text("a@b.invalid\nc@b.invalid\n")
    (tmp_path / "x.siv").write_text(SCRIPT)
    (tmp_path / "failing.siv").write_text('ec_action "${a}" "x";\n')
    (tmp_path / "m.eml").write_text("From: a@b.invalid\n\nhello\n")
    monkeypatch.chdir(tmp_path)
    return tmp_path


def shipped() -> dict[str, Any]:
    found: dict[str, Any] = json.loads(schema.FILE.read_text())
    return found


def values(command: Command, line: str) -> list[Any]:
    """Return what a command prints: one document, or a value on each line."""
    result = CliRunner().invoke(application, [*line.split(), "--json"])
    assert result.exception is None or isinstance(result.exception, SystemExit), result.exception
    assert result.stdout.isascii()
    assert command.prints is not None
    return [json.loads(each) for each in (result.stdout.splitlines() if command.prints.lines else [result.stdout])]


def test_the_schema_that_ships_is_that_of_the_code(root: Command) -> None:
    Draft202012Validator.check_schema(shipped())
    assert shipped() == schema.schema(root)


def test_a_json_option_declares_what_it_prints(command: Command) -> None:
    has_option = any("--json" in each.names for each in command.options)
    assert has_option is (command.prints is not None), "write Prints(Type) beside the option"
    if has_option:
        assert command.name in SAMPLES
        assert f"{command.name}" in shipped()["$defs"]


def test_what_is_printed_is_valid(command: Command, folder: Path) -> None:
    assert folder.is_dir()
    if command.prints is None:
        return
    whole = shipped()
    entry = whole["$defs"][command.name]
    own = Draft202012Validator({**whole, "anyOf": [], "allOf": [entry]} | {"anyOf": [True]})
    everything = Draft202012Validator(whole)
    for line in SAMPLES[command.name]:
        found = values(command, line)
        assert found, line
        for value in found:
            own.validate(value)
            everything.validate(value)
            if "properties" in entry:
                assert set(value) <= set(entry["properties"]), line


def test_a_value_of_another_form_is_not_valid() -> None:
    whole = Draft202012Validator(shipped())
    for value in ("text", 1, None, {}, [{}], {"code": "550"}):
        assert not whole.is_valid(value)
