"""The wording of every diagnostic, one short function a message. That of run-time errors is in `reasons`."""

from __future__ import annotations

import difflib
from collections.abc import Iterable

from config.diagnostics import Diagnostic, Note, Severity, Span
from sieve.words import listed

DEFAULT_REFUSAL = "message refused"
"""What the sender reads where a refusal has no text of its own."""


def _error(message: str, span: Span, hint: str | None = None, notes: tuple[Note, ...] = ()) -> Diagnostic:
    return Diagnostic(message, span, hint, notes=notes)


def _warning(message: str, span: Span, hint: str | None = None) -> Diagnostic:
    return Diagnostic(message, span, hint, Severity.WARNING)


def _did_you_mean(name: str, known: Iterable[str]) -> str | None:
    close = difflib.get_close_matches(name, sorted(known), n=1, cutoff=0.7)
    return f"did you mean {close[0]}?" if close else None


_LONGEST_QUOTE = 40


def _cut(text: str) -> str:
    """Return what was written, cut where it is long or runs over lines."""
    first = text.partition("\n")[0]
    return f"{first[:_LONGEST_QUOTE]}..." if len(first) > _LONGEST_QUOTE else first


# ---------------------------------------------------------------- characters and structure


def script_too_long(span: Span, limit: int) -> Diagnostic:
    """The source passes the size that is read."""
    return _error(f"the script is longer than {limit} characters", span)


def unclosed_string(span: Span) -> Diagnostic:
    """A quote without its partner."""
    return _error("this string is never closed", span, 'end it with "')


def unclosed_text_block(span: Span) -> Diagnostic:
    """`text:` without a line that holds one dot."""
    return _error("this text: block is never closed", span, "end it with a line that holds a single dot")


def unclosed_comment(span: Span) -> Diagnostic:
    """`/*` without `*/`."""
    return _error("this comment is never closed", span, "end it with */")


def not_a_number(span: Span) -> Diagnostic:
    """Digits run into letters or dots."""
    return _error(f"{_cut(span.text)} is not a number", span, "a number is 10, -86, 65.43, 4K, 1M or 2G")


def number_too_large(span: Span) -> Diagnostic:
    """A number beyond 64 bits."""
    return _error("this number does not fit into 64 bits", span)


def wrong_quotes(span: Span) -> Diagnostic:
    """A string in quotes that a word processor or another language likes."""
    return _error("strings stand in straight double quotes", span, 'write "like this"')


def stray_characters(span: Span) -> Diagnostic:
    """Characters that begin nothing."""
    return _error(f"{_cut(span.text)} cannot stand here", span)


def expected(what: str, span: Span, hint: str | None = None) -> Diagnostic:
    """Something else should stand here."""
    return _error(f"expected {what}", span, hint)


def missing_semicolon(span: Span, after: str) -> Diagnostic:
    """A statement runs into the next."""
    return _error(f"expected ; after {_cut(after)}", span)


def call_as_argument(span: Span) -> Diagnostic:
    """A bare word among the arguments."""
    return _error(
        f"{_cut(span.text)} cannot be an argument",
        span,
        "a word's result is assigned to a variable first; plain text stands in double quotes",
    )


def index_holds_one_value(span: Span, variable: str) -> Diagnostic:
    """`$x ["a", "b"]`, which always is an index."""
    return _error(
        f"an index holds one value: ${variable} [ always reads an element of ${variable}",
        span,
        f'for a list beside the variable write "${{{variable}}}" [...]',
    )


def variable_is_not_a_test(span: Span) -> Diagnostic:
    """`if $x {`."""
    return _error(f"{_cut(span.text)} is a value, not a test", span, f"write is_true {_cut(span.text)}")


def else_without_if(span: Span) -> Diagnostic:
    """`else` or `elsif` that follows no block of an if."""
    return _error(f"{_cut(span.text)} follows no if", span)


def else_if(span: Span) -> Diagnostic:
    """`else if`."""
    return _error("expected { after else", span, "write elsif")


def after_else(span: Span) -> Diagnostic:
    """`else` or `elsif` after the `else`."""
    return _error(f"{_cut(span.text)} cannot follow else", span)


def unclosed_block(span: Span) -> Diagnostic:
    """`{` without `}`."""
    return _error("this block is never closed", span, "end it with }")


