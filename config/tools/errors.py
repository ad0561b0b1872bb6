"""Error messages for console questions and conversions."""

from __future__ import annotations

from collections.abc import Sequence

from config.diagnostics import Diagnostic, Severity, Span
from config.errors import closest


def no_scope(word: str, kinds: Sequence[str]) -> str:
    """A word that is not a kind of scope. The console shows these in lower case."""
    guess = closest(word, kinds)
    return f"{word} is not a scope" + (f"; did you mean {guess}?" if guess else f"; scopes are: {', '.join(kinds)}")


def no_question() -> str:
    """The command names no option."""
    return "name an option after its scope, as in: domain example.com gateway"


def scope_without_name(kind: str) -> str:
    """`eval domain`."""
    return f"{kind} needs a name"


def no_option(name: str, known: Sequence[str]) -> str:
    """An unknown option in a question. The console shows names in lower case."""
    guess = closest(name, known)
    return f"unknown option {name}" + (f"; did you mean {guess}?" if guess else "")


def option_without_effect(name: str) -> str:
    """An option of Momentum that has no effect here."""
    return f"{name} is a Momentum option that is accepted, not acted on"


def no_dialect(word: str, known: Sequence[str]) -> str:
    """`--to 5x`."""
    return f"cannot convert to {word}; known: {', '.join(known)}"


def wider_rule_applies(name: str, network: str, span: Span) -> Diagnostic:
    """A 2.2 rule that, converted to a Peer, applies to clients that an earlier rule excluded."""
    message = f"as a Peer this sets `{name}` for {network} too, although an earlier rule excluded it"
    return Diagnostic(message, span, f"set {name} in the Peer of {network}", Severity.WARNING)


def no_module(kind: str, name: str, loaded: Sequence[str]) -> str:
    """A module's scope in a command."""
    if not loaded:
        return f"no {kind} is loaded: add it to the file, and reload"
    return f"{kind} {name} is not loaded; write {' or '.join(f'{kind} {each}' for each in loaded)}"


def needs_a_reload(name: str) -> str:
    """An option of the process, or of what is bound or built once."""
    return f"{name} cannot be set here, because it needs a reload: change the file, and use `config reload`"


def path_from_the_console(name: str) -> str:
    """The console opens no file."""
    return f"{name} names a file, and no path can be set here: change the file of the configuration, and reload"


def no_script(name: str) -> str:
    """`config set sieve script mailfrom_phase1`."""
    return f"name one file for {name}; `ringback console` reads it and sends its text"


def script_not_sent(name: str) -> str:
    """The client did not send a file's content."""
    return f"the text of {name} was not sent: use `ringback console`, which reads the file with your rights"


def no_value(name: str) -> str:
    """`config set idle_time`."""
    return f"{name} needs a value: config set {name} VALUE"


def not_one_value(name: str) -> str:
    """A value that would be more than one statement."""
    return f"write one value for {name}; put text with blanks in quotes"


def too_long(name: str, most: int) -> str:
    """A value beyond the limit."""
    return f"the value of {name} has more than {most} characters: write it in the file, and reload"


def too_much(word: str) -> str:
    """Words after the option of `config unset`."""
    return f"{word} is too much: an option is unset without a value"
