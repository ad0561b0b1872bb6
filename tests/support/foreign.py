"""Configurations of other mail servers, for tests of `config init --from`."""

from __future__ import annotations

from pathlib import Path

from proxy.setup.answers import Found
from proxy.setup.sources import read_found


def found_in(folder: Path, name: str, text: str, **files: str) -> Found:
    """Return what is taken from a server's file with this text, and from files beside it."""
    for other, content in files.items():
        (folder / other).write_text(content)
    path = folder / name
    path.write_text(text)
    return read_found(path, "own.example.org")
