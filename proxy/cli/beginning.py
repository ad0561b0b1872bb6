"""`ringback config init`: ask what a first configuration needs, and write it."""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from textwrap import shorten
from typing import Annotated, NoReturn

import typer

from config.diagnostics import has_errors
from proxy.app import tried
from proxy.cli import exits
from proxy.demo.world import shipped_configuration
from proxy.options.core import CoreOptions
from proxy.options.inbound import own_name
from proxy.setup import errors
from proxy.setup.answers import NOBODY, OWN_ADDRESS, QUESTIONS, TRIAL_ADDRESS, Answers, Found, Question, Wrong
from proxy.setup.sources import read_found
from proxy.setup.tables import Absent
from proxy.setup.writing import SCRIPT, STATE, text_of


def init(
    path: Annotated[Path, typer.Argument(help="The file to write.")] = Path("/etc/ringback/ecelerity.conf"),
    *,
    domains: Annotated[list[str] | None, typer.Option("--domains", help="Domains that you accept mail for.")] = None,
    next_hop: Annotated[
        str, typer.Option("--next-hop", help="Your mail server: `host`, `host:port` or `unix:/path`.")
    ] = "",
    hostname: Annotated[str, typer.Option("--hostname", help="This machine's name.")] = "",
    listen: Annotated[list[str] | None, typer.Option("--listen", help="Addresses and ports to listen on.")] = None,
    networks: Annotated[
        list[str] | None,
        typer.Option("--networks", help="Networks of your own clients, which may send to any domain, or `none`."),
    ] = None,
    source: Annotated[
        Path | None,
        typer.Option("--from", help="A Postfix main.cf or an Exim configuration that has some of the answers."),
    ] = None,
    force: Annotated[bool, typer.Option("--force", help="Replace the file; the old one is kept as FILE.old.")] = False,
) -> None:
    """Ask five questions, and write a first configuration, in shadow mode: no sender is refused.

    A flag answers its question. Answers from `--from` become the defaults; if input ends, the defaults are used.
    """
    if os.path.isdir(path) or (os.path.exists(path) and not force):  # noqa: PTH110, PTH112 - a Path fails if too long
        _refuse(errors.exists(str(path)), exits.CANNOT_CREATE)
    given = {
        "domains": " ".join(domains or ()),
        "next_hop": next_hop,
        "hostname": hostname,
        "listen": " ".join(listen or ()),
        "networks": " ".join(networks or ()),
    }
    found = _read(source) if source else Found("")
    answers = _answered(given, found)
    if not _serves_by_default():
        answers = replace(answers, state=STATE)
    _write(path, answers)
    _tell(path, answers)


def _read(source: Path) -> Found:
    try:
        return read_found(source, own_name())
    except Absent as absent:
        _refuse(str(absent), exits.NO_INPUT)


def _answered(given: Mapping[str, str], found: Found) -> Answers:
    """Return the five answers, from flags, or asked for."""
    defaults = {
        "domains": " ".join(found.domains),
        "next_hop": found.next_hop or OWN_ADDRESS,
        "hostname": found.hostname or (own_name() if not given["hostname"] else ""),
        "listen": TRIAL_ADDRESS,
        "networks": " ".join(found.networks) or NOBODY,
    }
    got: dict[str, tuple[str, ...]] = {}
    for question in QUESTIONS:
        text = given[question.name]
        got[question.name] = _of_flag(question, text) if text else _asked(question, defaults[question.name])
    return Answers(
        domains=got["domains"],
        next_hop=got["next_hop"][0],
        hostname=got["hostname"][0],
        listen=got["listen"],
        networks=got["networks"],
        found=found,
    )


def _of_flag(question: Question, text: str) -> tuple[str, ...]:
    try:
        return question.read(text)
    except Wrong as wrong:
        _refuse(f"{question.flag}: {wrong}", exits.USAGE)


def _asked(question: Question, default: str) -> tuple[str, ...]:
    """Ask until the answer is valid. An empty answer, or the end of input, means the default."""
    while True:
        shown = f"{question.text} [{shorten(default, 60)}]: " if default else f"{question.text}: "
        sys.stderr.write(exits.harmless(shown))  # the answer is on the same line
        sys.stderr.flush()
        line = sys.stdin.readline()
        if not line:
            exits.say("", err=True)
            if not default:
                _refuse(errors.nothing_given(question.text, question.flag), exits.USAGE)
            return _of_flag(question, default)
        try:
            return question.read(line.strip() or default)
        except Wrong as wrong:
            exits.say(f"  {wrong}", err=True)


def _serves_by_default() -> bool:
    """Tell whether a service of this user could keep its state where it usually is."""
    return os.geteuid() == 0 or os.access(CoreOptions.model_fields["state_directory"].default, os.W_OK)


def _write(path: Path, answers: Answers) -> None:
    """Write the file under another name, check it, and put it in its place. The script is left if it is there."""
    script, new = path.parent / SCRIPT, path.with_name(f"{path.name}.new")
    try:
        script.parent.mkdir(parents=True, exist_ok=True)
        if not script.exists():
            script.write_bytes((shipped_configuration().parent / SCRIPT).read_bytes())
        if answers.state:
            (path.parent / answers.state).mkdir(mode=0o700, exist_ok=True)
        new.write_text(text_of(answers, str(path)), encoding="utf-8")
        found = tried(new)
        exits.show(found)
        if has_errors(found):
            raise typer.Exit(exits.CONFIGURATION)
        if path.exists():
            path.replace(path.with_name(f"{path.name}.old"))
        new.replace(path)
    except OSError as error:
        _refuse(errors.cannot_write(error.filename or str(path), error.strerror or str(error)), exits.CANNOT_CREATE)
    finally:
        with suppress(OSError):
            new.unlink(missing_ok=True)


def _tell(path: Path, answers: Answers) -> None:
    exits.say(f"wrote {path}, and {SCRIPT} next to it")
    for note in answers.found.notes:
        exits.say(f"note: {note}")
    exits.say("It is in shadow mode: senders are verified, and the answers are only logged.")
    exits.say(f"next:  ringback check {path}")
    exits.say(f"       ringback serve -c {path}")


def _refuse(why: str, status: int) -> NoReturn:
    exits.say(why, err=True)
    raise typer.Exit(status)
