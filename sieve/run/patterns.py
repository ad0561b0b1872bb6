"""Patterns: `:matches` globs and regular expressions, matched by RE2 in time linear in the length of the text.

Text is matched as characters. A byte that is not UTF-8, which strings store as a surrogate escape, counts as one
character. RE2 does not support surrogates, so such bytes are mapped to a private range of Unicode.
"""

from __future__ import annotations

import bisect
import functools
import itertools
import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import re2

_FIRST_ESCAPED, _PRIVATE = 0xDC80, 0x10F780
_TO_PRIVATE = {_FIRST_ESCAPED + byte: _PRIVATE + byte for byte in range(128)}
_FROM_PRIVATE = {_PRIVATE + byte: _FIRST_ESCAPED + byte for byte in range(128)}


_PIECE = 1 << 14
"""Text with such bytes is mapped in pieces of this many characters, so that other threads can run in between."""


class PatternRefusedError(Exception):
    """RE2 rejects this pattern. The reason is RE2's."""


def encoded(text: str) -> bytes:
    """Return `text` as UTF-8, with non-UTF-8 bytes as private characters."""
    if text.isascii():
        return text.encode("ascii")
    return b"".join([_encoded(text[at : at + _PIECE]) for at in range(0, len(text), _PIECE)])


def _encoded(piece: str) -> bytes:
    try:
        return piece.encode()
    except UnicodeEncodeError:  # bytes that are not UTF-8
        return piece.translate(_TO_PRIVATE).encode("utf-8", "replace")


def decoded(raw: bytes) -> str:
    """Undo `encoded`."""
    text = raw.decode("utf-8", "surrogateescape")
    if text.isascii():
        return text
    return "".join([text[at : at + _PIECE].translate(_FROM_PRIVATE) for at in range(0, len(text), _PIECE)])


@dataclass(frozen=True, slots=True)
class Pattern:
    """A compiled pattern."""

    engine: Any

    def found(self, text: str) -> bool:
        """Tell whether the pattern matches anywhere in `text`. A glob must match all of it."""
        return self.engine.search(encoded(text)) is not None

    def groups(self, text: str) -> tuple[str, ...] | None:
        """Return the whole match and its groups, unmatched groups as empty text; None if there is no match."""
        match = self.engine.search(encoded(text))
        if match is None:
            return None
        return tuple(decoded(match[number] or b"") for number in range(match.re.groups + 1))

    def groups_as_written(self, text: str, fold: Callable[[str], str]) -> tuple[str, ...] | None:
        """Match the folded text, and return the groups as they are written in `text`."""
        folded = encoded(fold(text))
        match = self.engine.search(folded)
        if match is None:
            return None
        spans = [match.span(number) for number in range(match.re.groups + 1)]
        raw = encoded(text)
        if len(raw) == len(folded):
            return tuple(decoded(raw[start:end]) if start >= 0 else "" for start, end in spans)
        ends = list(itertools.accumulate(len(encoded(fold(char))) for char in text))  # of each folded character
        return tuple(
            text[bisect.bisect_right(ends, start) : bisect.bisect_left(ends, end) + 1] if end > start >= 0 else ""
            for start, end in spans
        )


def _options(*, ignore_case: bool) -> Any:
    options = re2.Options()
    options.log_errors = False
    options.case_sensitive = not ignore_case
    return options


@functools.lru_cache(maxsize=256)
def linear_pattern(pattern: str, *, ignore_case: bool = False) -> Pattern:
    """Compile a regular expression for RE2.

    Raises:
        PatternRefusedError: RE2 rejects it.
    """
    try:
        return Pattern(re2.compile(encoded(normal(pattern)), _options(ignore_case=ignore_case)))
    except re2.error as refused:
        reason = refused.args[0]
        raise PatternRefusedError(
            reason.decode("utf-8", "replace") if isinstance(reason, bytes) else str(reason)
        ) from None


_GLOB = re.compile(r"\\(.)|([*?])", re.DOTALL)


_CHARACTERS = {"*": "(.*?)", "?": "(.)"}
_OCTETS = {"*": "(\\C*?)", "?": f"([{chr(_PRIVATE)}-{chr(_PRIVATE + 127)}]|\\C)"}
"""A byte that is not UTF-8 is one octet, too."""


@functools.lru_cache(maxsize=256)
def glob_pattern(glob: str, *, ignore_case: bool = False, octets: bool = False) -> Pattern:
    r"""Compile a `:matches` pattern: `*`, `?`, and `\` before a literal character (RFC 5228, 2.7.1).

    With `octets`, `?` is one octet of UTF-8 and not one character.
    """
    wild = _OCTETS if octets and "?" in glob else _CHARACTERS
    parts, at = ["(?s)\\A"], 0
    for match in _GLOB.finditer(glob):
        parts.append(re2.escape(glob[at : match.start()].translate(_TO_PRIVATE)))
        parts.append(wild.get(match[2], "") or re2.escape(match[1].translate(_TO_PRIVATE)))
        at = match.end()
    parts += [re2.escape(glob[at:].translate(_TO_PRIVATE)), "\\z"]
    return Pattern(re2.compile("".join(parts).encode("utf-8", "replace"), _options(ignore_case=ignore_case)))


_OPEN_QUANTIFIER = re.compile(r"(\\.)|\{,([0-9]+)\}", re.DOTALL)


def normal(pattern: str) -> str:
    """Return the pattern with `{,n}` as `{0,n}`: PCRE2, Python and RE2 each read `{,n}` differently."""
    return _OPEN_QUANTIFIER.sub(lambda found: found[1] or f"{{0,{found[2]}}}", pattern)
