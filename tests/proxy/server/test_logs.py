"""Which format the log has if the configuration names none."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from proxy.server import logs


def test_without_a_name_the_format_fits_where_ringback_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with (tmp_path / "stream").open("w") as stream:
        monkeypatch.setattr(logs, "STDERR", stream.fileno())
        monkeypatch.delenv("JOURNAL_STREAM", raising=False)
        assert logs.usual_format() == "json"
        found = os.fstat(stream.fileno())
        monkeypatch.setenv("JOURNAL_STREAM", f"{found.st_dev}:{found.st_ino}")
        monkeypatch.setattr(logs, "SOCKET", str(tmp_path / "none"))
        assert logs.usual_format() == "json"
        monkeypatch.setattr(logs, "SOCKET", str(tmp_path / "stream"))
        assert logs.usual_format() == "journald"
        monkeypatch.setenv("JOURNAL_STREAM", f"{found.st_dev}:{found.st_ino + 1}")
        assert logs.usual_format() == "json"
    ours, theirs = os.openpty()
    monkeypatch.setattr(logs, "STDERR", theirs)
    assert logs.usual_format() == "console"
    os.close(ours)
    os.close(theirs)
