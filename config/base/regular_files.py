"""Open files that an operator names, without hanging: opening a FIFO blocks until another process writes to it."""

from __future__ import annotations

import errno
import os
import stat
from pathlib import Path
from typing import BinaryIO


def open_regular(path: Path) -> BinaryIO:
    """Open a regular file for reading.

    Raises:
        OSError: it cannot be opened, or is not a regular file.
    """
    descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)  # O_NONBLOCK: do not wait on a FIFO
    mode = os.fstat(descriptor).st_mode
    if stat.S_ISREG(mode):
        return os.fdopen(descriptor, "rb")
    os.close(descriptor)
    raise _not_regular(path, mode)


def read_regular(path: Path) -> bytes:
    """Return the content of a regular file. Raises OSError like `open_regular`."""
    with open_regular(path) as file:
        return file.read()


def append_regular(path: Path, content: bytes) -> None:
    """Append to a regular file; create it if needed.

    Raises:
        OSError: it cannot be written, or is not a regular file.
    """
    flags = os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_NONBLOCK | os.O_CLOEXEC
    descriptor = os.open(path, flags, 0o666)
    with os.fdopen(descriptor, "ab") as file:
        mode = os.fstat(descriptor).st_mode
        if not stat.S_ISREG(mode):
            raise _not_regular(path, mode)
        file.write(content)


def require_regular(*paths: Path | None) -> None:
    """Check that paths are regular files before a library such as OpenSSL opens them.

    Raises:
        OSError: a path is missing or not a regular file.
    """
    for path in paths:
        if path is not None and not stat.S_ISREG(mode := path.stat().st_mode):
            raise _not_regular(path, mode)


def _not_regular(path: Path, mode: int) -> OSError:
    if stat.S_ISDIR(mode):
        return OSError(errno.EISDIR, os.strerror(errno.EISDIR), str(path))
    return OSError(errno.EINVAL, "Not a regular file", str(path))
