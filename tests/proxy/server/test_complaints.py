"""The warnings of a start in the log."""

from __future__ import annotations

from structlog.testing import capture_logs

from config.diagnostics import MOST_SHOWN, NOT_ENFORCED, Diagnostic, Severity
from proxy.server.complaints import log_warnings


def test_what_is_not_enforced_is_logged_however_many_other_warnings_there_are() -> None:
    others = [Diagnostic(f"warning {index}", severity=Severity.WARNING) for index in range(MOST_SHOWN + 3)]
    grave = [Diagnostic(f"grave {index}", severity=Severity.WARNING, code=NOT_ENFORCED) for index in range(2)]
    with capture_logs() as log:
        log_warnings([*others, *grave])
    said = [(each.get("message"), each.get("diagnostic")) for each in log]
    assert said[:2] == [("grave 0", NOT_ENFORCED), ("grave 1", NOT_ENFORCED)]
    assert len(log) == 2 + MOST_SHOWN + 1
    assert log[-1]["count"] == 3
