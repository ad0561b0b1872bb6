"""No page promises what is not there: commands, flags, options, files, links, and what belongs to other servers."""

from __future__ import annotations

import re
import subprocess
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import typer

from config.diagnostics import Severity
from proxy.app import rehearsed
from proxy.cli.__main__ import application
from tests.support.exim import Exim
from tests.support.ringback import ROOT

PAGES = sorted([*(ROOT / "docs").glob("*.md"), *ROOT.glob("*.md")])
FROM = ("postfix", "exim", "haraka", "momentum")

_BLOCK = re.compile(r"^```[a-z]*\n(.*?)^```", re.MULTILINE | re.DOTALL)
_CALL = re.compile(r"(?:^|[\s/(])ringback ([a-z-][^\n|&;#)]*)", re.MULTILINE)
_PATH = re.compile(r"(?:^|[\s'\"(])((?:share|etc|packaging|docs|tests|proxy|config|sieve|bench|\.ci)/[\w./*-]*\w)")
_SNAKE = re.compile(r"(?<![\w./@%-])[A-Za-z][A-Za-z0-9]*(?:_[A-Za-z0-9]+)+(?![\w*…]|_\b)")


def _code(page: Path) -> list[str]:
    """Return the code of a page, blocks and spans."""
    text = page.read_text()
    spans = re.findall(r"`([^`]+)`", _BLOCK.sub("", text))
    return [*_BLOCK.findall(text), *(" ".join(each.split()) for each in spans)]


# ---------------------------------------------------------------- what is ours

_TOP = typer.main.get_command(application)


def _commands(command: Any) -> dict[str, Any]:
    found: dict[str, Any] = getattr(command, "commands", {})
    return found


def _flags(command: Any) -> set[str]:
    return {flag for each in command.params for flag in (*each.opts, *each.secondary_opts)} | {"-h", "--help"}


def _mistakes(call: str) -> Iterator[str]:
    """Yield what is wrong with a command line. Options of a group come before its command: `cache -c FILE lookup`."""
    command, flags, words = _TOP, _flags(_TOP), [word.rstrip("\\") for word in call.split()]
    while _commands(command) and words:
        first = words.pop(0)
        if first in _commands(command):
            command = _commands(command)[first]
            flags = _flags(command)
        elif first in flags:
            words = words[command is not _TOP :]
        elif first not in {"COMMAND", "..."} and not first.startswith("["):
            yield f"{first} is not a command: {call}"
    given = [found[1] for word in words if (found := re.match(r"\[?(--?[a-z][a-z-]*)", word))]
    yield from (f"{flag} is not a flag: {call}" for flag in given if flag not in flags)


def test_each_command_of_ours_on_a_page_is_one_with_such_flags() -> None:
    calls = [(page.name, call) for page in PAGES for code in _code(page) for call in _CALL.findall(code)]
    ours = [(page, call) for page, call in calls if not call.startswith(("ringback ", "--volume", "-- "))]
    assert len(ours) > 100
    assert [(page, wrong) for page, call in ours for wrong in _mistakes(call)] == []


def test_a_command_line_that_would_be_refused_is_found() -> None:
    for call in ("cache lookup a@b.example -c FILE", "chekc FILE", "config shwo", "check --jsno FILE", "-q"):
        assert list(_mistakes(call)), call
    for call in ("cache -c FILE lookup a@b.example", "check FILE --json", "config eval", "--version"):
        assert list(_mistakes(call)) == [], call


def test_each_file_of_ours_on_a_page_is_there() -> None:
    named = {(page.name, path) for page in PAGES for code in _code(page) for path in _PATH.findall(code)}
    assert len(named) > 50
    assert [each for each in named if not (ROOT / each[1]).exists() and not list(ROOT.glob(each[1]))] == []


OTHERS = {
    *("smtpd_proxy_filter", "smtpd_upstream_proxy_timeout", "permit_sasl_authenticated", "enable_ipv6"),
    "auth_mechanism",
}
"""Names of Postfix, of compose and of aiosmtpd's handlers on our own pages."""


@cache
def _words_of_the_code() -> frozenset[str]:
    kept = [
        each
        for place in ("proxy", "sieve", "config", "tests", "packaging", ".ci", "etc", "share")
        for each in (ROOT / place).rglob("*")
    ]
    kept += [ROOT / each for each in ("Makefile", "Dockerfile", "docker-compose.yml", "pyproject.toml")]
    text = "\n".join(
        each.read_text(errors="replace") for each in kept if each.is_file() and "__pycache__" not in each.parts
    )
    return frozenset(re.findall(r"[a-z0-9]+(?:_[a-z0-9]+)+", text.lower())) | {each.stem for each in kept}


