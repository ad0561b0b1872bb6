"""Errors of the command line itself, one short function per message: what is wrong, the value, what to write."""

from __future__ import annotations

from config.diagnostics import Diagnostic
from config.errors import closest, shown
from proxy.cli.grammar.tree import Command, Parameter

_QUEUE = "there is no queue of clients' mail; `ringback console list sessions` shows what is under way"
_SERVICE = "write `systemctl {} ringback`; without a service, `ringback serve` runs the server and SIGTERM ends it"

_KNOWN_ELSEWHERE = {
    "reload": "write `systemctl reload ringback`, or send SIGHUP to the supervisor",
    **{word: _SERVICE.format(word) for word in ("start", "stop", "restart")},
    **dict.fromkeys(("queue", "mailq", "flush"), _QUEUE),
    "version": "write `ringback --version`",
    "verify": "write `ringback probe ADDRESS`",
    "validate_config": "write `ringback check FILE`",
}
"""Commands of other servers, which people type first."""


def unknown_command(word: str, group: Command, whole: Command) -> Diagnostic:
    """A word that is not a command of this group. It may be one of another group."""
    names = [each.path[-1] for each in group.children if not each.hidden]
    elsewhere = [each.name for each in whole.all() if each.path[-1] == word and each.path != group.path]
    guess = f"`{elsewhere[0]}`" if elsewhere else closest(word, names)
    hint = f"did you mean {guess}?" if guess else f"the commands are: {', '.join(names)}"
    if group.path == whole.path:
        hint = _KNOWN_ELSEWHERE.get(word, hint)
    return Diagnostic(f"unknown command {shown(word)}", None, hint)


def no_command(group: Command) -> Diagnostic:
    """A group without a command after it."""
    names = ", ".join(each.path[-1] for each in group.children if not each.hidden)
    return Diagnostic(f"`{group.name}` needs a command", None, f"write one of: {names}")


def unknown_option(word: str, command: Command) -> Diagnostic:
    """An option that the command does not have."""
    names = [name for each in command.options for name in each.names] + ["-h", "--help"]
    guess = closest(word, names)
    hint = f"did you mean {guess}?" if guess else f"the options are: {', '.join(names)}"
    return Diagnostic(f"unknown option {shown(word)}", None, hint)


def missing(parameter: Parameter) -> Diagnostic:
    """A required option or argument that was not given."""
    kind = f"the option {parameter.label}" if parameter.names else f"the argument {parameter.metavar}"
    return Diagnostic(
        f"{kind} is missing", None, " ".join([parameter.help, *parameter.notes]).removesuffix(".") or None
    )


def bad_value(value: str | None, said: str, parameter: Parameter) -> Diagnostic:
    """A value that an option or argument does not take."""
    name = parameter.names[-1] if parameter.names else parameter.metavar
    if value is None:
        return Diagnostic(f"{name}: {said}", None, parameter.help or None)
    message = f"{shown(value)} is not a value of {name}"
    if parameter.choices:
        guess = closest(value, parameter.choices)
        listed = f"one of: {', '.join(parameter.choices)}"
        return Diagnostic(message, None, f"did you mean {guess}? It takes {listed}" if guess else f"write {listed}")
    if parameter.metavar == "NUMBER":
        return Diagnostic(message, None, f"write a number {parameter.bounds}".rstrip())
    return Diagnostic(f"{message}: {said}", None, parameter.help or None)


def takes_no_value(name: str) -> Diagnostic:
    """`--json=yes`: a flag with a value."""
    return Diagnostic(f"{shown(name)} takes no value", None, f"write {name} alone")


def needs_value(name: str, parameter: Parameter | None) -> Diagnostic:
    """An option at the end of the line, without its value."""
    metavar = parameter.metavar if parameter else "VALUE"
    return Diagnostic(f"the option {name} has no value", None, f"write {name} {metavar}")


def too_many(words: str) -> Diagnostic:
    """More arguments than the command has."""
    return Diagnostic(f"unexpected {shown(words)}", None, "quote an argument that contains blanks")


def other(said: str, command: Command) -> Diagnostic:
    """What a command itself says about its arguments."""
    return Diagnostic(plain(said), None, f"`{command.name} --help` describes it")


def stopped() -> Diagnostic:
    """Control-C, or the end of the input, at a question."""
    return Diagnostic("stopped; nothing was done")


def plain(said: str) -> str:
    """Return a sentence as the message of an error: no capital, no full stop."""
    return f"{said[:1].lower()}{said[1:]}".strip().removesuffix(".")
