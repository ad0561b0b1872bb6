"""`ringback console` and `ringback tail`: the commands of the running server, from a terminal or a script."""

from __future__ import annotations

import json
import os
import pydoc
import readline
import shlex
import signal
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from pathlib import Path
from shutil import get_terminal_size
from typing import Annotated, Any, NoReturn

import typer

from config.base.sources import read_source
from proxy.app import SCHEMA
from proxy.cli import exits
from proxy.cli.grammar.tree import Prints
from proxy.cli.located import state_directory
from proxy.cli.outputs import EventRecord, ExplainRecord, LostRecord, SaidRecord
from proxy.console.client import Client, Failed, NotAllowed
from proxy.console.places import places
from proxy.console.results import as_json, form_of

DEFAULT_FILE = Path("/etc/ringback/ecelerity.conf")

HISTORY = Path("~/.ringback_history")
_MOST_HISTORY = 1000
_ENDLESS = frozenset({"tail", "trace"})
_FEWEST_WITH_FILE = 5
"""`config set sieve source FILE` is too short to name an option."""
_REFUSED = 1
"""The exit status if the server did not carry a command out."""

ConfigurationFile = Annotated[
    Path, typer.Option("--config", "-c", help="The server's ecelerity.conf; it names State_Directory.")
]
Reason = Annotated[str, typer.Option("--reason", "-r", help="Why, for the log.", show_default=False)]


def console(
    words: Annotated[list[str] | None, typer.Argument(metavar="[COMMAND…]", show_default=False)] = None,
    *,
    config_file: ConfigurationFile = DEFAULT_FILE,
    reason: Reason = "",
) -> None:
    """Give commands to the running server: one as arguments, several on standard input, or at a prompt.

    `help` lists the commands, and `json COMMAND` prints JSON, `xml COMMAND` XML. Exit 1 if a command was not
    carried out, 69 if no server answers.
    """
    with _client(config_file) as client:
        if words:
            raise typer.Exit(_carried_out(client, _joined(words), reason))
        if sys.stdin.isatty():
            _prompted(client, reason)
            return
        statuses = [_carried_out(client, line, reason) for line in map(str.strip, sys.stdin) if line]
        raise typer.Exit(max(statuses, default=0))


def tail(
    words: Annotated[list[str] | None, typer.Argument(metavar="[FILTER…]", show_default=False)] = None,
    *,
    config_file: ConfigurationFile = DEFAULT_FILE,
    only_new: Annotated[bool, typer.Option("--only-new", help="Only sessions that begin from now on.")] = False,
    only_one: Annotated[bool, typer.Option("--only-one", help="Only one session, the first that matches.")] = False,
    terse: Annotated[bool, typer.Option("--terse", help="Only time, level and sentence.")] = False,
    as_json: Annotated[
        bool,
        typer.Option("--json", help="Print JSON, one event per line."),
        Prints(EventRecord | SaidRecord | LostRecord, lines=True),
    ] = False,
    dialogue: Annotated[bool, typer.Option("--trace", help="Follow the sessions' dialogue instead of events.")] = False,
) -> None:
    """Follow the events of the running server. Ctrl-C ends it.

    Filters: `client=CIDR`, `sender=GLOB`, `recipient=GLOB`, `event=NAME`, `verdict=NAME`, `upstream=GLOB`,
    `session=ID`.
    """
    switches = {"--only-new": only_new, "--only-one": only_one, "--terse": terse, "--json": as_json}
    line = _joined(["trace" if dialogue else "tail", *(words or []), *(name for name, on in switches.items() if on)])
    with _client(config_file) as client:
        raise typer.Exit(_carried_out(client, line, ""))


def explain(
    words: Annotated[list[str], typer.Argument(metavar="NAME=VALUE…", show_default=False)],
    *,
    config_file: ConfigurationFile = DEFAULT_FILE,
    tls: Annotated[bool, typer.Option("--tls", help="The client has started TLS.")] = False,
    auth: Annotated[str, typer.Option("--auth", help="The client has logged in as this user.")] = "",
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON."), Prints(ExplainRecord)] = False,
) -> None:
    """Say which replies a client of the running server would get, and what decides.

    `client=IP helo=NAME from=ADDRESS rcpt=ADDRESS`, and `listener=ADDRESS:PORT` if there are several. Nothing is looked
    up, probed or changed; what is not cached is printed as unknown.
    """
    given = [*words, *(["--tls"] if tls else []), *([f"auth={auth}"] if auth else [])]
    line = _joined(["json", "explain", *given] if as_json else ["explain", *given])
    with _client(config_file) as client:
        raise typer.Exit(_carried_out(client, line, ""))


def _client(path: Path) -> Client:
    folder, _ = state_directory(path, SCHEMA)
    try:
        return Client(places(folder))
    except NotAllowed as refused:
        _fail(str(refused), exits.UNAVAILABLE)
    except OSError as error:
        _fail(
            f"no server answers at {folder} or in its runtime folder: {error.strerror or error}; "
            f"{_advice(path, folder)}",
            exits.UNAVAILABLE,
        )


def _advice(path: Path, folder: Path) -> str:
    if path == DEFAULT_FILE:
        return "name its configuration with -c"
    if os.path.isdir(folder):  # noqa: PTH112 - it may be in a folder that we may not search
        return "it does not run, or has another configuration"
    return "there is no such folder: make one that the server can write, or set State_Directory, and start it again"


