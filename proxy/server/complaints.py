"""Logs the warnings of a start or reload, one event each."""

from __future__ import annotations

from collections.abc import Sequence

from config.diagnostics import MOST_SHOWN, NOT_ENFORCED, Diagnostic, quoted_line
from config.tools.report import as_records
from proxy.base.log import get_logger

log = get_logger()


def log_warnings(found: Sequence[Diagnostic]) -> None:
    """Log the first warnings with their places, then the number of the others.

    What Momentum enforces and Ringback does not is always logged.
    """
    grave = [warning for warning in found if warning.code == NOT_ENFORCED]
    others = [warning for warning in found if warning.code != NOT_ENFORCED]
    for each in (*grave, *others[:MOST_SHOWN]):
        (record,) = as_records([each])
        place = {name: record[name] for name in ("file", "line", "column")} if each.span is not None else {}
        text = {} if each.span is None else {"text": quoted_line(each.span)}
        hint = {} if each.hint is None else {"hint": record["hint"]}
        kind = {"diagnostic": each.code} if each.code else {}
        log.warning("configuration_warning", message=record["message"], **place, **text, **hint, **kind)
    if len(others) > MOST_SHOWN:
        log.warning("configuration_warnings_left_out", count=len(others) - MOST_SHOWN)
