"""The wording of what is wrong with values, and what all messages share: one short function for each message.

A message says what is wrong at the place of the caret; a hint says what to write. What is wrong with the form of a text
or a file: `config.language.errors`; with a name: `config.naming`; with a question: `config.tools.errors`.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Sequence

from config.diagnostics import Diagnostic, Note, Severity, Span
from config.masking import masked

_LONGEST_SHOWN = 60


def wrong_kind(name: str, wanted: str, got: str, span: Span) -> Diagnostic:
    """A list where one value is read, and the like."""
    hint = None if "list" in wanted or "dictionary" in wanted else "write one value, without brackets"
    return Diagnostic(f"`{name}` takes {wanted}, not {got}", span, hint)


def not_a(wanted: str, text: str, span: Span, hint: str) -> Diagnostic:
    """A scalar that is not what the option takes: `not_a("a duration", "soon", …)`."""
    return Diagnostic(f"{shown(text)} is not {wanted}", span, hint)


def not_one_of(name: str, text: str, choices: Sequence[str], span: Span) -> Diagnostic:
    """A word that is none of an option's choices."""
    listed = ", ".join(choices)
    guess = closest(text, choices)
    hint = f"did you mean {guess}? It takes one of: {listed}" if guess else f"write one of: {listed}"
    return Diagnostic(f"{shown(text)} is not a value of `{name}`", span, hint)


def out_of_bounds(name: str, bound: str, text: str, span: Span) -> Diagnostic:
    """A number below or above what an option allows."""
    return Diagnostic(f"`{name}` must be {bound}; this is {text}", span, f"write a value of {bound}")


def zero_is_automatic(name: str, doc: str, span: Span) -> Diagnostic:
    """A time of 0, which is no time-out elsewhere: something must end before the client gives up."""
    return Diagnostic(f"`{name}` is 0, so Ringback chooses. {doc}", span, "write seconds", Severity.WARNING)


def name_for_network(text: str, span: Span) -> Diagnostic:
    """A domain name where only addresses count."""
    return Diagnostic(
        f"{shown(text)} is a name; only addresses can stand here",
        span,
        "write its addresses or networks, such as 192.0.2.0/24: a name is not looked up",
    )


def host_bits_are_set(text: str, network: str, span: Span) -> Diagnostic:
    """`10.0.0.1/8`: read as the network around it."""
    return Diagnostic(f"{shown(text)} is read as {network}", span, f"write {network}", Severity.WARNING)


def matches_every_domain(span: Span) -> Diagnostic:
    """A pattern `*`."""
    return Diagnostic("`*` matches every domain there is", span, "list the domains that are yours", Severity.WARNING)


def repeated_key(key: str, span: Span, first: Span) -> Diagnostic:
    """A key that a dictionary holds twice with different values."""
    note = Note("already set here", first)
    return Diagnostic(f"`{key}` stands twice in this dictionary; this one wins", span, None, Severity.WARNING, (note,))


# ---------------------------------------------------------------- what all messages share


def closest(word: str, known: Iterable[str]) -> str | None:
    """Return the known name that a word is most likely meant for, as it is known."""
    spelled = {each.lower(): each for each in known}
    found = difflib.get_close_matches(word.lower(), list(spelled), n=1, cutoff=0.65)
    return spelled[found[0]] if found else None


def shown(text: str) -> str:
    """Quote an operator's text in a message, cut to a length that can be read."""
    return f"`{cut(masked(text))}`" if text else "the empty value"


def cut(text: str, longest: int = _LONGEST_SHOWN) -> str:
    """Cut a text to a length."""
    return text if len(text) <= longest else text[:longest] + "…"
