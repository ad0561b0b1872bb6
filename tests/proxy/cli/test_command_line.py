"""What is wrong with a command line: said in the house's form, with what to write, and escaped."""

from __future__ import annotations

from pathlib import Path

import pytest
from typer.testing import CliRunner

from proxy.cli import application, exits
from proxy.cli.grammar.statuses import STATUSES
from proxy.cli.grammar.tree import Command, Parameter

HOSTILE = "x\x1b[31m\x07\u202e\x9b2J\r[bold]"


def ringback(*arguments: str) -> tuple[int, str, str]:
    result = CliRunner().invoke(application, arguments, input="", env={"COLUMNS": "80"})
    assert result.exception is None or isinstance(result.exception, SystemExit), result.exception
    return result.exit_code, result.stdout, result.stderr


def wrong(*arguments: str) -> str:
    status, out, err = ringback(*arguments)
    assert (status, out) == (2, "")
    return err


def typed(command: Command, root: Command, value: str) -> list[str]:
    """Return a command line with a value for all that is required, on the way to the command too."""
    words, at = [], root
    for name in command.path[1:]:
        at = next(each for each in at.children if each.path[-1] == name)
        words += [name, *(word for each in at.options if each.required for word in (each.names[0], value))]
    return words + [each.choices[0] if each.choices else value for each in command.arguments]


# ---------------------------------------------------------------- every command


def test_a_mistyped_command_is_told_with_the_right_one(command: Command, root: Command) -> None:
    if command is root:
        return
    above = next(each for each in root.all() if each.path == command.path[:-1])
    err = wrong(*typed(above, root, "x"), f"{command.path[-1]}x")
    assert err.startswith(f"error: unknown command `{command.path[-1]}x`\n  hint: did you mean ")
    assert f"did you mean {command.path[-1]}?" in err
    assert f"Usage: {above.usage}\n" in err


def test_a_mistyped_option_is_told_with_the_right_one(command: Command, root: Command) -> None:
    for option in command.options:
        name = max(option.names, key=len)
        err = wrong(*typed(command, root, "x"), f"{name}x") if not command.children else wrong(
            *command.path[1:], f"{name}x", "x"
        )  # fmt: skip
        assert err == (f"error: unknown option `{name}x`\n  hint: did you mean {name}?\nUsage: {command.usage}\n")


def test_what_is_missing_is_named(leaf: Command, root: Command) -> None:
    required: list[Parameter] = [each for each in (*leaf.arguments, *leaf.options) if each.required]
    if not required:
        return
    line = typed(leaf, root, "x")
    err = wrong(*line[: line.index(leaf.path[-1]) + 1])
    assert any(err.startswith(f"error: the {kind} {each.label} is missing\n")
               for each in required for kind in ("option", "argument"))  # fmt: skip
    assert f"Usage: {leaf.usage}\n" in err


def test_a_value_that_is_no_choice_or_number_is_told_with_what_is(leaf: Command, root: Command) -> None:
    for option in leaf.options:
        if not option.choices and option.metavar != "NUMBER":
            continue
        err = wrong(*typed(leaf, root, "x"), option.names[-1], "zzz")
        assert err.startswith(f"error: `zzz` is not a value of {option.names[-1]}\n  hint: write ")
        assert (option.bounds or ", ".join(option.choices)) in err


def test_an_option_without_its_value_is_told(leaf: Command, root: Command) -> None:
    for option in leaf.options:
        name = option.names[-1]
        if option.metavar:
            err = wrong(*typed(leaf, root, "x"), name)
            assert err.startswith(f"error: the option {name} has no value\n  hint: write {name} {option.metavar}\n")
        else:
            assert wrong(*typed(leaf, root, "x"), f"{name}=x").startswith(f"error: `{name}` takes no value\n")


def test_nothing_on_a_command_line_reaches_the_terminal_unescaped(
    leaf: Command, root: Command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    lines = [typed(leaf, root, HOSTILE)] if leaf.arguments or leaf.options else []
    lines += [[*lines[0], each.names[-1], HOSTILE] for each in leaf.options if each.metavar]
    lines += [[*lines[0], HOSTILE] for _ in lines[:1]]
    lines.append([*leaf.path[1:-1], HOSTILE])
    lines.append([*typed(leaf, root, "x"), f"--{HOSTILE}"])
    for line in lines:
        if tuple(line) == leaf.path[1:]:  # with nothing wrong, `demo` serves
            continue
        _, out, err = ringback(*line)
        assert [char for char in out + err if not char.isprintable() and char != "\n"] == [], line


# ---------------------------------------------------------------- by example


@pytest.mark.parametrize(
    ("line", "error", "hint"),
    [
        ("frobnicate", "unknown command `frobnicate`", "the commands are: serve, check,"),
        ("lookup", "unknown command `lookup`", "did you mean `ringback cache lookup`?"),
        ("chek x", "unknown command `chek`", "did you mean check?"),
        ("reload", "unknown command `reload`", "write `systemctl reload ringback`, or send SIGHUP"),
        ("mailq", "unknown command `mailq`", "there is no queue of clients' mail; `ringback console list sessions`"),
        ("cache -c x reload", "unknown command `reload`", "the commands are: lookup, count, purge"),
        ("cache -c x", "`ringback cache` needs a command", "write one of: lookup, count, purge"),
        ("check a b c", "unexpected `b c`", "quote an argument that contains blanks"),
        ("sieve run --phase mailfom x", "`mailfom` is not a value of --phase", "did you mean mailfrom? It takes one"),
        ("probe a@b.test --concurrency 0", "`0` is not a value of --concurrency", "write a number from 1 to 100"),
        ("probe", "missing argument 'ADDRESS...', or --file", "`ringback probe --help` describes it"),
    ],
)
def test_an_error_says_what_is_wrong_and_what_to_write(line: str, error: str, hint: str) -> None:
    first, second, usage = wrong(*line.split()).splitlines()
    assert first == f"error: {error}"
    assert second.startswith(f"  hint: {hint}")
    assert usage.startswith("Usage: ringback")


def test_the_end_of_input_at_a_question_is_no_traceback() -> None:
    status, _, err = ringback("password", "joe")
    assert status == 1
    assert err.endswith("error: stopped; nothing was done\n")


# ---------------------------------------------------------------- exit statuses


def test_every_exit_status_is_in_the_table() -> None:
    numbers = {value for name, value in vars(exits).items() if name.isupper() and isinstance(value, int)}
    assert numbers <= {each.number for each in STATUSES}


def test_the_table_names_commands_that_there_are(root: Command) -> None:
    names = {" ".join(each.path[1:]) for each in root.all()} | {"docs"}
    assert {name for each in STATUSES for name in each.commands} <= names
    assert [each.number for each in STATUSES] == sorted(each.number for each in STATUSES)
