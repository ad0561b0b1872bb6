"""Mask passwords in quoted text.

Diagnostics are pasted into tickets, and more people read the log than the configuration. This module finds passwords
inside a text. If a whole option is secret, its declaration says so (`config.schema.options`).
"""

from __future__ import annotations

import re
from collections.abc import Iterable

MASK = "***"

_LOGIN = re.compile(
    r"""
    (?<=://)
    (?:
        [^\s"'/?#:@]* : (?P<before_at> .* (?=@) )  # user:password@, whatever the password holds
      | (?P<alone> [^\s"'/?#:@]+ (?=@) )  # a token in the user's place
      | [^\s"'/?#:@\[\]]* : (?P<no_port> (?! \d{1,5} (?: [\s/?#"',)\]] | $ ) ) [^\s"'@]+ )  # the host was forgotten
    )
    """,
    re.VERBOSE,
)
_QUERY = re.compile(r"(?<=[?&])(?:password|passwd|pwd|secret|token|key)=(?P<value>[^&\s\"']+)", re.IGNORECASE)
_FIELD = re.compile(
    r"(?<=[:;,])\s*(?:password|passwd|pass|pwd)\s*=\s*(?P<value>\*\*\*(?=[\s;]|$)|[^;\"\n]+)", re.IGNORECASE
)
_EXTENSION = re.compile(r"x-bindpw=(?P<value>[^,\s\"]+)", re.IGNORECASE)
_SCHEME = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*://")


def hidden_in(text: str) -> list[tuple[int, int]]:
    """Return where a text contains passwords, in order: `user:password@` after `://`, and `password=…`."""
    spans = []
    for scheme in _SCHEME.finditer(text):
        end = _end_of_url(text, scheme.start(), scheme.end())
        spans += _spans(_LOGIN.match(text, scheme.end(), end), ("before_at", "alone", "no_port"))
    for pattern in (_QUERY, _FIELD, _EXTENSION):
        spans += [found.span("value") for found in pattern.finditer(text)]
    return merged(spans)


def masked(text: str) -> str:
    """Return a text with its passwords masked."""
    return without(text, hidden_in(text))


def without(text: str, hidden: Iterable[tuple[int, int]]) -> str:
    """Return a text with MASK in place of each hidden range; ranges are in order."""
    shown, at = [], 0
    for start, end in hidden:
        shown += [text[at:start], MASK]
        at = end
    return "".join(shown) + text[at:]


def merged(spans: Iterable[tuple[int, int]]) -> list[tuple[int, int]]:
    """Return ranges in order, with adjacent ones merged and empty ones removed."""
    joined: list[tuple[int, int]] = []
    for start, end in sorted(span for span in spans if span[0] < span[1]):
        if joined and start <= joined[-1][1]:
            joined[-1] = (joined[-1][0], max(joined[-1][1], end))
        else:
            joined.append((start, end))
    return joined


def _spans(found: re.Match[str] | None, groups: Iterable[str]) -> list[tuple[int, int]]:
    return [found.span(group) for group in groups if found[group]] if found else []


def _end_of_url(text: str, scheme: int, start: int) -> int:
    """Return where a URL ends: at its closing quote, else at a blank, but never inside a login."""
    line = text.find("\n", start)
    last = len(text) if line < 0 else line
    quote = text[scheme - 1] if scheme and text[scheme - 1] in "\"'" else ""
    closing = re.compile(rf"{quote}(?=[\s,;)\]>}}]|$)" if quote else r"\s").search(text, start, last)
    end = closing.start() if closing else last
    at = text.rfind("@", start, last)
    return end if quote and closing else max(end, at + 1)  # a blank or quote in a password is an error
