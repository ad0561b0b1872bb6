"""Which processes that share an outbox still run: each holds a lock that the kernel drops when the process ends.

This also works for containers that share a folder, where process ids mean nothing to each other.
"""

from __future__ import annotations

import fcntl
import os
import secrets
from pathlib import Path

_PRIVATE = 0o600


class Presence:
    """This worker's lock, on its own file in the outbox's folder."""

    def __init__(self, folder: Path) -> None:
        """Create the file, and remove the files of killed workers. Raises OSError."""
        self._folder = folder
        self.name = f"{os.getpid():x}-{secrets.token_hex(6)}"
        begun = folder / f"outbox.{self.name}.new"
        self._descriptor = os.open(begun, os.O_CREAT | os.O_EXCL | os.O_RDWR, _PRIVATE)
        fcntl.flock(self._descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        begun.rename(self._path(self.name))  # locked before others see it: otherwise they could take us for dead
        for path in folder.glob("outbox.*.lock"):
            self.is_gone(path.name.removeprefix("outbox.").removesuffix(".lock"))

    def end(self) -> None:
        """Remove our file and the lock."""
        self._path(self.name).unlink(missing_ok=True)
        os.close(self._descriptor)

    def is_gone(self, name: str) -> bool:
        """Return whether a worker has ended for any reason; its file is deleted then."""
        if name == self.name:
            return False
        path = self._path(name)
        try:
            descriptor = os.open(path, os.O_RDWR)
        except FileNotFoundError:
            return True
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
        else:
            path.unlink(missing_ok=True)
            return True
        finally:
            os.close(descriptor)

    def _path(self, name: str) -> Path:
        return self._folder / f"outbox.{name}.lock"
