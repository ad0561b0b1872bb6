"""Man pages: one for each command, that groff formats without a warning, with every option."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest

from proxy.cli.grammar.man import pages
from proxy.cli.grammar.statuses import STATUSES
from proxy.cli.grammar.tree import Command, Parameter

MAN = Path(__file__).parents[3] / "docs/man"


def formatted(page: str) -> str:
    """Return a page as `man` shows it on a wide terminal."""
    done = subprocess.run(
        ["groff", "-ww", "-man", "-Tutf8", "-P-c", "-P-b", "-P-u", "-rLL=500n"],
        input=page.encode("ascii"),
        capture_output=True,
        check=True,
        timeout=60,
    )
    assert done.stderr == b""
    return done.stdout.decode()


@pytest.mark.real("groff")
def test_every_page_is_formatted_without_warnings_and_has_every_option(root: Command) -> None:
    written = pages(root)
    for top in (each for each in root.children if not each.hidden):
        text = formatted(written[f"ringback-{top.path[-1]}.1"])
        for command in top.all():
            assert command.name in text
            for parameter in (*command.arguments, *command.options):
                assert parameter.label in text
                assert parameter.help.replace("`", "") in text


@pytest.mark.real("groff")
def test_the_first_page_lists_commands_and_exit_statuses(root: Command) -> None:
    text = formatted(pages(root)["ringback.1"])
    for each in root.children:
        assert each.hidden or (f"ringback-{each.path[-1]}(1)" in text and each.summary.replace("`", "") in text)
    assert [each.meaning for each in STATUSES if f"{each.meaning}.".replace("`", "") not in text] == []


@pytest.mark.real("man")
def test_man_shows_the_shipped_pages_without_warnings() -> None:
    for path in sorted(MAN.iterdir()):
        done = subprocess.run(
            ["man", "--warnings=w", "-l", path],
            capture_output=True,
            env={**os.environ, "MANPAGER": "cat", "MANWIDTH": "60"},
            check=True,
            timeout=60,
        )
        assert done.stderr == b""
        assert done.stdout


@pytest.mark.real("groff")
@pytest.mark.parametrize("text", [".TH x", "'sp 3", "a\\fBb\\n(xx", "--a-b ~^", "caf\u00e9 \u2192", "\\", "a\\\\b"])
def test_text_that_looks_like_a_macro_is_shown_as_it_is(text: str) -> None:
    option = Parameter(("--x",), "X", text)
    command = Command(("ringback",), (text,), (), (option,), (Command(("ringback", "sub"), (text,), (), ()),))
    assert formatted(pages(command)["ringback.1"]).count(text) >= 2
