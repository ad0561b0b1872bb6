"""Commands are found by any unique beginning of their words, and their arguments are counted."""

from __future__ import annotations

import ast
import time
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest

from proxy.console.commands import all_commands
from proxy.console.errors import Refused
from proxy.console.people import Doorman, Peer, Person, Role
from proxy.console.registry import Call, Command, Commands
from proxy.console.results import Result, shown
from proxy.options.console import RoleRules

PAGE = Path(__file__).parents[3] / "docs" / "console.md"


def table() -> Commands:
    served = SimpleNamespace(began=time.time(), processes=None)
    return all_commands(cast(Any, served), running=cast(Any, SimpleNamespace()))


@pytest.mark.parametrize(
    ("line", "words", "arguments"),
    [
        ("summary", "summary", ()),
        ("summary reset", "summary reset", ()),
        ("SUMM", "summary", ()),
        ("li se", "list sessions", ()),
        ("list sessions 192.0.2.0/24", "list sessions", ("192.0.2.0/24",)),
        ("session abc", "session", ("abc",)),
        ("smtp in fl", "smtp_cbv in flight", ()),
        ("upstreams", "upstreams", ()),
        ("up dr mx1:25", "upstreams drain", ("mx1:25",)),
        ("sieve:sieve1 stats", "sieve stats", ()),
        ("log-level debug for 5 minutes", "log-level", ("debug", "for", "5", "minutes")),
        ('sieve test mailfrom "a b" c', "sieve test", ("mailfrom", "a b", "c")),
        ("dns flush", "dns flush", ()),
    ],
)
def test_a_line_means_a_command(line: str, words: str, arguments: tuple[str, ...]) -> None:
    found = table().find(line)
    assert (found.command.words, found.arguments) == (words, arguments)


@pytest.mark.parametrize(
    ("line", "why"),
    [
        ("bogus", "bogus command not understood. Type help for the commands."),
        ("sumary", "sumary command not understood. Did you mean summary or summary reset?"),
        ("c", "c may be cache stats, cidrdb list"),
        ("session", "usage: session ID"),
        ("pid 7", "usage: pid"),
        ('session "a', "the quotes are not closed"),
        ("'' x", "command not understood"),
        ("kill session 1 2", "usage: kill session ID|CIDR"),
    ],
)
def test_what_means_none_says_why(line: str, why: str) -> None:
    with pytest.raises(Refused, match=r".*") as refused:
        table().find(line)
    assert why in str(refused.value)


def _asked(folder: Path) -> set[str]:
    """Return the questions in literal calls of `ask` and `change`, and in those of a command's own helpers."""
    found = set()
    for path in folder.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            name = node.func.attr if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) else ""
            if isinstance(node, ast.Call) and name in {"ask", "_ask", "_one", "change"}:
                words = [each.value for each in node.args if isinstance(each, ast.Constant)]
                found |= {str(words[-1])} if words else set()
    return found


def test_every_question_is_answered_in_a_room() -> None:
    keys = {
        key.value
        for path in (PAGE.parents[1] / "proxy" / "server" / "rooms").glob("*.py")
        for node in ast.walk(ast.parse(path.read_text())) if isinstance(node, ast.Dict)
        for key in node.keys if isinstance(key, ast.Constant)
    }  # fmt: skip
    asked = _asked(PAGE.parents[1] / "proxy" / "console") | _asked(PAGE.parents[1] / "proxy" / "page")
    assert len(asked) > 30
    assert sorted(asked - keys) == [], "answer it in a file of proxy/server/rooms"


def test_the_page_has_every_command_with_its_role_and_help() -> None:
    page = PAGE.read_text(encoding="utf-8")
    rows = {
        f"| `{each.usage.replace('|', chr(92) + '|')}` | {each.role.name.lower()} | {each.help} |" for each in table()
    }
    assert {row for row in rows if row not in page} == set()


def test_two_commands_may_not_have_the_same_words() -> None:
    async def nothing(_call: Call) -> Result:
        return Result(None)

    with pytest.raises(ValueError, match="two commands"):
        Commands([Command("a", "", nothing), Command("a", "", nothing)])


def test_every_byte_of_mail_is_escaped_and_our_own_tables_stay_as_they_are() -> None:
    hostile = "a\x1b[31m\u202e\x07\udc80é\nb"
    result = Result([{"sender": hostile, "n": 1}])
    assert result.lines[0] == "SENDER" + " " * (len(result.lines[1]) - len("SENDER") - 1) + "N"
    assert all(line.isascii() and line.isprintable() for line in [*result.lines, shown(hostile)])
    assert Result(hostile).lines[-1] == "b" or len(Result(hostile).lines) == 1


# ---------------------------------------------------------------- who may

RULES = (RoleRules("anna", ("^summary$",)), RoleRules("support", ("^list ",)), RoleRules("@ops", (".*",)))


def test_without_a_stanza_root_and_the_owner_are_admin_and_the_group_operates() -> None:
    doorman = Doorman(owner=1000, group=2000)
    assert doorman.person(Peer(1, 0, frozenset())) == Person("root", Role.ADMIN)
    owner = doorman.person(Peer(1, 1000, frozenset({1000})))
    assert owner is not None
    assert owner.role is Role.ADMIN
    member = doorman.person(Peer(1, 1001, frozenset({1001, 2000})))
    assert member is not None
    assert member.may("upstreams drain x", Role.OPERATE)
    assert not member.may("shutdown", Role.ADMIN)
    assert doorman.person(Peer(1, 1001, frozenset({1001}))) is None


def test_with_a_stanza_only_its_patterns_decide_and_it_lets_nobody_in_whom_the_group_does_not(tmp_path: Path) -> None:
    roles = tmp_path / "roles"
    roles.write_text("support:root,bob\nother:x:carol\n")
    doorman = Doorman(RULES, (str(roles), "/nowhere"), owner=1000, group=2000)
    root = doorman.person(Peer(1, 0, frozenset()))
    assert root is not None
    assert root.may("list sessions", Role.READ)
    assert not root.may("summary", Role.READ)
    assert not root.may("shutdown", Role.ADMIN)
    assert doorman.person(Peer(1, 4321, frozenset())) is None


def test_help_has_no_escapes_and_fits_beside_its_commands() -> None:
    for each in table().meant_by(""):
        line = shown(f"{each.usage}  {each.help}")
        assert "\\u" not in line, line
