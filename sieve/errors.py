"""The text of every diagnostic, one function per message. The texts of run-time errors are in `reasons`."""

from __future__ import annotations

import difflib
from collections.abc import Iterable

from config.diagnostics import Diagnostic, Note, Severity, Span
from sieve.words import listed

DEFAULT_REFUSAL = "message refused"
"""The reply text of a rejection without a text of its own."""


def _error(message: str, span: Span, hint: str | None = None, notes: tuple[Note, ...] = ()) -> Diagnostic:
    return Diagnostic(message, span, hint, notes=notes)


def _warning(message: str, span: Span, hint: str | None = None) -> Diagnostic:
    return Diagnostic(message, span, hint, Severity.WARNING)


def _did_you_mean(name: str, known: Iterable[str]) -> str | None:
    close = difflib.get_close_matches(name, sorted(known), n=1, cutoff=0.7)
    return f"did you mean {close[0]}?" if close else None


_LONGEST_QUOTE = 40


def _cut(text: str) -> str:
    """Return the first line of the source text, cut if it is long."""
    first = text.partition("\n")[0]
    return f"{first[:_LONGEST_QUOTE]}..." if len(first) > _LONGEST_QUOTE else first


# ---------------------------------------------------------------- characters and structure


def script_too_long(span: Span, limit: int) -> Diagnostic:
    """The source exceeds the size limit."""
    return _error(f"the script is longer than {limit} characters", span)


def unclosed_string(span: Span) -> Diagnostic:
    """A string without its closing quote."""
    return _error("this string is never closed", span, 'end it with "')


def unclosed_text_block(span: Span) -> Diagnostic:
    """`text:` without a line that contains only a dot."""
    return _error("this text: block is never closed", span, "end it with a line that contains only a dot")


def unclosed_comment(span: Span) -> Diagnostic:
    """`/*` without `*/`."""
    return _error("this comment is never closed", span, "end it with */")


def not_a_number(span: Span) -> Diagnostic:
    """Digits followed directly by letters or dots."""
    return _error(f"{_cut(span.text)} is not a number", span, "a number is 10, -86, 65.43, 4K, 1M or 2G")


def number_too_large(span: Span) -> Diagnostic:
    """A number that does not fit in 64 bits."""
    return _error("this number does not fit in 64 bits", span)


def wrong_quotes(span: Span) -> Diagnostic:
    """A string in typographic or single quotes."""
    return _error("strings need straight double quotes", span, 'write "like this"')


def stray_characters(span: Span) -> Diagnostic:
    """Characters that begin no token."""
    return _error(f"unexpected {_cut(span.text)}", span)


def expected(what: str, span: Span, hint: str | None = None) -> Diagnostic:
    """The parser needs something else here."""
    return _error(f"expected {what}", span, hint)


def missing_semicolon(span: Span, after: str) -> Diagnostic:
    """A statement without its semicolon."""
    return _error(f"expected ; after {_cut(after)}", span)


def call_as_argument(span: Span) -> Diagnostic:
    """A bare word among the arguments."""
    return _error(
        f"{_cut(span.text)} cannot be an argument",
        span,
        "assign a function's result to a variable first; put plain text in double quotes",
    )


def index_holds_one_value(span: Span, variable: str) -> Diagnostic:
    """`$x ["a", "b"]`, which is always read as an index."""
    return _error(
        f"an index takes one value: ${variable} [ always reads an element of ${variable}",
        span,
        f'to pass a list after the variable, write "${{{variable}}}" [...]',
    )


def variable_is_not_a_test(span: Span) -> Diagnostic:
    """`if $x {`."""
    return _error(f"{_cut(span.text)} is a value, not a test", span, f"write is_true {_cut(span.text)}")


def else_without_if(span: Span) -> Diagnostic:
    """`else` or `elsif` without an `if` before it."""
    return _error(f"{_cut(span.text)} without an if before it", span)


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
    """Nesting exceeds the limit."""
    return _error(f"more than {limit} nested blocks, tests or indices", span)


