"""Error messages for syntax errors and unreadable files."""

from __future__ import annotations

from collections.abc import Sequence

from config.diagnostics import Diagnostic, Note, Severity, Span
from config.errors import cut, shown

_UNITS = {
    **{word: word[0] for word in ("second", "seconds", "minute", "minutes", "min", "hour", "hours", "day", "days")},
    **{word: word[0].upper() for word in ("kb", "mb", "gb", "kib", "mib", "gib", "k", "g")},
}
_NAMES = {"(": "list", "[": "dictionary", "<": "attributes", "{": "stanza"}
_CLOSERS = {"(": ")", "[": "]", "<": ">", "{": "}"}
_OPENERS = {close: opening for opening, close in _CLOSERS.items()}


def string_not_closed(span: Span) -> Diagnostic:
    """A quote that is not closed on its line, in a text that shows it was not meant to close later."""
    return Diagnostic("this quoted string is not closed", span, f"end it with {span.text[0]}")


def comment_not_closed(span: Span) -> Diagnostic:
    """A `/*` without `*/`."""
    return Diagnostic("this comment is not closed", span, "end it with */, or begin each line with #")


def slashes_are_no_comment(span: Span) -> Diagnostic:
    """`// …` at the beginning of a statement."""
    return Diagnostic("`//` does not begin a comment", span, "begin a comment with #, or write it between /* and */")


def semicolon(span: Span) -> Diagnostic:
    """A `;` after a value, as in other languages."""
    hint = "remove it; quote a value that contains ;"
    return Diagnostic("a statement does not end in `;`", span, hint)


def typographic_quote(span: Span) -> Diagnostic:
    """A quotation mark from a word processor."""
    return Diagnostic("this is a typographic quotation mark", span, 'write " on both sides')


def unprintable(char: str, span: Span) -> Diagnostic:
    """A control character outside quotes."""
    return Diagnostic(f"unprintable character U+{ord(char):04X}", span, "remove it")


def nested_too_deep(deepest: int, span: Span) -> Diagnostic:
    """Brackets nested too deep."""
    return Diagnostic(f"nested deeper than {deepest} levels; the rest of this file is not read", span)


def too_many_words(most: int, span: Span) -> Diagnostic:
    """A file with too many words."""
    return Diagnostic(f"this file has more than {most} words and signs; the rest is not read", span)


def never_closed(opener: str, span: Span) -> Diagnostic:
    """An opening bracket that is never closed."""
    article = "these" if opener == "<" else "this"
    verb = "are" if opener == "<" else "is"
    return Diagnostic(f"{article} {_NAMES[opener]} {verb} never closed", span, f"add {_CLOSERS[opener]} where it ends")


def wrong_closer(closer: str, opener: str, span: Span, opened: Span) -> Diagnostic:
    """`( … ]`."""
    note = Note(f"`{opener}` opened here", opened)
    return Diagnostic(f"`{closer}` does not close `{opener}`", span, f"write {_CLOSERS[opener]}", notes=(note,))


def nothing_to_close(closer: str, span: Span) -> Diagnostic:
    """An extra closing bracket."""
    hint = f"remove it, or add the `{_OPENERS[closer]}` that it should close"
    return Diagnostic(f"`{closer}` closes nothing", span, hint)


def unexpected(sign: str, span: Span) -> Diagnostic:
    """A sign instead of the start or end of a statement."""
    return Diagnostic(f"`{sign}` is not allowed here", span, "a statement is `name = value` or `name { … }`")


def value_is_missing(name: str, span: Span) -> Diagnostic:
    """`name =` with nothing after it on the line."""
    return Diagnostic(f"`{name}` has no value", span, f'write {name} = value, or {name} = "" for the empty value')


def key_without_value(name: str, span: Span) -> Diagnostic:
    """A key alone in a dictionary."""
    return Diagnostic(f"`{name}` has no value", span, f'a dictionary has `key = value`: write {name} = "…"')


def key_is_missing(span: Span) -> Diagnostic:
    """A value without a key in a dictionary."""
    return Diagnostic("a key is missing here", span, "a dictionary has `key = value`")