def no_block_open(span: Span) -> Diagnostic:
    """`}` without `{`."""
    return _error("no block is open here", span)


def too_deep(span: Span, limit: int) -> Diagnostic:
    """Blocks or tests inside each other beyond the cap."""
    return _error(f"more than {limit} blocks, tests or indices inside each other", span)


def too_many_mistakes(span: Span) -> Diagnostic:
    """Reading stops; what follows is not looked at."""
    return _error("too many mistakes; the rest is not read", span)


def no_variables_in_rfc(span: Span) -> Diagnostic:
    """`$x` in RFC 5228 mode."""
    return _error(
        f"{_cut(span.text)} is Sieve++; standard Sieve has no $ variables", span, 'require "variables" and use set'
    )


# ---------------------------------------------------------------- names and arguments


def unknown_function(name: str, span: Span, known: Iterable[str]) -> Diagnostic:
    """No function has this name, here or in the manual."""
    return _error(f"unknown function {_cut(name)}", span, _did_you_mean(name[:_LONGEST_QUOTE], known))


def not_yet_written(name: str, span: Span) -> Diagnostic:
    """The manual has it, Ringback has not."""
    return _error(f"{name} is a function of the manual that Ringback does not have yet", span)


def wrong_phase(name: str, span: Span, phase: str, legal: Iterable[str]) -> Diagnostic:
    """A function stands in a phase that does not give what it needs."""
    return _error(f"{name} cannot be used in the {phase} phase", span, f"it is legal in {listed(legal)}")


def module_not_loaded(name: str, span: Span, module: str) -> Diagnostic:
    """A function belongs to a validation module that the configuration does not load."""
    return _error(
        f"{name} needs the module {module}, which is not loaded",
        span,
        f"load {module} actively or passively, before this script can use it",
    )


def too_few_arguments(name: str, span: Span, missing: Iterable[str], taken_as_index: str = "") -> Diagnostic:
    """Arguments are missing, perhaps because a list behind a variable was read as its index."""
    hint = f'{taken_as_index} [ reads an element; for a list beside it write "${{{taken_as_index[1:]}}}" [...]'
    return _error(f"{name} needs {listed(missing)}", span, hint if taken_as_index else None)


def too_many_arguments(name: str, span: Span, most: int) -> Diagnostic:
    """More arguments than the function takes."""
    takes = "no argument" if most == 0 else "one argument" if most == 1 else f"at most {most} arguments"
    return _error(f"{name} takes {takes}", span)


def wrong_type(name: str, argument: str, wants: str, span: Span) -> Diagnostic:
    """A literal of the wrong type."""
    return _error(f"{name}: {argument} must be {wants}", span)


def unknown_tag(name: str, tag: str, span: Span, known: Iterable[str]) -> Diagnostic:
    """A tag that the function does not have."""
    return _error(f"{name} has no tag :{_cut(tag)}", span, _did_you_mean(tag[:_LONGEST_QUOTE], known))


def tag_needs_value(tag: str, span: Span, wants: str) -> Diagnostic:
    """A tag without the argument that belongs to it."""
    return _error(f":{tag} must be followed by {wants}", span)


def second_tag(tag: str, span: Span, first: str) -> Diagnostic:
    """Two tags of a kind."""
    return _error(f":{tag} and :{first} cannot stand together", span)


def needs_one_tag(name: str, span: Span, tags: Iterable[str]) -> Diagnostic:
    """None or several of the tags of which a function wants one."""
    return _error(f"{name} needs one of {listed((f':{tag}' for tag in tags), 'or')}", span)


def unknown_relation(span: Span, known: Iterable[str]) -> Diagnostic:
    """`:value` or `:count` with a word that is no relation."""
    return _error(f"{_cut(span.text)} is not a relation", span, f"one of {listed(known, 'or')}")


def unknown_comparator(span: Span, known: Iterable[str]) -> Diagnostic:
    """`:comparator` with a name that is none."""
    return _error(f"{_cut(span.text)} is not a comparator", span, f"one of {listed(known, 'or')}")


def no_substrings(comparator: str, span: Span, match_type: str) -> Diagnostic:
    """`i;ascii-numeric` has no substring operation (RFC 4790, 9.1.1)."""
    return _error(f"{comparator} compares numbers and cannot be used with :{match_type}", span)