def too_many_mistakes(span: Span) -> Diagnostic:
    """The parser stops and does not read the rest."""
    return _error("too many errors; the rest was not read", span)


def no_variables_in_rfc(span: Span) -> Diagnostic:
    """`$x` in RFC 5228 mode."""
    return _error(
        f"{_cut(span.text)} is Sieve++; standard Sieve has no $ variables", span, 'require "variables" and use set'
    )


# ---------------------------------------------------------------- names and arguments


def unknown_function(name: str, span: Span, known: Iterable[str]) -> Diagnostic:
    """Neither Ringback nor the Momentum manual has a function with this name."""
    return _error(f"unknown function {_cut(name)}", span, _did_you_mean(name[:_LONGEST_QUOTE], known))


def not_yet_written(name: str, span: Span) -> Diagnostic:
    """The Momentum manual has this function, but Ringback does not."""
    return _error(f"Ringback does not have the Momentum function {name} yet", span)


def wrong_phase(name: str, span: Span, phase: str, legal: Iterable[str]) -> Diagnostic:
    """A function is used in a phase that does not allow it."""
    return _error(f"{name} cannot be used in the {phase} phase", span, f"it is allowed in {listed(legal)}")


def module_not_loaded(name: str, span: Span, module: str) -> Diagnostic:
    """A function needs a validation module that the configuration does not load."""
    return _error(
        f"{name} needs the module {module}, which is not loaded",
        span,
        f"load the module {module}; it may be passive",
    )


def too_few_arguments(name: str, span: Span, missing: Iterable[str], taken_as_index: str = "") -> Diagnostic:
    """Arguments are missing, perhaps because a list after a variable was read as its index."""
    hint = f'{taken_as_index} [ reads an element; to pass a list after it, write "${{{taken_as_index[1:]}}}" [...]'
    return _error(f"{name} needs {listed(missing)}", span, hint if taken_as_index else None)


def too_many_arguments(name: str, span: Span, most: int) -> Diagnostic:
    """More arguments than the function takes."""
    takes = "no arguments" if most == 0 else "one argument" if most == 1 else f"at most {most} arguments"
    return _error(f"{name} takes {takes}", span)


def wrong_type(name: str, argument: str, wants: str, span: Span) -> Diagnostic:
    """A literal of the wrong type."""
    return _error(f"{name}: {argument} must be {wants}", span)


def unknown_tag(name: str, tag: str, span: Span, known: Iterable[str]) -> Diagnostic:
    """A tag that the function does not have."""
    return _error(f"{name} has no tag :{_cut(tag)}", span, _did_you_mean(tag[:_LONGEST_QUOTE], known))


def tag_needs_value(tag: str, span: Span, wants: str) -> Diagnostic:
    """A tag without its argument."""
    return _error(f":{tag} must be followed by {wants}", span)


def second_tag(tag: str, span: Span, first: str) -> Diagnostic:
    """Two tags that exclude each other."""
    return _error(f":{tag} and :{first} cannot be combined", span)


def repeated_tag(tag: str, span: Span) -> Diagnostic:
    """A tag that is given twice."""
    return _error(f":{tag} is given twice", span)


def late_tag(tag: str, span: Span) -> Diagnostic:
    """A tag after an argument (RFC 5228, 2.6.2)."""
    return _error(f":{_cut(tag)} must stand before the arguments without a tag", span)


def lonely_tag(tag: str, span: Span, other: str) -> Diagnostic:
    """A tag that needs another one."""
    return _error(f":{tag} needs :{other}", span)


def not_constant(name: str, argument: str, span: Span) -> Diagnostic:
    """A string with variables where RFC 5229 wants a constant one."""
    return _error(f"{name}: {argument} must be constant, without variables", span)


