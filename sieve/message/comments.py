"""Comments in structured fields (RFC 5322, 3.2.2)."""

from __future__ import annotations

import re

import regex

QUOTED = r'"(?:[^"\\]|\\.|\\\Z)*+"?'
"""A quoted string, which need not end."""

# `regex`, here and in the neighbours: before Python 3.11.5, possessive groups of `re` match wrongly (cpython 106052).
_IN_FIELD = regex.compile(rf'{QUOTED}|[^"()\\]++|\\.|\(++|\)++|\\', regex.DOTALL)
_IN_COMMENT = re.compile(r"[^()\\]++|\\.|\(++|\)++|\\", re.DOTALL)
_BEFORE_A_COMMENT = ' \t\r\n;=,/")'


def without_comments(text: str, *, only_between_words: bool = False) -> str:
    """Return a structured field without its comments, which nest (RFC 5322, 3.2.2); one never closed takes the rest.

    With `only_between_words` a parenthesis directly behind a word is part of it, as in `filename=a(1).txt`.
    """
    if "(" not in text:
        return text
    pieces, at, depth = [], 0, 0
    while at < len(text):
        match = (_IN_COMMENT if depth else _IN_FIELD).match(text, at)
        piece = match[0] if match else text[at]
        is_literal = only_between_words and not depth and at > 0 and text[at - 1] not in _BEFORE_A_COMMENT
        at += len(piece)
        if piece[0] == "(" and not is_literal:
            depth += len(piece)
        elif piece[0] == ")" and depth:
            pieces.append(piece[depth:])
            depth = max(depth - len(piece), 0)
        elif not depth:
            pieces.append(piece)
    return "".join(pieces)
