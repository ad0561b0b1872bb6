"""Strings and lists of strings."""

from __future__ import annotations

from sieve.library import Pattern, Value, sieve_function
from sieve.run import reasons
from sieve.run.backtracking import SlowPattern, any_pattern
from sieve.run.content import judged
from sieve.run.patience import Soon
from sieve.run.patterns import PatternRefusedError
from sieve.run.runtime import Frame
from sieve.run.values import ScriptError, as_text


def _split(frame: Frame, delimiter: str, text: str) -> tuple[str, ...]:
    if not delimiter:
        raise ScriptError(reasons.empty_delimiter())
    pieces = text.split(delimiter, frame.settings.limits.list)
    if len(pieces) > frame.settings.limits.list:
        raise ScriptError(reasons.list_too_long(frame.settings.limits.list))
    return tuple(pieces)


@sieve_function()
def split(frame: Frame, delimiter: str, string: str) -> tuple[str, ...]:
    """Split a string at every delimiter: `($a, $b, $c, $d) = split "." "%{spfv1:i}";`."""
    return _split(frame, delimiter, string)


@sieve_function()
def ec_explode(frame: Frame, delimiter: str, string: str) -> tuple[str, ...]:
    """Split a string at every delimiter, like `split`."""
    return _split(frame, delimiter, string)


@sieve_function()
def join(frame: Frame, delimiter: str, stringlist: tuple[str, ...]) -> str:
    """Join the elements of a list, with the delimiter between them."""
    limit = frame.settings.limits.string
    if sum(map(len, stringlist)) + len(delimiter) * len(stringlist) > limit:
        raise ScriptError(reasons.string_too_long(limit))
    return delimiter.join(stringlist)


@sieve_function()
def reverse(arg: Value) -> Value:
    """Reverse the characters of a string, or the order of a list."""
    return arg[::-1] if isinstance(arg, tuple) else as_text(arg)[::-1]


@sieve_function()
def reverse_delim(frame: Frame, delimiter: str, string: str) -> str:
    """Reverse the order of a string's pieces: `reverse_delim "." "1.2.3"` is `3.2.1`."""
    return delimiter.join(reversed(_split(frame, delimiter, string)))


@sieve_function()
def ec_tolower(string: str) -> str:
    """Convert a string to lower case."""
    return string.lower()


@sieve_function()
def ec_pcre_match(frame: Frame, string: str, pattern: Pattern) -> Soon[tuple[str, ...]]:
    r"""Match a regular expression and return the whole match and its groups: `[whole, group, ...]`.

    The list is empty if the pattern does not match: `($all, $user) = ec_pcre_match $address "(.*)@";`.
    """
    try:
        compiled = any_pattern(pattern, frame.settings.limits)
    except PatternRefusedError as refused:
        raise ScriptError(reasons.not_a_pattern(str(refused))) from None
    if isinstance(compiled, SlowPattern):
        return _matched(compiled, string)
    return judged(string, lambda text: compiled.groups(text) or ())


async def _matched(pattern: SlowPattern, text: str) -> tuple[str, ...]:
    return await pattern.groups(text) or ()
