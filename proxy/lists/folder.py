"""The folder of the tables: in State_Directory, or, if that cannot be written, among the system's temporary files."""

from __future__ import annotations

import hashlib
import os
import stat
import tempfile
from contextlib import suppress
from pathlib import Path

_NAME = "lists"


def folder_of(state_directory: Path) -> Path:
    """Return a folder that only we can write, and make it if it is missing. All workers get the same one.

    Raises:
        OSError: the folder cannot be made, or other users may write to it.
    """
    with suppress(OSError):
        if os.access(state_directory, os.W_OK | os.X_OK):
            return _ours(state_directory / _NAME)
    key = hashlib.sha256(str(state_directory).encode()).hexdigest()[:12]
    return _ours(Path(tempfile.gettempdir()) / f"ringback-{os.geteuid()}-{key}")


def _ours(folder: Path) -> Path:
    """Make a folder, or check the one that is there: another user could have put it in our way.

    Raises:
        OSError: other users own it or may write to it.
    """
    with suppress(FileExistsError):
        folder.mkdir(mode=0o700)
    status = folder.lstat()
    if not stat.S_ISDIR(status.st_mode) or status.st_uid != os.geteuid() or status.st_mode & 0o022:
        raise PermissionError(1, "other users own it or may write to it", str(folder))
    return folder
