"""`ringback sieve` and the dialects of scripts."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.proxy.cli.test_cli import ringback

STANDARD = 'require "reject";\nif header :contains "subject" "HELLO" {\n  reject "no";\n}\n'
PLUS_PLUS = '$x = envelope "from";\nec_log "${x}";\n'
MAIL = b"Subject: hello\n\nx\n"


def script(folder: Path, name: str, text: str) -> Path:
    (folder / name).write_text(text)
    return folder / name


@pytest.mark.parametrize(
    ("name", "text", "dialect"),
    [
        ("a.siv", STANDARD, "rfc5228"),
        ("a.sieve", STANDARD, "auto"),
        ("a.siv", PLUS_PLUS, "auto"),
        ("a.sieve", PLUS_PLUS, "sieve++"),
    ],
)
def test_sieve_check_reads_a_script_in_its_dialect(tmp_path: Path, name: str, text: str, dialect: str) -> None:
    path = script(tmp_path, name, text)
    found = ringback("sieve", "check", "--phase", "data", "--dialect", dialect, path)
    assert found == (0, f"{path}: no errors\n", "")


def test_without_the_flag_a_script_is_in_sieve_plus_plus(tmp_path: Path) -> None:
    status, _, err = ringback(
        "sieve", "check", "--phase", "data", script(tmp_path, "a.sieve", "discard; stop; set 1 2;")
    )
    assert status == 65
    assert "unknown function set" in err


def test_sieve_run_runs_standard_sieve(tmp_path: Path) -> None:
    (tmp_path / "mail").write_bytes(MAIL)
    path = script(tmp_path, "a.sieve", STANDARD)
    status, out, _ = ringback(
        "sieve", "run", "--phase", "data", "--dialect", "auto", "--message", tmp_path / "mail", "--json", path
    )
    assert (status, json.loads(out)["code"], json.loads(out)["text"]) == (0, 550, "no")


def test_sieve_run_shows_what_fileinto_would_write(tmp_path: Path) -> None:
    (tmp_path / "mail").write_bytes(MAIL)
    path = script(tmp_path, "a.sieve", 'require "fileinto"; fileinto "Spam";')
    flags = ("--phase", "data", "--dialect", "rfc5228", "--fileinto-header", "X-Folder")
    status, out, _ = ringback("sieve", "run", *flags, "--message", tmp_path / "mail", "--json", path)
    assert (status, json.loads(out)["headers"][0]) == (0, "X-Folder: Spam")


def test_sieve_format_reports_the_mistakes_of_the_dialect(tmp_path: Path) -> None:
    path = script(tmp_path, "a.sieve", 'if header ["a",] "b" {keep;}')
    assert ringback("sieve", "format", path)[0] == 0
    status, out, err = ringback("sieve", "format", "--dialect", "auto", path)
    assert (status, out) == (65, "")
    assert "a string must follow the comma" in err


def test_sieve_format_lays_out_standard_sieve(tmp_path: Path) -> None:
    path = script(tmp_path, "a.sieve", STANDARD.replace("\n", " "))
    assert ringback("sieve", "format", "--dialect", "rfc5228", path) == (0, STANDARD, "")


def test_sieve_explain_knows_both_dialects() -> None:
    assert "Requires  editheader" in ringback("sieve", "explain", "--dialect", "rfc5228", "addheader")[1]
    assert "Requires  editheader" in ringback("sieve", "explain", "--dialect", "auto", "addheader")[1]
    assert ringback("sieve", "explain", "--dialect", "auto", "ec_log")[0] == 0
    assert ringback("sieve", "explain", "addheader")[0] == 64
    assert ringback("sieve", "explain", "--dialect", "rfc5228", "ec_log") == (
        64, "", "ec_log: no such function in standard Sieve\n",
    )  # fmt: skip


def test_sieve_check_says_what_includes_lack_although_the_script_has_other_errors(tmp_path: Path) -> None:
    path = script(tmp_path, "a.sieve", 'require "include";\ninclude "missing";\ninclude "../b";\n')
    status, _, err = ringback("sieve", "check", "--phase", "data", "--dialect", "auto", path)
    assert status == 65
    assert "'../b' is not the name of a script" in err
    assert "this include fails: cannot read" in err
