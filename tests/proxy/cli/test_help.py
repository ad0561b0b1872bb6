"""Help of every command: at any width, on a terminal or not, by -h and --help."""

from __future__ import annotations

import fcntl
import os
import pty
import struct
import subprocess
import sys
import termios
from importlib.metadata import version
from pathlib import Path

import pytest
from typer.testing import CliRunner

from proxy.cli import application
from proxy.cli.grammar.help import rendered
from proxy.cli.grammar.tree import Command, Parameter

ROOT = Path(__file__).parents[3]


def ringback(*arguments: str, columns: int = 80) -> tuple[int, str, str]:
    result = CliRunner().invoke(application, arguments, env={"COLUMNS": str(columns), "NO_COLOR": "1"})
    assert result.exception is None or isinstance(result.exception, SystemExit), result.exception
    return result.exit_code, result.stdout, result.stderr


def words_of(command: Command) -> set[str]:
    """Return every word that help of a command may show."""

    def of(parameter: Parameter) -> list[str]:
        return [parameter.label, parameter.help, *parameter.notes]

    texts = [command.usage, *command.paragraphs, "Usage: Arguments: Options: Commands:"]
    texts += [text for each in (*command.arguments, *command.options) for text in of(each)]
    texts += [f"{each.path[-1]} {each.summary}." for each in command.children if not each.hidden]
    return set(" ".join([*texts, "-h, --help Show this help and exit."]).split())


@pytest.mark.parametrize("columns", [200, 80, 60, 40])
def test_no_word_is_broken_and_no_line_is_too_long(command: Command, columns: int) -> None:
    text = rendered(command, columns)
    assert [word for word in text.split() if word not in words_of(command)] == []
    longest = max(len(word) for word in words_of(command)) + 6
    assert [line for line in text.splitlines() if len(line) > max(columns, longest)] == []
    assert [line for line in text.splitlines() if line != line.rstrip()] == []


def test_nothing_that_was_declared_is_missing_at_60_columns(command: Command) -> None:
    assert words_of(command) - set(rendered(command, 60).split()) <= {"Arguments:", "Options:", "Commands:"}


@pytest.mark.parametrize("columns", [80, 60])
def test_h_and_help_are_the_same_and_need_nothing_else(command: Command, columns: int) -> None:
    told = ringback(*command.path[1:], "--help", columns=columns)
    assert told == (0, rendered(command, columns) + "\n", "")
    assert ringback(*command.path[1:], "-h", columns=columns) == told


def test_a_flag_is_shown_without_a_type(command: Command) -> None:
    text = rendered(command, 80)
    assert "<" not in text
    assert "bool" not in text.lower()
    assert all(each.help.endswith((".", ")")) or not each.help for each in (*command.arguments, *command.options))


def test_a_group_without_a_command_shows_its_help_as_an_error(command: Command) -> None:
    required = [word for each in command.options if each.required for word in (each.names[0], "x")]
    if command.children and not required:
        assert ringback(*command.path[1:]) == (2, "", rendered(command, 80) + "\n")


def test_the_version_is_that_of_the_package() -> None:
    assert ringback("--version") == (0, f"ringback {version('ringback')}\n", "")


# ---------------------------------------------------------------- on a terminal

PROBE = """\
ESMTP_Listener = ( 127.0.0.1:0 )
Hostname = "mx.test"
Gateway = "192.0.2.1"
smtp_cbv passive { store = memory map = [ b.invalid = "127.0.0.1" ] port = 1 }
"""


def on_a_terminal(folder: Path, *arguments: str, columns: int = 80, **environment: str) -> str:
    """Run a command on a terminal of this width; return what it shows."""
    reading, terminal = pty.openpty()
    fcntl.ioctl(terminal, termios.TIOCSWINSZ, struct.pack("HHHH", 24, columns, 0, 0))
    inherited = {name: value for name, value in os.environ.items() if name not in {"COLUMNS", "LINES", "NO_COLOR"}}
    with subprocess.Popen(
        [sys.executable, "-m", "proxy.cli", *arguments],
        cwd=folder,
        stdin=terminal,
        stdout=terminal,
        stderr=terminal,
        env={**inherited, "TERM": "xterm-256color", "PYTHONPATH": str(ROOT), **environment},
    ):
        os.close(terminal)
        shown = b""
        try:
            while octets := os.read(reading, 4096):
                shown += octets
        except OSError:  # the other end was closed
            pass
    os.close(reading)
    return shown.decode()


def test_help_fits_the_terminal(tmp_path: Path, root: Command) -> None:
    shown = on_a_terminal(tmp_path, "--help", columns=60).replace("\r\n", "\n")
    assert "\x1b[1mUsage:" in shown
    assert shown.replace("\x1b[1m", "").replace("\x1b[0m", "") == rendered(root, 60) + "\n"


@pytest.mark.parametrize(
    ("environment", "coloured"), [({}, True), ({"NO_COLOR": "1"}, False), ({"TERM": "dumb"}, False)]
)
def test_colours_are_for_terminals_whose_user_wants_them(
    tmp_path: Path, environment: dict[str, str], *, coloured: bool
) -> None:
    (tmp_path / "r.conf").write_text(PROBE)
    shown = on_a_terminal(tmp_path, "probe", "a@b.invalid", "-c", "r.conf", **environment)
    assert "transient" in shown
    colours = [f"\x1b[{number}m" for number in range(31, 37)] + ["\x1b[1;33m"]
    assert any(each in shown for each in colours) is coloured


def test_a_file_is_harmless_on_a_terminal_and_exact_in_a_pipe(tmp_path: Path) -> None:
    (tmp_path / "r.conf").write_text('Hostname = "a.test" # \u202e\x1b[31m\n')
    shown = on_a_terminal(tmp_path, "config", "format", "r.conf")
    assert "\\u202e" in shown or "error" in shown
    assert "\x1b[31m" not in shown
