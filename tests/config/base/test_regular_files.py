"""Files are opened without waiting, and must be regular."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from config.base.regular_files import open_regular, read_regular, require_regular


def test_only_regular_files_are_read(tmp_path: Path) -> None:
    fifo = tmp_path / "fifo"
    os.mkfifo(fifo)
    (tmp_path / "file").write_bytes(b"x")
    assert read_regular(tmp_path / "file") == b"x"
    for path in (fifo, Path("/dev/null")):
        for read in (read_regular, open_regular, require_regular):
            with pytest.raises(OSError, match="Not a regular file"):
                read(path)
    for read in (read_regular, open_regular, require_regular):
        with pytest.raises(IsADirectoryError):
            read(tmp_path)
    with pytest.raises(FileNotFoundError):
        read_regular(tmp_path / "missing")
    require_regular(None, tmp_path / "file")
