"""Logs the warnings of a start or reload, one event each."""

from __future__ import annotations

from collections.abc import Sequence

from config.diagnostics import MOST_SHOWN, Diagnostic, quoted_line
from config.tools.report import as_records
from proxy.base.log import get_logger

log = get_logger()


def log_warnings(found: Sequence[Diagnostic]) -> None:
    """Log the first warnings with their places, then the number of the others."""
    for each in found[:MOST_SHOWN]:
        (record,) = as_records([each])
        place = {name: record[name] for name in ("file", "line", "column")} if each.span is not None else {}
        text = {} if each.span is None else {"text": quoted_line(each.span)}
        hint = {} if each.hint is None else {"hint": record["hint"]}
        log.warning("configuration_warning", message=record["message"], **place, **text, **hint)
    if len(found) > MOST_SHOWN:
        log.warning("configuration_warnings_left_out", count=len(found) - MOST_SHOWN)
