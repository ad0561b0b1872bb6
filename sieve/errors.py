"""The text of every diagnostic, one function per message. The texts of run-time errors are in `reasons`."""

from __future__ import annotations

import difflib
from collections.abc import Iterable

from config.diagnostics import Diagnostic, Note, Severity, Span
from sieve.words import listed

DEFAULT_REFUSAL = "message refused"
"""The reply text of a rejection without a text of its own."""


def error(message: str, span: Span, hint: str | None = None, notes: tuple[Note, ...] = ()) -> Diagnostic:
    """Return an error."""
    return Diagnostic(message, span, hint, notes=notes)


def warning(message: str, span: Span, hint: str | None = None) -> Diagnostic:
    """Return a warning."""
    return Diagnostic(message, span, hint, Severity.WARNING)


def include_will_fail(reason: str, span: Span) -> Diagnostic:
    """An include that would be a run-time error."""
    return warning(f"this include fails: {reason}", span, "it is a run-time error until you fix that")


def did_you_mean(name: str, known: Iterable[str]) -> str | None:
    """Return a hint with the known name that is most like this one."""
    close = difflib.get_close_matches(name, sorted(known), n=1, cutoff=0.7)
    return f"did you mean {close[0]}?" if close else None


LONGEST_QUOTE = 40


def cut(text: str) -> str:
    """Return the first line of the source text, cut if it is long."""
    first = text.partition("\n")[0]
    return f"{first[:LONGEST_QUOTE]}..." if len(first) > LONGEST_QUOTE else first


# ---------------------------------------------------------------- characters and structure


def script_too_long(span: Span, limit: int) -> Diagnostic:
    """The source exceeds the size limit."""
    return error(f"the script is longer than {limit} characters", span)


def unclosed_string(span: Span) -> Diagnostic:
    """A string without its closing quote."""
    return error("this string is never closed", span, 'end it with "')


def unclosed_text_block(span: Span) -> Diagnostic:
    """`text:` without a line that contains only a dot."""
    return error("this text: block is never closed", span, "end it with a line that contains only a dot")


def unclosed_comment(span: Span) -> Diagnostic:
    """`/*` without `*/`."""
    return error("this comment is never closed", span, "end it with */")


def not_a_number(span: Span, *, signed: bool) -> Diagnostic:
    """Digits followed directly by letters or dots. In Sieve++, numbers may have a sign and a fraction (`signed`)."""
    numbers = "10, -86, 65.43, 4K, 1M or 2G" if signed else "10, 4K, 1M or 2G"
    return error(f"{cut(span.text)} is not a number", span, f"a number is {numbers}")


def number_too_large(span: Span) -> Diagnostic:
    """A number that does not fit in 64 bits."""
    return error("this number does not fit in 64 bits", span)


def wrong_quotes(span: Span) -> Diagnostic:
    """A string in typographic or single quotes."""
    return error("strings need straight double quotes", span, 'write "like this"')


def stray_characters(span: Span) -> Diagnostic:
    """Characters that begin no token."""
    return error(f"unexpected {cut(span.text)}", span)


def slashes_are_no_comment(span: Span) -> Diagnostic:
    """`// …`."""
    return error("// does not begin a comment", span, "write # …")


def lone_semicolon(span: Span) -> Diagnostic:
    """A `;` after a block, or after another one."""
    return error("this ; does not end a statement", span, "remove it")


def expected(what: str, span: Span, hint: str | None = None) -> Diagnostic:
    """The parser needs something else here."""
    return error(f"expected {what}", span, hint)


def missing_semicolon(span: Span, after: str) -> Diagnostic:
    """A statement without its semicolon."""
    return error(f"expected ; after {cut(after)}", span)


_JOINS = {"and": "allof", "&&": "allof", "or": "anyof", "||": "anyof"}
_TAG_NAMES = (
    "is contains matches regex value count comparator over under all localpart domain user detail raw text content "
    "index last copy"
)
_TAGS = frozenset(_TAG_NAMES.split())
_TEST_NAMES = "address allof anyof body date envelope exists false hasflag header not size string true"
_TESTS = frozenset(_TEST_NAMES.split())


def call_as_argument(span: Span, *, has_values: bool = True) -> Diagnostic:
    """A bare word among the arguments. In Sieve++, functions have values (`has_values`)."""
    word = span.text.lower()
    if word in _JOINS:
        return error(f"{span.text} does not join tests", span, f"write {_JOINS[word]} (TEST, TEST)")
    if word in _TAGS:
        return error(f"{cut(span.text)} cannot be an argument", span, f"write :{word}")
    if word in _TESTS and not has_values:
        return error(
            f"{cut(span.text)} cannot be an argument", span, "use a test in an if; allof (TEST, TEST) joins tests"
        )
    value = "assign a function's result to a variable first; " if has_values else ""
    return error(f"{cut(span.text)} cannot be an argument", span, f"{value}put plain text in double quotes")


