"""Error messages about names of options, stanzas, modules and scopes.

As in `config.errors`, the message says what is wrong at the caret, and the hint says what to write.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from config.diagnostics import NOT_ENFORCED, Diagnostic, Note, Severity, Span
from config.errors import closest, shown
from config.spelling import as_in_the_manual


def unknown_option(
    name: str, where: str, known: Sequence[str], span: Span, owners: Sequence[str] = (), *, outside: bool = False
) -> Diagnostic:
    """An option that neither Momentum nor Ringback has here."""
    guess = closest(name, known)
    hint = f"did you mean {guess}?" if guess else None
    if outside:
        hint = "this is a global option: write it outside these braces"
    elif owners:
        hint = f"it is an option of {' and '.join(owners)}: write it inside those braces"
    return Diagnostic(f"unknown option `{name}`{where}", span, hint)


def unknown(what: str, name: str, known: Iterable[str], span: Span | None, where: str = "") -> Diagnostic:
    """A stanza or property that neither Momentum nor Ringback has."""
    guess = closest(name, known)
    return Diagnostic(f"unknown {what} `{name}`{where}", span, f"did you mean {guess}?" if guess else None)


def unknown_module(name: str, lines: Sequence[str], others: Iterable[str], span: Span) -> Diagnostic:
    """A 2.2 line for a module that neither Momentum nor Ringback has.

    `lines` load the modules of Ringback, `others` are the paths of Momentum's.
    """
    guess = closest(name, [*(line.partition(" ")[2] for line in lines), *others])
    meant = f"did you mean {guess}? The" if guess else "the"
    return Diagnostic(f"unknown module `{name}`", span, f"{meant} modules are: {', '.join(lines)}")


def unknown_stanza(name: str, known: Iterable[str], modules: Sequence[str], span: Span) -> Diagnostic:
    """A stanza at the top of the file that is neither a module nor a scope."""
    guess = closest(name, known)
    hint = f"did you mean {guess}?" if guess else f"the modules are: {', '.join(modules)}"
    return Diagnostic(f"unknown stanza `{name}`", span, hint)


def name_is_missing(name: str, span: Span) -> Diagnostic:
    """`Domain { … }`."""
    return Diagnostic(f"`{name}` takes one name before its brace", span, f'write {name} "name" {{')


def not_in_this_scope(name: str, where: str, legal: Sequence[str], span: Span) -> Diagnostic:
    """An option or stanza in a scope that does not allow it."""
    return Diagnostic(f"`{name}` is not allowed{where}", span, f"it is allowed in: {', '.join(legal)}")


def star_in_domain_scope(name: str, span: Span) -> Diagnostic:
    """`Domain "*.example.com"`: a scope is named by an exact name or a regular expression."""
    expression = name.replace(".", "\\.").replace("*", ".*")
    hint = f'write Domain "/^{expression}$/" to match like a pattern'
    return Diagnostic(f"{shown(name)} matches only itself here: `*` is not a wildcard", span, hint, Severity.WARNING)


def u_label_in_expression(name: str, span: Span) -> Diagnostic:
    """`Domain "/münchen/"`: the expression is compared with A-labels."""
    hint = "write the A-label, as in xn--mnchen-3ya for münchen"
    return Diagnostic(
        f"{shown(name)} is compared with A-labels, so its non-ASCII letters match nothing",
        span,
        hint,
        Severity.WARNING,
    )


def address_twice(address: str, span: Span, first: Span) -> Diagnostic:
    """Two listeners on one address."""
    return Diagnostic(f"{address} has two listeners", span, "remove one", notes=(Note("already set here", first),))


def bad_expression(name: str, reason: str, span: Span) -> Diagnostic:
    """An invalid regular expression."""
    return Diagnostic(f"{shown(name)} is not a regular expression: {reason}", span)


def wrong_class(written: str, right: str, span: Span) -> Diagnostic:
    """The path is known, but belongs to another class, as in `Module validate/sieve`."""
    return Diagnostic(f"`{written}` does not load this module", span, f"write {right}")


def not_acted_on(what: str, name: str, span: Span, effect: str = "") -> Diagnostic:
    """A name of Momentum that has no effect here; `effect` is what it does there, such as `limits`."""
    if not effect:
        return Diagnostic(f"{what} `{name}` is accepted, not acted on", span, None, Severity.WARNING)
    return Diagnostic(
        f"{what} `{name}` is accepted, but not enforced: in Momentum it {_EFFECTS[effect]}",
        span,
        "make sure that something else does this, then remove it",
        Severity.WARNING,
        code=NOT_ENFORCED,
    )


def no_such_hook(point: str, span: Span) -> Diagnostic:
    """`hook "core_log" { source = … }`: Momentum's hook points are in its queues, its logs and its memory."""
    return Diagnostic(
        f"hook point `{point}` is accepted, but not enforced: a front end has no such point, so its script never runs",
        span,
        "hook the script to a phase, such as script data_phase1 { source = … }, or remove this",
        Severity.WARNING,
        code=NOT_ENFORCED,
    )


_EFFECTS = {
    "refuses": "refuses mail",
    "limits": "limits mail",
    "authenticates": "authenticates",
    "encrypts": "encrypts",
    "scripts": "runs a script of the site, which may refuse mail",
}


def option_written_as_stanza(name: str, span: Span) -> Diagnostic:
    """`map { … }` instead of `map = [ … ]`."""
    return Diagnostic(
        f"`{name}` is an option, not a stanza", span, f"write {name} = … (a dictionary is written in [ … ])"
    )


def stanza_written_as_option(name: str, span: Span) -> Diagnostic:
    """`smtp_cbv = …` instead of a stanza."""
    return Diagnostic(f"`{name}` is a stanza, not an option", span, f"write {name} {{ … }}")


def already_set(name: str, span: Span, first: Span) -> Diagnostic:
    """An option that one file sets twice in one scope, with different values."""
    note = Note("already set here", first)
    return Diagnostic(f"`{name}` is set twice; this one wins", span, "remove one of them", Severity.WARNING, (note,))


def extra_in_head(text: str, span: Span, hint: str) -> Diagnostic:
    """An extra word before `{`."""
    return Diagnostic(f"unexpected {shown(text)} before `{{`", span, hint)


def source_is_missing(what: str, span: Span) -> Diagnostic:
    """`script x { }` without a source."""
    return Diagnostic(f"`{what}` names no script", span, 'write source = "path/to/script.siv" inside its braces')


def option_is_required(name: str, where: str, span: Span | None) -> Diagnostic:
    """A required option that is not set."""
    name = name if where else as_in_the_manual(name)
    return Diagnostic(f"`{name}` must be set{where}", span, f"write {name} = …")


def refused(name: str, reason: str, span: Span | None) -> Diagnostic:
    """A value, or a combination of values, that the options' own check rejects."""
    return Diagnostic(f"`{name}`: {reason}" if name else reason, span)


def not_set(name: str, scope: str) -> Diagnostic:
    """`config unset` of an option that is not set, in Momentum's words."""
    if not name:
        return Diagnostic(f"nothing is set in scope '{scope}'", None)
    return Diagnostic(f"Option '{name}' is not set in scope '{scope}'.", None)


def no_such_scope(what: str, name: str, kind: str) -> Diagnostic:
    """A change at a listener's scope that does not exist, or of an option that is not set there."""
    return Diagnostic(what, None) if what else not_set(name, kind)


# ---------------------------------------------------------------- questions
