"""How foreign text is shown: any character that is not plainly visible becomes an escape.

jinja2 escapes markup. What remains are control characters, ESC, marks that change the direction of text, invisible
characters, and stacks of accents that cover other lines.
"""

from __future__ import annotations

import unicodedata
from typing import Any

from markupsafe import Markup

LONGEST = 4000
"""Characters of one text."""


def visible(value: Any) -> Any:
    """Return a value for the page; jinja2 calls it with everything that a template prints."""
    if not isinstance(value, str) or isinstance(value, Markup):
        return value
    cut = len(value) > LONGEST
    text = value[:LONGEST] + "…" if cut else value
    return text if text.isascii() and text.isprintable() else _escaped(text)


def _escaped(text: str) -> str:
    parts, marks = [], 0
    for each in text:
        marks = marks + 1 if unicodedata.category(each)[0] == "M" else 0
        parts.append(each if each.isprintable() and marks < 2 else f"\\u{{{ord(each):04x}}}")
    return "".join(parts)