def _fields_of_the_journal() -> set[str]:
    return {f"ringback_{word}" for word in re.findall(r"\w+", (ROOT / "docs/events.md").read_text())}


def test_each_name_with_an_underscore_on_our_own_pages_is_in_the_code() -> None:
    """Options, events, metrics, fields, functions and variables. Others' names are on the pages about them."""
    theirs = {f"from-{each}.md" for each in FROM} | {"behind-it.md", "momentum.md", "CHANGELOG.md", "decisions.md"}
    named = {
        (page.name, name)
        for page in PAGES
        if page.name not in theirs
        for code in _code(page)
        for name in _SNAKE.findall(code)
    }
    assert len(named) > 500
    known = _words_of_the_code() | _fields_of_the_journal() | OTHERS
    assert sorted(each for each in named if each[1].lower() not in known) == []


def _without_code(page: Path) -> str:
    return re.sub(r"`[^`]+`", "", _BLOCK.sub("", page.read_text()))


def _anchors(page: Path) -> set[str]:
    headings = re.findall(r"^#+ (.+)$", page.read_text(), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


def test_every_link_leads_to_a_file_and_a_heading() -> None:
    wrong = []
    for page in PAGES:
        for link, anchor in re.findall(r"\]\(([^)#:\s]*)(#[^)]*)?\)", _without_code(page)):
            target = (page.parent / link).resolve() if link else page
            if not target.exists() or (anchor and anchor[1:] not in _anchors(target)):
                wrong.append(f"{page.name}: {link}{anchor}")
    assert wrong == []


_CONFIGURATION = re.compile(r"[A-Z]\w+(?: [^\n=]*)?(?: = | ?\{)|[a-z_0-9]+(?: \"\w+\")? \{")
_ELSEWHERE = re.compile(r"cannot read|is not a folder|asks the datasource|is not a datasource's URI")
"""Errors about what a page does not show: a script, a folder, another stanza, and an ellipsis."""


def _configurations(page: Path) -> Iterator[str]:
    """Yield the blocks of a page that are configurations, made whole."""
    for block in _BLOCK.findall(page.read_text()):
        if _CONFIGURATION.match(re.sub(r"^(?:#.*\n|\n)+", "", block)):
            first = [] if "ESMTP_Listener" in block else ["ESMTP_Listener = ( 127.0.0.1:2525 )"]
            next_hop = [] if re.search(r"^\s*(?:Gateway|Routes)\b", block, re.MULTILINE) else ["Gateway = 127.0.0.1"]
            yield "\n".join([*first, *next_hop, block])


def test_each_configuration_on_a_page_is_one_that_check_accepts(tmp_path: Path) -> None:
    found = [(page.name, text) for page in PAGES for text in _configurations(page)]
    assert len(found) > 25
    wrong = []
    for page, text in found:
        (tmp_path / "page.conf").write_text(text)
        errors = [each.message for each in rehearsed(tmp_path / "page.conf", str) if each.severity is Severity.ERROR]
        wrong += [(page, text, each) for each in errors if not _ELSEWHERE.search(each)]
    assert wrong == []


# ---------------------------------------------------------------- what belongs to other servers


def _theirs(page: str) -> set[str]:
    """Return the names in the first column of a page's table of options."""
    text = (ROOT / "docs" / page).read_text().partition(" options and Ringback's\n")[2].partition("\n## ")[0]
    rows = re.findall(r"^\| (.+?) \|", text, re.MULTILINE)
    return {word for row in rows for code in re.findall(r"`([^`]+)`", row) for word in re.findall(r"[a-z]\w+", code)}


@pytest.mark.real("exim4")
def test_each_option_of_exim_on_its_page_is_one() -> None:
    with Exim() as exim:
        (exim.folder / "empty.conf").write_text("begin acl\n")
        command = [str(exim.folder / "exim4"), "-C", str(exim.folder / "empty.conf"), "-bP"]
        done = subprocess.run(command, env=exim.environment, capture_output=True, text=True, check=True)
        options = {line.removeprefix("no_").partition(" ")[0] for line in done.stdout.splitlines()}
        program = set(re.findall(r"[a-z_]{4,}", (exim.folder / "exim4").read_bytes().decode("latin-1")))
    named = _theirs("from-exim.md")
    assert len(named) > 35
    lists = {"local_domains", "relay_to_domains", "relay_from_hosts"}  # of the default configuration
    assert [each for each in named - lists - options if not any(each in one for one in program)] == []
    assert {"callout_negative_expire", "smtp_accept_max_per_host", "hosts_proxy"} <= options & named


def test_each_option_of_momentum_on_its_page_is_in_the_catalogue() -> None:
    catalogue = (ROOT / "docs/momentum.md").read_text().lower()
    assert [each for each in _theirs("from-momentum.md") if each.lower() not in catalogue] == []
