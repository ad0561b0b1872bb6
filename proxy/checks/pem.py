"""The contents of PEM files."""

from __future__ import annotations

from pathlib import Path

from config.base.regular_files import read_regular

PRIVATE_KEY = b"PRIVATE KEY-----"


def holds_a_key(path: Path) -> bool:
    """Whether a file is readable and contains a private key."""
    try:
        return PRIVATE_KEY in read_regular(path)
    except OSError:
        return False