def bad_pattern(span: Span, reason: str) -> Diagnostic:
    """A regular expression that no engine takes."""
    return _error(f"not a regular expression: {reason}", span)


def not_a_value(name: str, span: Span) -> Diagnostic:
    """An action where a value is wanted."""
    return _error(f"{name} is an action and has no value", span)


def not_a_test(name: str, span: Span) -> Diagnostic:
    """An action where a test is wanted."""
    return _error(f"{name} is an action, not a test", span)


def test_as_statement(name: str, span: Span) -> Diagnostic:
    """A test that stands alone."""
    return _error(f"{name} is a test and can only stand in an if", span)


def needs_a_variable(name: str, span: Span) -> Diagnostic:
    """`isset "x"`: a literal where the name of a variable is looked at."""
    return _error(f"{name} looks at a variable; {_cut(span.text)} is none", span)


def bad_argument(name: str, argument: str, reason: str, span: Span) -> Diagnostic:
    """A constant argument that the function itself refuses."""
    return _error(f"{name}: {argument}: {reason}", span)


def late_require(span: Span) -> Diagnostic:
    """`require` behind another statement."""
    return _error("require must stand before every other statement", span)


def unknown_extension(name: str, span: Span, known: Iterable[str]) -> Diagnostic:
    """`require` of what Ringback does not have."""
    return _error(f"the extension {_cut(name)} is not supported", span, _did_you_mean(name[:_LONGEST_QUOTE], known))


def not_required(extension: str, span: Span) -> Diagnostic:
    """Something of an extension without its `require`."""
    return _error(
        f"{_cut(span.text)} as written here needs the extension {extension}", span, f'require "{extension}" first'
    )


def not_a_choice(name: str, argument: str, given: str, span: Span, choices: Iterable[str]) -> Diagnostic:
    """A constant that is none of the words a function knows."""
    return _error(f'{name}: {argument} cannot be "{_cut(given)}"', span, f"one of {listed(choices, 'or')}")


# ---------------------------------------------------------------- warnings


def unset_variable(name: str, span: Span) -> Diagnostic:
    """A variable is read that nothing sets before."""
    return _warning(f"${_cut(name)} is read before anything sets it; it reads as empty", span)


def never_read(name: str, span: Span) -> Diagnostic:
    """An assignment nobody looks at."""
    return _warning(f"${_cut(name)} is set here and never read", span)


def unreachable(span: Span, action: str) -> Diagnostic:
    """A statement after an action that ends the phase."""
    return _warning(f"this never runs: {action} before it ends the phase", span)


def never_keeps(name: str, span: Span, action: str) -> Diagnostic:
    """An action that keeps the mail, or refuses it, after one that ends the phase."""
    hint = f"write it before, or right beside {action}" if action != "every branch" else "write it before"
    return _warning(f"{name} never runs: {action} before it ends the phase", span, hint)


def never_chosen(name: str, span: Span) -> Diagnostic:
    """An action that keeps the mail, or refuses it, in a branch of an `if` that is never taken."""
    return _warning(f"{name} never runs: the tests of this if never lead to it", span)


def no_braces(name: str, span: Span) -> Diagnostic:
    """`$x` inside a string, where x is a variable of the script."""
    return _warning(f"${_cut(name)} inside a string stays as it is written", span, f"write ${{{name}}} for its value")


def slow_pattern(span: Span, reason: str) -> Diagnostic:
    """A pattern that needs the second engine."""
    return _warning(
        f"this pattern runs in the slow engine, under a time limit: {reason}",
        span,
        "without look-around, back-references and atomic groups it runs in linear time",
    )


def unknown_macro(text: str, span: Span) -> Diagnostic:
    """`%{ns:key}` of a namespace that does not exist."""
    return _warning(f"{_cut(text)} is no macro; it stays as it is written", span)


def u_label(text: str, a_labels: str, span: Span) -> Diagnostic:
    """A constant that is a domain, or an address, with letters beyond ASCII."""
    return _warning(f"{_cut(text)} equals no address: scripts see domains in A-labels", span, f"write {a_labels}")


def default_refusal(name: str, span: Span) -> Diagnostic:
    """A refusal without words."""
    return _warning(f'{name} has no text; the sender reads "{DEFAULT_REFUSAL}"', span)