def needs_one_tag(name: str, span: Span, tags: Iterable[str]) -> Diagnostic:
    """A call that does not have exactly one of these tags."""
    return _error(f"{name} needs one of {listed((f':{tag}' for tag in tags), 'or')}", span)


def unknown_relation(span: Span, known: Iterable[str]) -> Diagnostic:
    """`:value` or `:count` with an unknown relation."""
    return _error(f"{_cut(span.text)} is not a relation", span, f"one of {listed(known, 'or')}")


def unknown_comparator(span: Span, known: Iterable[str]) -> Diagnostic:
    """`:comparator` with an unknown name."""
    return _error(f"{_cut(span.text)} is not a comparator", span, f"one of {listed(known, 'or')}")


def no_substrings(comparator: str, span: Span, match_type: str) -> Diagnostic:
    """`i;ascii-numeric` has no substring operation (RFC 4790, 9.1.1)."""
    return _error(f"{comparator} compares numbers and cannot be used with :{match_type}", span)


def bad_pattern(span: Span, reason: str) -> Diagnostic:
    """A regular expression that neither engine accepts."""
    return _error(f"not a regular expression: {reason}", span)


def not_a_value(name: str, span: Span) -> Diagnostic:
    """An action used as a value."""
    return _error(f"{name} is an action and has no value", span)


def not_a_test(name: str, span: Span) -> Diagnostic:
    """An action used as a test."""
    return _error(f"{name} is an action, not a test", span)


def test_as_statement(name: str, span: Span) -> Diagnostic:
    """A test used as a statement."""
    return _error(f"{name} is a test; use it in an if", span)


def needs_a_variable(name: str, span: Span) -> Diagnostic:
    """`isset "x"`: a literal instead of a variable."""
    return _error(f"{name} needs a variable; {_cut(span.text)} is not one", span)


def bad_argument(name: str, argument: str, reason: str, span: Span) -> Diagnostic:
    """A constant argument that the function rejects."""
    return _error(f"{name}: {argument}: {reason}", span)


def late_require(span: Span) -> Diagnostic:
    """`require` after another statement, or in a block."""
    return _error("require must come before all other statements", span)


def bad_require(span: Span) -> Diagnostic:
    """`require` with something else than one string or list of strings."""
    return _error("require takes the names of extensions, as one string or list", span, 'write require ["one", "two"]')


def not_a_list_item(span: Span) -> Diagnostic:
    """`["a",]` in standard Sieve."""
    return _error("a string must follow the comma", span)


def empty_list(span: Span) -> Diagnostic:
    """`[]` in standard Sieve."""
    return _error("a list has at least one string", span)


def not_a_whole_number(span: Span) -> Diagnostic:
    """`-1` or `1.5K` in standard Sieve."""
    return _error(f"{_cut(span.text)} is not a number of standard Sieve", span, "a number is 10, 4K, 1M or 2G")


def not_a_character(text: str, span: Span) -> Diagnostic:
    """`${unicode:d800}` (RFC 5228, 2.4.2.4)."""
    return _error(f"{_cut(text)} is not a Unicode character", span, "a character is 0 to D7FF or E000 to 10FFFF")


def unknown_namespace(name: str, span: Span) -> Diagnostic:
    """`${a.b}` with a namespace that no required extension defines (RFC 5229, 3)."""
    return _error(f"{_cut(name)} names no variable", span, 'the only namespace is global, with require "include"')


def global_after_set(name: str, span: Span) -> Diagnostic:
    """`global` after `set` (RFC 6609, 3.4.1)."""
    return _error(f"{_cut(name)} was set before it is declared global", span, "move global up")


def not_an_address_field(name: str, span: Span) -> Diagnostic:
    """`address` on a field without addresses (RFC 5228, 5.1)."""
    return _error(f"address: {_cut(name)} is not a field with addresses", span, "use header for other fields")


