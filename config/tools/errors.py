"""The wording of what is wrong with a question or a conversion."""

from __future__ import annotations

from collections.abc import Sequence

from config.diagnostics import Diagnostic, Severity, Span
from config.errors import closest


def no_scope(word: str, kinds: Sequence[str]) -> str:
    """A word where a scope's kind is expected; the console has them in lower case."""
    guess = closest(word, kinds)
    return f"{word} is no scope" + (f"; did you mean {guess}?" if guess else f"; scopes are: {', '.join(kinds)}")


def no_question() -> str:
    """No words at all."""
    return "name an option, with its scope before it: domain example.com gateway"


def scope_without_name(kind: str) -> str:
    """`eval domain`."""
    return f"{kind} needs a name"


def no_option(name: str, known: Sequence[str]) -> str:
    """An option that nobody has, asked for at the console, which prints names in lower case."""
    guess = closest(name, known)
    return f"unknown option {name}" + (f"; did you mean {guess}?" if guess else "")


def option_without_effect(name: str) -> str:
    """An option that Momentum has and that has no effect here."""
    return f"{name} is an option of Momentum's that is accepted, not acted on"


def no_dialect(word: str, known: Sequence[str]) -> str:
    """`--to 5x`."""
    return f"cannot convert to {word}; known: {', '.join(known)}"


def wider_rule_applies(name: str, network: str, span: Span) -> Diagnostic:
    """A rule of 2.2 that, as a Peer, reaches clients that an earlier rule kept from it."""
    message = f"as a Peer this sets `{name}` for {network} too, which an earlier rule kept from it"
    return Diagnostic(message, span, f"set {name} in the Peer of {network}", Severity.WARNING)