def index_holds_one_value(span: Span, variable: str) -> Diagnostic:
    """`$x ["a", "b"]`, which is always read as an index."""
    return error(
        f"an index takes one value: ${variable} [ always reads an element of ${variable}",
        span,
        f'to pass a list after the variable, write "${{{variable}}}" [...]',
    )


def variable_is_not_a_test(span: Span) -> Diagnostic:
    """`if $x {`."""
    return error(f"{cut(span.text)} is a value, not a test", span, f"write is_true {cut(span.text)}")


def else_without_if(span: Span) -> Diagnostic:
    """`else` or `elsif` without an `if` before it."""
    return error(f"{cut(span.text)} without an if before it", span)


def else_if(span: Span) -> Diagnostic:
    """`else if`."""
    return error("expected { after else", span, "write elsif")


def meant_elsif(span: Span) -> Diagnostic:
    """`elseif`."""
    return error(f"unknown word {cut(span.text)}", span, "write elsif")


def after_else(span: Span) -> Diagnostic:
    """`else` or `elsif` after the `else`."""
    return error(f"{cut(span.text)} cannot follow else", span)


def unclosed_block(span: Span) -> Diagnostic:
    """`{` without `}`."""
    return error("this block is never closed", span, "end it with }")


def no_block_open(span: Span) -> Diagnostic:
    """`}` without `{`."""
    return error("no block is open here", span)


def too_deep(span: Span, limit: int) -> Diagnostic:
    """Nesting exceeds the limit."""
    return error(f"more than {limit} nested blocks, tests or indices", span)


def too_many_mistakes(span: Span) -> Diagnostic:
    """The parser stops and does not read the rest."""
    return error("too many errors; the rest was not read", span)


# ---------------------------------------------------------------- names and arguments


def unknown_function(name: str, span: Span, known: Iterable[str]) -> Diagnostic:
    """Neither Ringback nor the Momentum manual has a function with this name."""
    return error(f"unknown function {cut(name)}", span, did_you_mean(name[:LONGEST_QUOTE], known))


def not_yet_written(name: str, span: Span) -> Diagnostic:
    """The Momentum manual has this function, but Ringback does not."""
    return error(f"Ringback does not have the Momentum function {name} yet", span)


def refused_function(name: str, span: Span, why: str) -> Diagnostic:
    """A function of the Momentum manual that Ringback will not have."""
    return error(f"Ringback does not have the Momentum function {name}", span, why)


def wrong_phase(name: str, span: Span, phase: str, legal: Iterable[str]) -> Diagnostic:
    """A function is used in a phase that does not allow it."""
    return error(f"{name} cannot be used in the {phase} phase", span, f"it is allowed in {listed(legal)}")


def module_not_loaded(name: str, span: Span, module: str) -> Diagnostic:
    """A function needs a validation module that the configuration does not load."""
    return error(
        f"{name} needs the module {module}, which is not loaded",
        span,
        f"load the module {module}; it may be passive",
    )


def too_few_arguments(name: str, span: Span, missing: Iterable[str], taken_as_index: str = "") -> Diagnostic:
    """Arguments are missing, perhaps because a list after a variable was read as its index."""
    hint = f'{taken_as_index} [ reads an element; to pass a list after it, write "${{{taken_as_index[1:]}}}" [...]'
    return error(f"{name} needs {listed(missing)}", span, hint if taken_as_index else None)


def too_many_arguments(name: str, span: Span, most: int) -> Diagnostic:
    """More arguments than the function takes."""
    takes = "no arguments" if most == 0 else "one argument" if most == 1 else f"at most {most} arguments"
    return error(f"{name} takes {takes}", span)


def wrong_type(name: str, argument: str, wants: str, span: Span) -> Diagnostic:
    """A literal of the wrong type."""
    return error(f"{name}: {argument} must be {wants}", span)


def unknown_tag(name: str, tag: str, span: Span, known: Iterable[str]) -> Diagnostic:
    """A tag that the function does not have."""
    return error(f"{name} has no tag :{cut(tag)}", span, did_you_mean(tag[:LONGEST_QUOTE], known))


def tag_needs_value(tag: str, span: Span, wants: str) -> Diagnostic:
    """A tag without its argument."""
    return error(f":{tag} must be followed by {wants}", span)


def second_tag(tag: str, span: Span, first: str) -> Diagnostic:
    """Two tags that exclude each other."""
    return error(f":{tag} and :{first} cannot be combined", span)


def repeated_tag(tag: str, span: Span) -> Diagnostic:
    """A tag that is given twice."""
    return error(f":{tag} is given twice", span)


def late_tag(tag: str, span: Span) -> Diagnostic:
    """A tag after an argument (RFC 5228, 2.6.2)."""
    return error(f":{cut(tag)} must come before the arguments without a tag", span)


