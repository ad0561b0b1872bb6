"""Error messages about values, one short function for each message, and the helpers that all messages share.

The message says what is wrong at the caret; the hint says what to write. Syntax and file errors are in
`config.language.errors`, names in `config.naming`, console questions in `config.tools.errors`.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Sequence

from config.diagnostics import NOT_ENFORCED, Diagnostic, Note, Severity, Span
from config.masking import masked

_LONGEST_SHOWN = 60


def wrong_kind(name: str, wanted: str, got: str, span: Span) -> Diagnostic:
    """A value of the wrong kind, such as a list instead of one value."""
    hint = None if "list" in wanted or "dictionary" in wanted else "write one value, without brackets"
    return Diagnostic(f"`{name}` takes {wanted}, not {got}", span, hint)


def not_a(wanted: str, text: str, span: Span, hint: str) -> Diagnostic:
    """A scalar of the wrong type: `not_a("a duration", "soon", …)`."""
    return Diagnostic(f"{shown(text)} is not {wanted}", span, hint)


def not_one_of(name: str, text: str, choices: Sequence[str], span: Span) -> Diagnostic:
    """A word that is not one of an option's choices."""
    listed = ", ".join(choices)
    guess = closest(text, choices)
    hint = f"did you mean {guess}? It takes one of: {listed}" if guess else f"write one of: {listed}"
    return Diagnostic(f"{shown(text)} is not a value of `{name}`", span, hint)


def out_of_bounds(name: str, bound: str, text: str, span: Span) -> Diagnostic:
    """A number outside an option's range."""
    return Diagnostic(f"`{name}` must be {bound}; this is {text}", span, f"write a value of {bound}")


def zero_is_automatic(name: str, doc: str, span: Span) -> Diagnostic:
    """A timeout of 0, which elsewhere means no timeout. Ringback must finish before the client gives up."""
    return Diagnostic(f"`{name}` is 0, so Ringback chooses. {doc}", span, "write seconds", Severity.WARNING)


def name_for_network(text: str, span: Span) -> Diagnostic:
    """A domain name instead of an address."""
    return Diagnostic(
        f"{shown(text)} is a name; only addresses are allowed here",
        span,
        "write its addresses or networks, such as 192.0.2.0/24: names are not looked up",
    )


def host_bits_are_set(text: str, network: str, span: Span) -> Diagnostic:
    """`10.0.0.1/8`: read as 10.0.0.0/8."""
    return Diagnostic(f"{shown(text)} is read as {network}", span, f"write {network}", Severity.WARNING)


def matches_every_domain(span: Span) -> Diagnostic:
    """A pattern `*`."""
    return Diagnostic("`*` matches every domain", span, "list your own domains", Severity.WARNING)


def repeated_key(key: str, span: Span, first: Span) -> Diagnostic:
    """A key that a dictionary contains twice with different values."""
    note = Note("already set here", first)
    return Diagnostic(f"`{key}` appears twice in this dictionary; this one wins", span, None, Severity.WARNING, (note,))


def value_not_acted_on(name: str, value: str, span: Span) -> Diagnostic:
    """A value that Momentum has and Ringback does not, such as a delivery method that is not SMTP."""
    return Diagnostic(
        f"`{name} = {value}` is accepted, not acted on",
        span,
        "mail goes to the next hop as if this option were not set",
        Severity.WARNING,
    )


def gnutls_priorities(text: str, span: Span) -> Diagnostic:
    """Ciphers in the language of GnuTLS, which Momentum 4.1 also takes."""
    return Diagnostic(
        f"{shown(text)} is GnuTLS syntax, so it is not enforced",
        span,
        "use OpenSSL syntax, such as HIGH:!aNULL; TLS_Protocols chooses the versions",
        Severity.WARNING,
        code=NOT_ENFORCED,
    )


# ---------------------------------------------------------------- what all messages share


def closest(word: str, known: Iterable[str]) -> str | None:
    """Return the known name closest to a word, in its known spelling."""
    spelled = {each.lower(): each for each in known}
    found = difflib.get_close_matches(word.lower(), list(spelled), n=1, cutoff=0.65)
    return spelled[found[0]] if found else None


def shown(text: str) -> str:
    """Quote an operator's text in a message, shortened."""
    return f"`{cut(masked(text))}`" if text else "the empty value"


def cut(text: str, longest: int = _LONGEST_SHOWN) -> str:
    """Shorten a text to `longest` characters."""
    return text if len(text) <= longest else text[:longest] + "…"
