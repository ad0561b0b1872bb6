"""Commands beside other programs: a reader that goes, a disk that is full, a password from a program."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest

from proxy.smtp.passwords import PasswordFile
from tests.support.ringback import command, environment
from tests.support.warm import Streams, start

ROOT = Path(__file__).parents[3]
CONFIGURATION = """\
ESMTP_Listener = ( 127.0.0.1:0 )
Hostname = "mx.test"
Relay_Domains = ( a.test )
Gateway = "192.0.2.1"
smtp_cbv passive { store = memory map = [ b.invalid = "127.0.0.1" d.invalid = "127.0.0.1" ] }
"""

COMMANDS = {
    "check": ["check", "r.conf"],
    "check_json": ["check", "--json", "r.conf"],
    "show": ["config", "show", "-c", "r.conf", "--defaults"],
    "eval": ["config", "eval", "-c", "r.conf", "gateway"],
    "format": ["config", "format", "r.conf"],
    "convert": ["config", "convert", "r.conf"],
    "sieve_check": ["sieve", "check", "x.siv"],
    "sieve_run": ["sieve", "run", "x.siv"],
    "sieve_run_json": ["sieve", "run", "--json", "x.siv"],
    "explain": ["sieve", "explain", "discard"],
    "probe": ["probe", "a@b.invalid", "-c", "r.conf"],
    "probe_json": ["probe", "--json", "a@b.invalid", "-c", "r.conf"],
    "probe_file": ["probe", "--file", "list", "-c", "r.conf"],
    "password": ["password", "--stdin", "joe"],
    "help": ["--help"],
}


def run(folder: Path, arguments: list[str], output: int, given: bytes = b"secret\n") -> tuple[int, str]:
    """Run a command with its standard output on a descriptor; return the status and standard error."""
    (folder / "r.conf").write_text(CONFIGURATION)
    (folder / "x.siv").write_text('ec_log "x";\n')
    (folder / "list").write_text("a@b.invalid\nc@d.invalid\n")
    with tempfile.TemporaryFile() as source, tempfile.TemporaryFile() as told:
        source.write(given)
        source.seek(0)
        streams = Streams(source.fileno(), output, told.fileno())
        process = start(command(*arguments), folder=folder, variables={**os.environ, **environment()}, streams=streams)
        status = process.wait(60)
        told.seek(0)
        return status, told.read().decode()


@pytest.mark.parametrize("arguments", COMMANDS.values(), ids=COMMANDS.keys())
def test_a_reader_that_has_gone_ends_a_command_quietly(tmp_path: Path, arguments: list[str]) -> None:
    reading, writing = os.pipe()
    os.close(reading)
    try:
        status, told = run(tmp_path, arguments, writing)
    finally:
        os.close(writing)
    assert "Traceback" not in told
    assert "Exception ignored" not in told
    assert "BrokenPipe" not in told
    assert status == 141


@pytest.mark.parametrize("name", ["show", "probe", "probe_file", "password", "sieve_run"])
def test_a_disk_that_is_full_ends_a_command_and_is_told(tmp_path: Path, name: str) -> None:
    with Path("/dev/full").open("wb") as full:
        status, told = run(tmp_path, COMMANDS[name], full.fileno())
    assert "Traceback" not in told
    assert told.endswith("standard output cannot be written: No space left on device\n")
    assert status == 74


def test_a_command_whose_output_is_closed_does_its_work(tmp_path: Path) -> None:
    (tmp_path / "r.conf").write_text(CONFIGURATION)
    closed = f"{sys.executable} -m proxy.cli check r.conf >&-"
    done = subprocess.run(
        ["sh", "-c", closed],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        stderr=subprocess.PIPE,
        check=False,
        timeout=60,
    )
    assert (done.returncode, b"Traceback" in done.stderr) == (0, False)


# ---------------------------------------------------------------- ringback password --stdin


def printed(folder: Path, given: bytes) -> tuple[int, str, str]:
    with (folder / "users").open("wb") as file:
        status, told = run(folder, ["password", "joe", "--stdin"], file.fileno(), given)
    return status, (folder / "users").read_text(), told


@pytest.mark.parametrize(
    ("given", "password"),
    [
        (b"secret\n", "secret"),
        (b"secret", "secret"),
        (b"secret\r\n", "secret"),
        (b" two words \n", " two words "),
        ("pässword\n".encode(), "pässword"),
    ],
    ids=["line", "without_line_break", "crlf", "blanks", "utf_8"],
)
def test_a_program_can_give_the_password(tmp_path: Path, given: bytes, password: str) -> None:
    status, line, told = printed(tmp_path, given)
    assert (status, told) == (0, "")
    assert line.startswith("joe:$scrypt$")
    users = PasswordFile(tmp_path / "users")
    assert users._hashes["joe"].derived(password) == users._hashes["joe"].key


@pytest.mark.parametrize(
    ("given", "said"),
    [
        (b"", "no password on standard input"),
        (b"\n", "no password on standard input"),
        (b"one\ntwo\n", "no password on standard input: write it as one line"),
        (b"a\0b\n", "no password on standard input"),
        (b"\xff\n", "is not UTF-8"),
        (b"x" * 5000, "no password on standard input"),
    ],
    ids=["nothing", "empty", "two_lines", "zero", "not_utf_8", "too_long"],
)
def test_what_is_no_password_on_standard_input_is_told(tmp_path: Path, given: bytes, said: str) -> None:
    status, line, told = printed(tmp_path, given)
    assert (status, line) == (64, "")
    assert said in told
