"""The text of every diagnostic that only standard Sieve has, one function per message."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from config.diagnostics import Diagnostic, Note, Span
from sieve.errors import LONGEST_QUOTE, cut, did_you_mean, error, warning
from sieve.words import listed


def bad_require(span: Span) -> Diagnostic:
    """`require` with something else than one string or list of strings."""
    return error("require takes the names of extensions, as one string or list", span, 'write require ["one", "two"]')


def not_a_list_item(span: Span) -> Diagnostic:
    """`["a",]` in standard Sieve."""
    return error("a string must follow the comma", span)


def empty_list(span: Span) -> Diagnostic:
    """`[]` in standard Sieve."""
    return error("a list has at least one string", span)


def not_a_whole_number(span: Span) -> Diagnostic:
    """`-1` or `1.5K` in standard Sieve."""
    return error(f"{cut(span.text)} is not a number of standard Sieve", span, "a number is 10, 4K, 1M or 2G")


def not_a_character(text: str, span: Span) -> Diagnostic:
    """`${unicode:d800}` (RFC 5228, 2.4.2.4)."""
    return error(f"{cut(text)} is not a Unicode character", span, "a character is 0 to D7FF or E000 to 10FFFF")


def unknown_namespace(name: str, span: Span) -> Diagnostic:
    """`${a.b}` with a namespace that no required extension defines (RFC 5229, 3)."""
    return error(f"{cut(name)} names no variable", span, 'the only namespace is global, with require "include"')


def global_after_set(name: str, span: Span) -> Diagnostic:
    """`global` after `set` (RFC 6609, 3.4.1)."""
    return error(f"{cut(name)} was set before it is declared global", span, "move global up")


def not_an_address_field(name: str, span: Span) -> Diagnostic:
    """`address` on a field without addresses (RFC 5228, 5.1)."""
    return error(f"address: {cut(name)} is not a field with addresses", span, "use header for other fields")


def not_a_field_name(name: str, span: Span) -> Diagnostic:
    """`header "Subject:"`: no field has this name (RFC 5322, 3.6.8)."""
    hint = f'write "{cut(name[:-1])}"' if name.endswith(":") else None
    return warning(f"no field can have the name {cut(name)!r}", span, hint)


def second_rejection(name: str, span: Span, first: Span) -> Diagnostic:
    """Two rejections in one run (RFC 5429, 2.4)."""
    note = Note("rejected here", first)
    return error(f"{name} comes after another rejection, and one run rejects once", span, notes=(note,))


def rejected_too(name: str, span: Span, rejection: str) -> Diagnostic:
    """`keep` and `reject` in one run, which is not recommended (RFC 5429, 2.4)."""
    return warning(f"{name} has no effect together with {rejection}: the message is rejected", span)


def edited_late(name: str, span: Span, delivery: str) -> Diagnostic:
    """`addheader` after `redirect`: each wants another header section (RFC 5293, 7), and a message has one."""
    message = f"{name} comes after {delivery}, but all recipients get the same header section"
    return warning(message, span, f"move it above {delivery}")


def no_mailboxes(names: Iterable[str], span: Span, *, files: bool) -> Diagnostic:
    """Actions and tests that need a mailbox or a user."""
    message = f"{listed(names)}: a proxy has no mailboxes: use redirect or addheader"
    return error(message, span, "or set fileinto_header, so that fileinto adds a field" if files else None)


def not_here(names: Iterable[str], span: Span) -> Diagnostic:
    """Actions and tests of extensions that Ringback does not have."""
    return error(f"{listed(names)}: Ringback does not have this extension of Sieve", span)


def of_no_use(extension: str, span: Span) -> Diagnostic:
    """`require` of an extension that only makes sense where mail is stored."""
    return warning(f"the extension {cut(extension)} has no use in a proxy", span, "remove it")


def no_variables_in_rfc(span: Span) -> Diagnostic:
    """`$x` in RFC 5228 mode."""
    return error(
        f"{cut(span.text)} is Sieve++; standard Sieve has no $ variables", span, 'require "variables" and use set'
    )


def not_required(places: Mapping[str, Span]) -> Diagnostic:
    """Extensions that are used without their `require`, and where first."""
    names, span = sorted(places), next(iter(places.values()))
    if len(names) == 1:
        message = f"{cut(span.text)} as used here needs the extension {names[0]}"
        return error(message, span, f'require "{names[0]}" first')
    notes = [Note(f"{cut(place.text)} needs {name}", place) for name, place in places.items() if place != span]
    quoted = ", ".join(f'"{name}"' for name in names)
    return error(
        f"the extensions {listed(names)} are used without require", span, f"require [{quoted}] first", (*notes,)
    )


def unknown_extension(name: str, span: Span, known: Iterable[str], *, is_core: bool = False) -> Diagnostic:
    """`require` of an extension that Ringback does not have, or of a command of the core (`is_core`)."""
    if is_core:
        return error(f"{name} is not an extension: it is always there", span, "remove it")
    return error(f"the extension {cut(name)} is not supported", span, did_you_mean(name[:LONGEST_QUOTE], known))


def late_require(span: Span) -> Diagnostic:
    """`require` after another statement, or in a block."""
    return error("require must come before all other statements", span)