def lonely_tag(tag: str, span: Span, other: str) -> Diagnostic:
    """A tag that needs another one."""
    return error(f":{tag} needs :{other}", span)


def not_constant(name: str, argument: str, span: Span) -> Diagnostic:
    """A string with variables where RFC 5229 wants a constant one."""
    return error(f"{name}: {argument} must be constant, without variables", span)


def needs_one_tag(name: str, span: Span, tags: Iterable[str]) -> Diagnostic:
    """A call that does not have exactly one of these tags."""
    return error(f"{name} needs one of {listed((f':{tag}' for tag in tags), 'or')}", span)


def unknown_relation(span: Span, known: Iterable[str]) -> Diagnostic:
    """`:value` or `:count` with an unknown relation."""
    return error(f"{cut(span.text)} is not a relation", span, f"one of {listed(known, 'or')}")


def unknown_comparator(span: Span, known: Iterable[str]) -> Diagnostic:
    """`:comparator` with an unknown name."""
    return error(f"{cut(span.text)} is not a comparator", span, f"one of {listed(known, 'or')}")


def no_substrings(comparator: str, span: Span, match_type: str) -> Diagnostic:
    """`i;ascii-numeric` has no substring operation (RFC 4790, 9.1.1)."""
    return error(f"{comparator} compares numbers and cannot be used with :{match_type}", span)


def bad_pattern(span: Span, reason: str) -> Diagnostic:
    """A regular expression that neither engine accepts."""
    return error(f"not a regular expression: {reason}", span)


def not_a_value(name: str, span: Span) -> Diagnostic:
    """An action used as a value."""
    return error(f"{name} is an action and has no value", span)


def not_a_test(name: str, span: Span) -> Diagnostic:
    """An action used as a test."""
    return error(f"{name} is an action, not a test", span)


def test_as_statement(name: str, span: Span) -> Diagnostic:
    """A test used as a statement."""
    return error(f"{name} is a test; use it in an if", span)


def needs_a_variable(name: str, span: Span) -> Diagnostic:
    """`isset "x"`: a literal instead of a variable."""
    return error(f"{name} needs a variable; {cut(span.text)} is not one", span)


def bad_argument(name: str, argument: str, reason: str, span: Span) -> Diagnostic:
    """A constant argument that the function rejects."""
    return error(f"{name}: {argument}: {reason}", span)


def not_a_choice(name: str, argument: str, given: str, span: Span, choices: Iterable[str]) -> Diagnostic:
    """A constant that is not one of the function's choices."""
    return error(f'{name}: {argument} cannot be "{cut(given)}"', span, f"one of {listed(choices, 'or')}")


# ---------------------------------------------------------------- warnings


def unset_variable(name: str, span: Span) -> Diagnostic:
    """A variable is read before it is set."""
    return warning(f"${cut(name)} is read before it is set; its value is empty", span)


def never_read(name: str, span: Span) -> Diagnostic:
    """A variable is set but never read."""
    return warning(f"${cut(name)} is set here but never read", span)


def unreachable(span: Span, action: str) -> Diagnostic:
    """A statement after an action that ends the phase."""
    return warning(f"this never runs: {action} ends the phase first", span)


def never_keeps(name: str, span: Span, action: str) -> Diagnostic:
    """An action that keeps or rejects the mail, after an action that ends the phase."""
    hint = f"move it up, or directly next to {action}" if action != "every branch" else "move it up"
    return warning(f"{name} never runs: {action} ends the phase first", span, hint)


def never_chosen(name: str, span: Span) -> Diagnostic:
    """An action that keeps or rejects the mail, in a branch that is never taken."""
    return warning(f"{name} never runs: its branch of the if is never taken", span)


def no_braces(name: str, span: Span) -> Diagnostic:
    """`$x` inside a string, where x is a variable of the script."""
    return warning(f"${cut(name)} inside a string is not replaced", span, f"write ${{{name}}} for its value")


def slow_pattern(span: Span, reason: str) -> Diagnostic:
    """A pattern that needs the second engine."""
    return warning(
        f"this pattern runs in the slow engine, under a time limit: {reason}",
        span,
        "without look-around, back-references and atomic groups it runs in linear time",
    )


def unknown_macro(text: str, span: Span) -> Diagnostic:
    """`%{ns:key}` that names no macro."""
    return warning(f"{cut(text)} is not a macro; it is not replaced", span)


def u_label(text: str, a_labels: str, span: Span) -> Diagnostic:
    """A constant domain or address with non-ASCII letters."""
    return warning(f"{cut(text)} matches no address: scripts see domains as A-labels", span, f"write {a_labels}")


def default_refusal(name: str, span: Span) -> Diagnostic:
    """A rejection without a text."""
    return warning(f'{name} has no text; the sender reads "{DEFAULT_REFUSAL}"', span)
