"""Diagnostics for programs: what `--json` prints, for editors and continuous integration."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from config.diagnostics import Diagnostic, Span, in_order
from config.masking import masked


def as_records(diagnostics: Iterable[Diagnostic]) -> list[dict[str, Any]]:
    """Return each diagnostic as a JSON value, sorted by place; lines and columns count from 1, ends are exclusive."""
    return [
        {
            "severity": str(diagnostic.severity),
            "code": diagnostic.code or None,
            "message": masked(diagnostic.message),
            "hint": None if diagnostic.hint is None else masked(diagnostic.hint),
            **_place(diagnostic.span),
            "notes": [{"message": masked(note.message), **_place(note.span)} for note in diagnostic.notes],
        }
        for diagnostic in in_order(diagnostics)
    ]


def _place(span: Span | None) -> dict[str, Any]:
    if span is None:
        return {"file": None, "line": None, "column": None, "end_line": None, "end_column": None}
    end_line, end_column = span.source.position(span.end)
    return {
        "file": span.source.name,
        "line": span.line,
        "column": span.column,
        "end_line": end_line,
        "end_column": end_column,
    }
