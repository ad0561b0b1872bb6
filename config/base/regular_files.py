"""Files that an operator names, opened so that nothing hangs: to open a FIFO waits until somebody writes to it."""

from __future__ import annotations

import errno
import os
import stat
from pathlib import Path
from typing import BinaryIO


def open_regular(path: Path) -> BinaryIO:
    """Open a regular file to be read.

    Raises:
        OSError: it cannot be opened, or is a FIFO, a device, a socket or a folder.
    """
    descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)  # O_NONBLOCK: a FIFO is not waited for
    mode = os.fstat(descriptor).st_mode
    if stat.S_ISREG(mode):
        return os.fdopen(descriptor, "rb")
    os.close(descriptor)
    raise _not_regular(path, mode)


def read_regular(path: Path) -> bytes:
    """Return what is in a regular file. Raises OSError, as `open_regular`."""
    with open_regular(path) as file:
        return file.read()


def append_regular(path: Path, content: bytes) -> None:
    """Append to a regular file, which is made if there is none.

    Raises:
        OSError: it cannot be written, or is a FIFO, a device, a socket or a folder.
    """
    flags = os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_NONBLOCK | os.O_CLOEXEC
    descriptor = os.open(path, flags, 0o666)
    with os.fdopen(descriptor, "ab") as file:
        mode = os.fstat(descriptor).st_mode
        if not stat.S_ISREG(mode):
            raise _not_regular(path, mode)
        file.write(content)


def require_regular(*paths: Path | None) -> None:
    """Let only regular files pass to a library that opens by name, such as OpenSSL.

    Raises:
        OSError: one of the paths is something else, or is not there.
    """
    for path in paths:
        if path is not None and not stat.S_ISREG(mode := path.stat().st_mode):
            raise _not_regular(path, mode)


def _not_regular(path: Path, mode: int) -> OSError:
    if stat.S_ISDIR(mode):
        return OSError(errno.EISDIR, os.strerror(errno.EISDIR), str(path))
    return OSError(errno.EINVAL, "Not a regular file", str(path))
