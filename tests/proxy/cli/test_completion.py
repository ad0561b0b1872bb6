"""Completion in the shells themselves: after every command its words, after every option its values."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest
from typer.testing import CliRunner

from proxy.cli import application
from proxy.cli.grammar.shells import SCRIPTS
from proxy.cli.grammar.tree import Command

DOCS = Path(__file__).parents[3] / "docs/completion"
FILES = {"bash": "ringback.bash", "zsh": "_ringback", "fish": "ringback.fish"}

_BASH = """\
source {script}
compopt() {{ echo FILES; }}
while IFS= read -r line; do
    read -ra COMP_WORDS <<<"$line"
    [[ $line == *' ' ]] && COMP_WORDS+=('')
    COMP_CWORD=$((${{#COMP_WORDS[@]}} - 1))
    COMPREPLY=()
    echo "> $line"
    _ringback
    ((${{#COMPREPLY[@]}})) && printf '%s\\n' "${{COMPREPLY[@]}}"
done
true
"""
_ZSH = """\
compdef() {{ :; }}
source {script}
_describe() {{ local each; for each in ${{(P)@[-1]}}; do print -r -- ${{each%%:*}}; done }}
compadd() {{ shift; print -rl -- "$@"; }}
_files() {{ print FILES; }}
while IFS= read -r line; do
    words=(${{=line}})
    [[ $line == *' ' ]] && words+=('')
    CURRENT=$#words
    print -r -- "> $line"
    _ringback
done
true
"""
_FISH = """\
source {script}
while read -l --delimiter '' line
    echo "> $line"
    complete -C "$line" | string replace -r '\\t.*' ''
end
true
"""
_RUN = {"bash": ("bash", "--norc", "-c"), "zsh": ("zsh", "-f", "-c"), "fish": ("fish", "--no-config", "-c")}
_PROGRAM = {"bash": _BASH, "zsh": _ZSH, "fish": _FISH}
SHELLS = [pytest.param(each, marks=pytest.mark.real(each)) for each in _RUN]


def completed(shell: str, lines: list[str], folder: Path) -> list[set[str]]:
    """Return what the shell offers at the end of each line."""
    done = subprocess.run(
        [*_RUN[shell], _PROGRAM[shell].format(script=DOCS / FILES[shell])],
        input="".join(f"{line}\n" for line in lines),
        capture_output=True,
        cwd=folder,
        env={"HOME": str(folder), "PATH": "/usr/bin:/bin", "LC_ALL": "C.UTF-8"},
        text=True,
        check=False,
        timeout=120,
    )
    assert (done.returncode, done.stderr) == (0, ""), (done.returncode, done.stderr)
    parts = done.stdout.split("> ")[1:]
    assert [part.split("\n")[0].rstrip() for part in parts] == [line.rstrip() for line in lines]
    return [{word.rstrip() for word in part.split("\n")[1:] if word} for part in parts]


@pytest.mark.parametrize("shell", SHELLS)
def test_after_a_command_come_its_commands_and_options(shell: str, root: Command, tmp_path: Path) -> None:
    every = list(root.all())
    bare = completed(shell, [f"{each.name} " for each in every], tmp_path)
    dashed = completed(shell, [f"{each.name} --" for each in every], tmp_path)
    for command, words, options in zip(every, bare, dashed, strict=True):
        wanted = {each.path[-1] for each in command.children if not each.hidden}
        assert wanted <= words, command.name
        assert {name for each in command.options for name in each.names if name.startswith("--")} <= options
        assert "--help" in options


@pytest.mark.parametrize("shell", SHELLS)
def test_after_an_option_come_its_values_or_files_or_nothing(shell: str, root: Command, tmp_path: Path) -> None:
    (tmp_path / "here.txt").touch()
    cases = [(each.name, option) for each in root.all() for option in each.options if option.metavar]
    found = completed(shell, [f"{name} {option.names[-1]} " for name, option in cases], tmp_path)
    for (name, option), words in zip(cases, found, strict=True):
        if option.choices:
            assert words == set(option.choices), (name, option)
        else:
            assert bool(words & {"FILES", "here.txt"}) is option.is_path, (name, option, words)


@pytest.mark.parametrize("shell", SHELLS)
def test_a_value_that_is_the_name_of_a_command_is_not_taken_for_it(shell: str, tmp_path: Path) -> None:
    lines = ["ringback cache -c lookup ", "ringback cache -c count pur", "ringback ser"]
    group, begun, first = completed(shell, lines, tmp_path)
    assert {"lookup", "count", "purge"} <= group
    assert "purge" in begun
    assert "serve" in first


def test_the_command_prints_the_shipped_script(root: Command) -> None:
    for shell, name in FILES.items():
        result = CliRunner().invoke(application, ["completion", shell])
        assert (result.exit_code, result.stdout) == (0, (DOCS / name).read_text())
        assert result.stdout == SCRIPTS[shell](root)
