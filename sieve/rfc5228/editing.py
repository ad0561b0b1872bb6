"""Change header fields (RFC 5293), and `fileinto` as a field."""

from __future__ import annotations

import re

from sieve.library import sieve_function
from sieve.message.encoded_words import decoded_words
from sieve.phases import Effect, Need
from sieve.rfc5228.state import deliver, state_of, written
from sieve.rfc5228.tests import positive
from sieve.run import reasons
from sieve.run.backtracking import any_pattern
from sieve.run.content import judged
from sieve.run.lists import found_any, matcher
from sieve.run.matching import CASEMAP, COMPARATORS, FOLDING, MATCH_TYPES, RELATIONS, Comparison, MatchType
from sieve.run.patience import settled
from sieve.run.patterns import PatternRefusedError
from sieve.run.runtime import Frame
from sieve.run.values import ScriptError

_FIELD_NAME = re.compile(r"[!-9;-~]{1,200}\Z")
_NOT_IN_NAMES = re.compile(r"[\x00-\x1f\x7f]")
_NOT_UTF_8 = re.compile("[\ud800-\udfff]")
_BREAK = re.compile(r"(?:(?<![ \t])[ \t]+)?\r?\n[ \t]*")
"""A line break with the blanks around it; those before it are looked at only from the first."""

_UNTOUCHED = frozenset({"received", "auto-submitted"})
"""Fields that no script may delete (RFC 5293, 6)."""


def field_name(text: str) -> str:
    """Return a field name (RFC 5322, 2.2).

    Raises:
        ScriptError: it is not a field name.
    """
    if _FIELD_NAME.match(text) is None:
        raise ScriptError(reasons.not_a_field_name(text))
    return text


def field_body(text: str) -> str:
    """Return text as the body of a field, in one line: Ringback folds it again if it is long.

    Raises:
        ScriptError: it has a NUL.
    """
    if "\0" in text:
        raise ScriptError(reasons.not_a_field_body(text))
    return written(_BREAK.sub(" ", text).strip(" "))


@sieve_function(
    dialect="rfc5228",
    extension="editheader",
    needs=Need.HEADERS,
    effect=Effect.MESSAGE,
    checks={"field_name": field_name, "value": field_body},
)
def addheader(frame: Frame, field_name: str, value: str, *, last: bool = False) -> None:
    """Add a field at the top of the header section, or with `:last` at its end (RFC 5293, 4).

    Text that is not ASCII is encoded (RFC 2047). Ringback's own Received field stays at the top.
    """
    name, body = _name(field_name), field_body(value)
    if last:
        frame.host.edits.append_header(name, body)
    else:
        frame.host.edits.add_header(name, body)


_name = field_name


@sieve_function(
    dialect="rfc5228",
    extension="editheader",
    needs=Need.HEADERS,
    effect=Effect.MESSAGE,
    choices={"comparator": COMPARATORS, "value": tuple(RELATIONS), "count": tuple(RELATIONS)},
    checks={"field_name": field_name, "index": positive},
    exclusive=(tuple(sorted(MATCH_TYPES)),),
    only_with={"last": "index"},
)
async def deleteheader(
    frame: Frame,
    field_name: str,
    value_patterns: tuple[str, ...] = (),
    *,
    index: int | None = None,
    last: bool = False,
    comparator: str = CASEMAP,
    is_: bool = False,  # noqa: ARG001 - the default, which may be written
    contains: bool = False,
    matches: bool = False,
    regex: bool = False,
    value: str = "",
    count: str = "",
) -> None:
    """Delete the fields with this name, or those whose bodies match (RFC 5293, 5).

    `:index` deletes only the field with this number; `:last` counts from the end. `Received` and `Auto-Submitted` stay.
    """
    name = _name(field_name)
    message = frame.host.message
    if message is None or name.lower() in _UNTOUCHED:
        return
    bodies = list(message.header(name))
    numbers = list(range(len(bodies)))
    if index is not None:
        numbers = (numbers[::-1] if last else numbers)[index - 1 : index]
    chosen = [("contains", contains), ("matches", matches), ("regex", regex), ("value", value), ("count", count)]
    match = next((MatchType(kind) for kind, given in chosen if given), MatchType.IS)
    if value_patterns:
        comparison = Comparison(match, comparator.lower(), (value or count).lower(), strict=True)
        numbers = await _matching(frame, numbers, bodies, comparison, value_patterns)
    if len(numbers) == len(bodies):
        frame.host.edits.delete_header(name)
        return
    for number in sorted(numbers, reverse=True):
        frame.host.edits.delete_one_header(name, number)


async def _matching(
    frame: Frame, numbers: list[int], bodies: list[str], comparison: Comparison, patterns: tuple[str, ...]
) -> list[int]:
    """Return the numbers of the fields whose bodies match."""
    texts = [decoded_words(bodies[number]).strip(" \t") for number in numbers]
    if comparison.match is MatchType.COUNT:
        return numbers if matcher(comparison, patterns)(tuple(texts)) else []
    if comparison.match is not MatchType.REGEX:
        holds = matcher(comparison, patterns)
        return await settled(
            judged(
                tuple(texts), lambda found: [number for number, text in zip(numbers, found, strict=True) if holds(text)]
            )
        )
    try:
        folds = comparison.comparator in FOLDING
        compiled = [any_pattern(each, frame.settings.limits, ignore_case=folds) for each in patterns]
    except PatternRefusedError as refused:
        raise ScriptError(reasons.not_a_pattern(str(refused))) from None
    return [number for number, text in zip(numbers, texts, strict=True) if await found_any((text,), compiled)]


def mailbox_name(text: str) -> str:
    """Return the name of a mailbox.

    Raises:
        ScriptError: a field cannot hold it, or it is not UTF-8 (RFC 5228, 4.1).
    """
    if _NOT_UTF_8.search(text) is not None:
        raise ScriptError(reasons.not_utf_8(text))
    if not text:
        raise ScriptError(reasons.no_mailbox())
    if _NOT_IN_NAMES.search(text) is not None:
        raise ScriptError(reasons.not_a_field_body(text))
    return text


@sieve_function(
    dialect="rfc5228",
    extension="fileinto",
    needs=Need.HEADERS,
    effect=Effect.MESSAGE,
    checks={"mailbox": mailbox_name},
)
def fileinto(frame: Frame, mailbox: str, *, copy: bool = False, create: bool = False) -> None:  # noqa: ARG001 - the server that stores the mail decides
    """Relay the message with the name of the mailbox in a field (RFC 5228, 4.1).

    The option `fileinto_header` names the field; without it, `fileinto` is an error, because a proxy has no mailboxes.
    If the message already has such fields, they are removed. `keep`, and the implicit keep after
    `fileinto :copy`, add a field with `INBOX`.
    """
    state = state_of(frame)
    state.folders.append(mailbox_name(mailbox))
    state.cancelled = state.cancelled or not copy
    deliver(frame)
