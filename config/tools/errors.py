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
