"""Regular expressions that RE2 rejects: look-around, back-references, atomic groups.

They run in a backtracking engine, so each match has a time limit and runs in a small thread pool, with the interpreter
lock released. The pattern is first rewritten to follow RE2's rules: ASCII classes, `$` only at the end of the text,
inline flags from their position on.
"""

from __future__ import annotations

import asyncio
import functools
import re
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any, TypeVar

from sieve.run import reasons
from sieve.run.patterns import Pattern, PatternRefusedError, linear_pattern, normal
from sieve.run.values import ScriptError
from sieve.settings import Limits

_T = TypeVar("_T")

_WORD = "0-9A-Za-z_"
_SPACE = r"\t\n\f\r\x20"
_OUTSIDE = {
    "d": "[0-9]",
    "D": "[^0-9]",
    "w": f"[{_WORD}]",
    "W": f"[^{_WORD}]",
    "s": f"[{_SPACE}]",
    "S": f"[^{_SPACE}]",
    "b": f"(?:(?<=[{_WORD}])(?![{_WORD}])|(?<![{_WORD}])(?=[{_WORD}]))",
    "B": f"(?:(?<=[{_WORD}])(?=[{_WORD}])|(?<![{_WORD}])(?![{_WORD}]))",
    "z": r"\Z",
    "Z": r"(?=\n?\Z)",
}
_INSIDE = {"d": "0-9", "w": _WORD, "s": _SPACE}
_POSIX = {
    "alpha": "A-Za-z",
    "digit": "0-9",
    "alnum": "0-9A-Za-z",
    "upper": "A-Z",
    "lower": "a-z",
    "space": r"\t\n\v\f\r\x20",
    "blank": r"\t\x20",
    "xdigit": "0-9A-Fa-f",
    "word": _WORD,
    "punct": r"!-/:-@\[-`{-~",
    "print": r"\x20-~",
    "graph": "!-~",
    "cntrl": r"\x00-\x1f\x7f",
}
_PIECE = re.compile(
    r"""
      \\Q(?P<quoted>.*?)(?:\\E|\Z)
    | \\x\{(?P<code>[0-9A-Fa-f]{1,6})\}
    | \\(?P<escaped>.)
    | \[:(?P<posix>[a-z]+):\]
    | (?P<open>\[\^?\]?)
    | (?P<other>.)
    """,
    re.VERBOSE | re.DOTALL,
)
_MULTILINE = re.compile(r"\(\?[a-zA-Z]*m")
_THREADS = 4


@functools.cache
def _pool() -> ThreadPoolExecutor:
    """Return the thread pool, created when the first such pattern runs."""
    return ThreadPoolExecutor(_THREADS, "sieve-regex")


def rewritten(pattern: str) -> str:
    """Rewrite the pattern so that the backtracking engine agrees with RE2."""
    end = "$" if _MULTILINE.search(pattern) else r"\Z"
    pieces: list[str] = ["(?-f)"]  # RE2 maps one character to one character, never ß to ss
    inside = False
    for piece in _PIECE.finditer(normal(pattern)):
        plain = _plain(piece, inside=inside)
        if plain is not None:
            pieces.append(plain)
        elif inside:
            inside = piece[0] != "]"
            pieces.append(_in_class(piece))
        else:
            inside = piece["open"] is not None
            pieces.append(end if piece[0] == "$" else _opened(piece))
    return "".join(pieces)


def _plain(piece: re.Match[str], *, inside: bool) -> str | None:
    """Return an escape in the other engine's syntax; None if it is not an escape."""
    if piece["quoted"] is not None:
        return re.escape(piece["quoted"])
    if piece["code"]:
        return re.escape(chr(min(int(piece["code"], 16), 0x10FFFF)))
    if piece["escaped"]:
        return (_INSIDE if inside else _OUTSIDE).get(piece["escaped"], piece[0])
    return None


def _opened(found: re.Match[str]) -> str:
    """Return a piece outside a class. A bracket as the first member of a class is escaped."""
    return found[0].replace("]", r"\]") if found["open"] else found[0]


def _in_class(found: re.Match[str]) -> str:
    """Return a member of a class. This engine has operators and nested classes there; PCRE does not."""
    if found["posix"] in _POSIX:
        return _POSIX[found["posix"]]
    return re.sub(r"[\[&|~]", r"\\\g<0>", found[0])


@dataclass(frozen=True, slots=True)
class SlowPattern:
    """A compiled pattern of the backtracking engine."""

    engine: Any
    seconds: float
    reason: str
    """Why RE2 rejects it."""

    async def found(self, text: str) -> bool:
        """Tell whether the pattern matches anywhere in `text`.

        Raises:
            ScriptError: the match exceeds its time limit.
        """
        return await self._run(self._found, text)

    async def groups(self, text: str) -> tuple[str, ...] | None:
        """Return the whole match and its groups, unmatched groups as empty text; None if there is no match.

        Raises:
            ScriptError: the match exceeds its time limit.
        """
        return await self._run(self._groups, text)

    async def _run(self, match: Callable[[str], _T], text: str) -> _T:
        try:
            return await asyncio.get_running_loop().run_in_executor(_pool(), match, text)
        except TimeoutError:
            raise ScriptError(reasons.pattern_too_slow(self.seconds)) from None

    def _found(self, text: str) -> bool:
        return self.engine.search(text, timeout=self.seconds, concurrent=True) is not None

    def _groups(self, text: str) -> tuple[str, ...] | None:
        match = self.engine.search(text, timeout=self.seconds, concurrent=True)
        return None if match is None else tuple(match[number] or "" for number in range(len(match.groups()) + 1))


@functools.lru_cache(maxsize=256)
def slow_pattern(pattern: str, seconds: float, reason: str, *, ignore_case: bool = False) -> SlowPattern:
    """Compile a pattern for the backtracking engine.

    Raises:
        PatternRefusedError: it is not a valid pattern.
    """
    import regex  # noqa: PLC0415 - loading it takes 12 ms, and few scripts need it

    flags = regex.VERSION1 | (regex.IGNORECASE if ignore_case else 0)
    try:
        return SlowPattern(regex.compile(rewritten(pattern), flags), seconds, reason)
    except (regex.error, ValueError, OverflowError, RecursionError) as error:
        raise PatternRefusedError(str(error)) from None


def any_pattern(pattern: str, limits: Limits, *, ignore_case: bool = False) -> Pattern | SlowPattern:
    """Compile a regular expression for RE2, or for the backtracking engine if RE2 rejects it.

    Raises:
        PatternRefusedError: both engines reject it, or it is too long. The reason is RE2's.
    """
    if len(pattern) > limits.pattern:
        raise PatternRefusedError(reasons.pattern_too_long(limits.pattern))
    try:
        return linear_pattern(pattern, ignore_case=ignore_case)
    except PatternRefusedError as refused:
        reason = str(refused)
    try:
        return slow_pattern(pattern, limits.regex_seconds, reason, ignore_case=ignore_case)
    except PatternRefusedError:
        raise PatternRefusedError(reason) from None
