"""Readable cases: a sentence, a script, the session it runs in, and all that comes of it.

A file of cases holds blocks like this one. `---` begins a part; `session` and `message` may be missing. Every effect of
the run that can be seen must be in `outcome`, in order; variables if the case is about them.

    === A bare ec_disconnect with no action beside it replies 421.
    --- session
    phase: mailfrom
    from: someone@example.net
    --- script
    ec_disconnect;
    --- outcome
    reply: 421
    close
    ended

A script that does not compile has `diagnostics` instead of `outcome`: the exact text an operator reads.
"""

from __future__ import annotations

import atexit
import re
import shutil
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path

from config.diagnostics import Source, render
from proxy.lists.definition import NoRows, Rows
from proxy.lists.entries import Entry
from proxy.lists.listed import Lists
from proxy.lists.region import Region
from sieve.compile.compiler import compile_script
from sieve.host import ConnectionEnd
from sieve.phases import Phase
from sieve.run.cache import Read, ScriptCache
from sieve.run.runtime import Outcome, Script
from sieve.settings import BounceRules, Rule, ScriptSettings
from tests.sieve.plain_host import PlainHost, PlainMessage

FOLDER = Path(__file__).parent
_PART = re.compile(r"^--- (.+)\n", re.MULTILINE)


@dataclass(frozen=True)
class Case:
    """One case of a file."""

    file: str
    title: str
    parts: dict[str, str]
    session: dict[str, str] = field(default_factory=dict)

    def __str__(self) -> str:
        return f"{self.file}: {self.title}"


def read_cases() -> list[Case]:
    """Return the cases of all files, in the order of writing."""
    found: list[Case] = []
    for path in sorted(FOLDER.glob("*.txt")):
        for block in re.split(r"^=== ", path.read_text(encoding="utf-8"), flags=re.MULTILINE)[1:]:
            title, _, rest = block.partition("\n")
            pieces = _PART.split(rest)
            parts = dict(zip(pieces[1::2], pieces[2::2], strict=True))
            session = dict(
                line.split(": ", 1) if ": " in line else (line.rstrip(":"), "")
                for line in parts.get("session", "").strip().splitlines()
            )
            found.append(Case(path.stem, title, parts, session))
    return found


def compiled(case: Case) -> tuple[Script | None, str]:
    """Compile a case's script; return it and the diagnostics as an operator reads them."""
    session = case.session
    settings = ScriptSettings(
        default_comparator=session.get("comparator", "i;octet"),
        runtime_error="continue" if session.get("runtime_error") == "continue" else "fail",
        fileinto_header=session.get("fileinto_header", ""),
    )
    result = compile_script(
        Source("case.siv", case.parts["script"].rstrip("\n").replace("FOLDER", str(folder_of_lists(case)))),
        phase=Phase(session.get("phase", "data")),
        modules=frozenset(session.get("modules", "smtp_cbv").split()),
        settings=settings,
        includes=ScriptCache(_included(case)),
        dialect="rfc5228" if session.get("dialect") == "rfc5228" else "sieve++",
    )
    return result.script, render(result.diagnostics)


def _ended(message: str) -> str:
    """Return a message without the line break that ends its part; a header section alone keeps its empty line."""
    return message if message.endswith("\n\n") else message.removesuffix("\n")


def _included(case: Case) -> Read:
    """Return what reads the scripts that the case's `file NAME` parts hold."""

    async def read(uri: str, _arguments: tuple[str, ...]) -> str:
        text = case.parts.get(f"file {uri}")
        if text is None:
            raise FileNotFoundError(2, "No such file or directory")
        return text.rstrip("\n")

    return read


def host_of(case: Case) -> PlainHost:
    """Return the world that the case's script runs in."""
    session = case.session
    message = case.parts.get("message")
    host = PlainHost(
        sender=session.get("from", "a@sender.example"),
        recipients=tuple(session.get("to", "r@example.com").split()),
        message=PlainMessage(_ended(message)) if message is not None else None,
        verdict=session.get("callback", "pass"),
    )
    host.all_lists = Lists(folder_of_lists(case), rows=_rows(case), region=Region())
    host.all_lists.declared = session.get("lists", "").split()
    host.rules = _rules(session)
    total, free, used = map(int, session.get("space", "1000 250 75").split())
    host.space = total, free, used
    region = host.all_lists.region
    entries = [(key.removeprefix("entry "), *value.split(" ", 1)) for key, value in session.items() if "entry " in key]
    region.write([Entry(name, network, 0.0, reason, "somebody", 0.0) for name, network, reason in entries])
    if "client" in session:
        host.connection.client = ConnectionEnd(session["client"], 40025)
    for key, value in session.items():
        for prefix, dictionary in (
            ("conn ", host.vctx_conn),
            ("mess ", host.vctx_mess),
            ("dns ", host.zone),
            ("option ", host.options),
            ("ds ", host.tables),
        ):
            if key.startswith(prefix):
                dictionary[key.removeprefix(prefix)] = value
    return host


def _rules(session: Mapping[str, str]) -> BounceRules:
    """Return the rules of `answer DOMAIN: CODE TEXT`, `note CODE: TEXT` and `class CODE: TEXT`."""
    answers, notes, classes = [], [], {}
    for key, value in session.items():
        word, _, name = key.partition(" ")
        if word == "answer":
            code, text = value.split(" ", 1)
            answers.append(Rule(int(code), text, name))
        elif word == "note":
            notes.append(Rule(int(name), value))
        elif word == "class":
            classes[int(name)] = value
    return BounceRules(answers, notes, classes)


@cache
def _folder() -> Path:
    """Return this process's folder for lists, which goes with it."""
    folder = Path(tempfile.mkdtemp(prefix="ringback-cases-"))
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    return folder


def folder_of_lists(case: Case) -> Path:
    """Return the folder where a case's lists are made, and into which its `list NAME` parts are written."""
    folder = _folder()
    for name, text in case.parts.items():
        if name.startswith("list "):
            (folder / name.removeprefix("list ")).write_text(text)
    return folder


def _rows(case: Case) -> Rows:
    """Return what answers a query with the case's `rows QUERY` part: the names of the columns, then a row each line."""

    async def rows(_cache: str, query: str) -> tuple[list[str], list[list[str]]]:
        text = case.parts.get(f"rows {query}")
        if text is None:
            raise NoRows("no such table")
        names, *lines = [line.split() for line in text.strip().splitlines()]
        return names, lines

    return rows


def shown(outcome: Outcome, host: PlainHost, wanted: str) -> str:
    """Return what came of a run, a line each, with the variables that `wanted` speaks of."""
    lines = list(host.done)
    if outcome.code != 250 or outcome.text:
        first, *more = outcome.text.split("\n")
        lines += [f"reply: {outcome.code} {first}".rstrip(), *(f"       {line}" for line in more)]
    lines += [name for name in ("close", "discard", "ended", "failed") if getattr(outcome, name)]
    for name in re.findall(r"^\$(\w+) =", wanted, re.MULTILINE):
        lines.append(f"${name} = {outcome.variables.get(name, 'unset')!r}")
    return "\n".join(lines)