def no_mailboxes(names: Iterable[str], span: Span, *, files: bool) -> Diagnostic:
    """Actions and tests that need a mailbox or a user."""
    message = f"{listed(names)}: a proxy has no mailboxes: use redirect or addheader"
    return _error(message, span, "or set fileinto_header, so that fileinto adds a field" if files else None)


def not_here(names: Iterable[str], span: Span) -> Diagnostic:
    """Actions and tests of extensions that Ringback does not have."""
    return _error(f"{listed(names)}: Ringback does not have this extension of Sieve", span)


def of_no_use(extension: str, span: Span) -> Diagnostic:
    """`require` of an extension that only makes sense where mail is stored."""
    return _warning(f"the extension {_cut(extension)} has no use in a proxy", span, "remove it")


def unknown_extension(name: str, span: Span, known: Iterable[str], *, is_core: bool = False) -> Diagnostic:
    """`require` of an extension that Ringback does not have, or of a command of the core (`is_core`)."""
    if is_core:
        return _error(f"{name} is no extension: it is always there", span, "remove it")
    return _error(f"the extension {_cut(name)} is not supported", span, _did_you_mean(name[:_LONGEST_QUOTE], known))


def not_required(extension: str, span: Span) -> Diagnostic:
    """An extension is used without its `require`."""
    return _error(
        f"{_cut(span.text)} as used here needs the extension {extension}", span, f'require "{extension}" first'
    )


def not_a_choice(name: str, argument: str, given: str, span: Span, choices: Iterable[str]) -> Diagnostic:
    """A constant that is not one of the function's choices."""
    return _error(f'{name}: {argument} cannot be "{_cut(given)}"', span, f"one of {listed(choices, 'or')}")


# ---------------------------------------------------------------- warnings


def unset_variable(name: str, span: Span) -> Diagnostic:
    """A variable is read before it is set."""
    return _warning(f"${_cut(name)} is read before it is set; its value is empty", span)


def never_read(name: str, span: Span) -> Diagnostic:
    """A variable is set but never read."""
    return _warning(f"${_cut(name)} is set here but never read", span)


def unreachable(span: Span, action: str) -> Diagnostic:
    """A statement after an action that ends the phase."""
    return _warning(f"this never runs: {action} ends the phase first", span)


def never_keeps(name: str, span: Span, action: str) -> Diagnostic:
    """An action that keeps or rejects the mail, after an action that ends the phase."""
    hint = f"move it up, or directly next to {action}" if action != "every branch" else "move it up"
    return _warning(f"{name} never runs: {action} ends the phase first", span, hint)


def never_chosen(name: str, span: Span) -> Diagnostic:
    """An action that keeps or rejects the mail, in a branch that is never taken."""
    return _warning(f"{name} never runs: its branch of the if is never taken", span)


def no_braces(name: str, span: Span) -> Diagnostic:
    """`$x` inside a string, where x is a variable of the script."""
    return _warning(f"${_cut(name)} inside a string is not replaced", span, f"write ${{{name}}} for its value")


def slow_pattern(span: Span, reason: str) -> Diagnostic:
    """A pattern that needs the second engine."""
    return _warning(
        f"this pattern runs in the slow engine, under a time limit: {reason}",
        span,
        "without look-around, back-references and atomic groups it runs in linear time",
    )


def unknown_macro(text: str, span: Span) -> Diagnostic:
    """`%{ns:key}` that names no macro."""
    return _warning(f"{_cut(text)} is not a macro; it is not replaced", span)


def u_label(text: str, a_labels: str, span: Span) -> Diagnostic:
    """A constant domain or address with non-ASCII letters."""
    return _warning(f"{_cut(text)} matches no address: scripts see domains as A-labels", span, f"write {a_labels}")


def default_refusal(name: str, span: Span) -> Diagnostic:
    """A rejection without a text."""
    return _warning(f'{name} has no text; the sender reads "{DEFAULT_REFUSAL}"', span)