def equals_is_missing(name: str, span: Span, value: str) -> Diagnostic:
    """`name value`."""
    return Diagnostic(f"`=` is missing after `{name}`", span, f"write {name} = {value}")


def equals_twice(name: str, span: Span) -> Diagnostic:
    """`name = = value`."""
    return Diagnostic(f"`=` appears twice after `{name}`", span, "remove one")


def equals_in_list(span: Span) -> Diagnostic:
    """`( a = b )`."""
    return Diagnostic("`=` is not allowed in a list", span, "a list has only values; write `key = value` inside [ … ]")


def equals_before_brace(name: str, span: Span) -> Diagnostic:
    """`name = { … }`."""
    return Diagnostic(
        "`=` is not allowed before `{`", span, f"write {name} {{ … }} for a stanza, or {name} = [ … ] for a dictionary"
    )


def equals_in_head(name: str, span: Span) -> Diagnostic:
    """`Esmtp_Listener = { … }`, as some pages of Momentum's manual have it."""
    return Diagnostic("a stanza has no `=` before its `{`", span, f"write {name} {{ … }}", Severity.WARNING)


def value_holds_equals(name: str, whole: str, span: Span) -> Diagnostic:
    """`name = a = b`; `whole` is the text from the value to the end of what follows the second sign."""
    hint = f'quote a value that contains =: {name} = "{_one_line(whole)}"'
    return Diagnostic(f"the value of `{name}` is followed by another `=`", span, hint)


def extra_word(word: str, name: str, whole: str, span: Span) -> Diagnostic:
    """`name = a b`; `whole` is the text from the value to this word."""
    meant = _one_line(whole)
    number, _, unit = meant.partition(" ")
    hint = f'quote a value that contains spaces: {name} = "{meant}"; write a list in ( … )'
    if number.isdecimal() and unit.lower() in _UNITS:
        hint = f"write a number and its unit as one word: {name} = {number}{_UNITS[unit.lower()]}"
    return Diagnostic(f"unexpected {shown(word)} after the value of `{name}`", span, hint)


def quoted_name(name: str, span: Span) -> Diagnostic:
    """`"name" = value`."""
    return Diagnostic("the name of an option or stanza is not quoted", span, f"write {name}")


def name_of_two_words(span: Span) -> Diagnostic:
    """`Relay Domains = …`."""
    return Diagnostic("an option's name is one word", span, f"write {'_'.join(span.text.split())}")


def brace_is_missing(span: Span) -> Diagnostic:
    """A stanza's head without `{`."""
    return Diagnostic("`{` is missing after this", span, f"write {span.text} {{")


def neither_value_nor_brace(name: str, span: Span) -> Diagnostic:
    """A word alone on its line."""
    hint = f"write {name} = value for an option, or {name} {{ … }} for a stanza"
    return Diagnostic(f"`{name}` stands alone", span, hint)


def _one_line(text: str) -> str:
    """Return an operator's words as one quotable line."""
    return " ".join(text.replace('"', "").split())


# ---------------------------------------------------------------- files


def too_large(name: str, size: int, largest: int, span: Span | None) -> Diagnostic:
    """A file over the size limit."""
    return Diagnostic(f"{name} has {size} bytes; the limit is {largest}", span)


def cannot_read(path: str, reason: str, span: Span | None, tried: Sequence[str] = ()) -> Diagnostic:
    """A configuration file that is missing or unreadable."""
    hint = f"looked for {', '.join(tried)}" if len(tried) > 1 else None
    return Diagnostic(f"cannot read {cut(path, 200)}: {reason}", span, hint)


def include_from_elsewhere(target: str, span: Span) -> Diagnostic:
    """An include by URI."""
    return Diagnostic(f"{shown(target)} is not fetched", span, "copy its content to a file and include that")


def include_cycle(chain: Sequence[str], span: Span, notes: tuple[Note, ...]) -> Diagnostic:
    """A file that includes itself, directly or through others."""
    message = f"this file includes itself: {' > '.join(chain)}"
    return Diagnostic(message, span, "remove one of the includes", notes=notes)


def too_many_files(most: int, span: Span) -> Diagnostic:
    """Too many included files."""
    return Diagnostic(f"more than {most} files are included; this one and what follows are not read", span)