def _fail(text: str, status: int) -> NoReturn:
    exits.say(text, err=True)
    raise typer.Exit(status)


def _joined(words: Sequence[str]) -> str:
    return words[0] if len(words) == 1 else shlex.join(words)


# ---------------------------------------------------------------- one command


def _carried_out(client: Client, line: str, reason: str) -> int:
    """Give one command, print its answer, and return the exit status."""
    form, command = form_of(line)
    follows = command.split(None, 1)[0] in _ENDLESS
    asked = client.ask(command, as_json=form is not None, reason=reason, follows=follows, texts=_texts(command))
    try:
        for answer in asked:
            if form is None:
                _print(answer, follows=follows)
            else:
                _print_value(command, answer, form, follows=follows)
    except _Unreadable as unreadable:
        exits.say(str(unreadable), err=True)
        return exits.NO_INPUT
    except (Failed, NotAllowed) as failed:
        exits.say(failed, err=True)
        return _REFUSED
    except KeyboardInterrupt:
        client.stop()
        return 0 if follows else 128 + signal.SIGINT
    except OSError as error:
        exits.say(f"the server does not answer any more: {error}", err=True)
        return exits.UNAVAILABLE
    return 0


class _Unreadable(Exception):
    """A file that the command names cannot be read by this user."""


def _texts(command: str) -> dict[str, str]:
    """Return the text of the file that a command names. We read it: the server opens no file for a command."""
    try:
        words = shlex.split(command)
    except ValueError:  # the server says what is wrong
        return {}
    if len(words) < _FEWEST_WITH_FILE or not _names_file([each.lower() for each in words]):
        return {}
    try:
        return {words[-1]: read_source(Path(words[-1])).text}
    except OSError as error:
        raise _Unreadable(f"{words[-1]}: {error.strerror}") from None


def _names_file(words: Sequence[str]) -> bool:
    """Whether it is `config set … source FILE` or `inbound_audit load SERIES MONITOR FILE`; words may be shortened."""
    if "config".startswith(words[0]):
        return words[-2] == "source"
    return "inbound_audit".startswith(words[0].partition(":")[0]) and "load".startswith(words[1])


def _print_value(command: str, value: Any, form: Callable[[str, Any], str], *, follows: bool) -> None:
    """Print one value: JSON for people, unless one line of many."""
    written = json.dumps(value, indent=2) if form is as_json and not follows else form(command, value)
    sys.stdout.write(f"{written}\n")
    if follows:
        sys.stdout.flush()


def _print(answer: Sequence[str], *, follows: bool) -> None:
    if not follows and sys.stdin.isatty() and sys.stdout.isatty() and len(answer) >= get_terminal_size().lines:
        pydoc.pager("\n".join(map(_shown, answer)))
    else:
        sys.stdout.writelines(f"{_coloured(_shown(line))}\n" for line in answer)
    if follows:
        sys.stdout.flush()


def _shown(line: str) -> str:
    """Escape a line again: the terminal is ours, whatever the server is."""
    if line.isascii() and line.isprintable():
        return line
    return line.encode("unicode_escape", "backslashreplace").decode("ascii")


_COLOURS = {
    " error ": "31", " warning ": "33", " refused ": "31", " deferred ": "33", " relayed ": "32", " C: ": "36",
    " was relayed ": "32", "... ": "35",
}  # fmt: skip


def _coloured(line: str) -> str:
    if not sys.stdout.isatty():
        return line
    for mark, colour in _COLOURS.items():
        if mark in line:
            return f"\x1b[{colour}m{line}\x1b[0m"
    return line


# ---------------------------------------------------------------- the prompt


def _prompted(client: Client, reason: str) -> None:
    exits.say(f"# {client.version}")
    exits.say("# help lists the commands, quit ends.")
    _prepare(client)
    try:
        for line in _lines():
            if line in {"quit", "exit"}:
                return
            if line and _carried_out(client, line, reason) == exits.UNAVAILABLE:
                raise typer.Exit(exits.UNAVAILABLE)
    finally:
        with suppress(OSError):
            readline.set_history_length(_MOST_HISTORY)
            readline.write_history_file(HISTORY.expanduser())


def _lines() -> Iterator[str]:
    while True:
        try:
            yield input(f"{time.strftime('%H:%M:%S')} ringback> ").strip()
        except KeyboardInterrupt:
            exits.say("")
        except EOFError:
            exits.say("")
            return


def _prepare(client: Client) -> None:
    """Load the history, and complete the words of commands."""
    with suppress(OSError):
        readline.read_history_file(HISTORY.expanduser())
    known = [row["command"] for value in client.ask("help", as_json=True) for row in value]
    names = sorted({_words_of(each) for each in known})

    def complete(text: str, state: int) -> str | None:
        before = readline.get_line_buffer()[: readline.get_begidx()].split()
        before = before[1:] if before[:1] in (["json"], ["help"]) else before
        found = [each.split() for each in names]
        nexts = sorted(
            {words[len(before)] for words in found if words[: len(before)] == before and len(words) > len(before)}
        )
        fitting = [each for each in nexts if each.startswith(text)]
        return f"{fitting[state]} " if state < len(fitting) else None

    readline.set_completer(complete)
    readline.set_completer_delims(" ")
    readline.parse_and_bind("tab: complete")


def _words_of(usage: str) -> str:
    """Return the words of a command without its arguments, which are in capitals or brackets."""
    return " ".join(each for each in usage.split() if each.islower() and not each.startswith(("[", "on|")))
