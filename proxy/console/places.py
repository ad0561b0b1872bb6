"""Where the console's socket is: in State_Directory, or in the runtime folder if State_Directory is not writable."""

from __future__ import annotations

import os
import socket
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

NAME = "control.sock"
MODE = 0o660
"""The service's user and group, and root."""

_RUNTIME = Path("/run/ringback")


class Taken(Exception):
    """Another server answers at the socket in this folder."""


def places(state_directory: Path) -> list[Path]:
    """Return the folders in which the socket may be, the likeliest first."""
    runtime = os.environ.get("RUNTIME_DIRECTORY", "").partition(":")[0]
    return [state_directory, *([Path(runtime)] if runtime else []), _RUNTIME]


def bound(folder: Path) -> socket.socket:
    """Return a listening socket in a folder, in the place of one that a dead process left.

    Raises:
        Taken: a living process answers there.
        OSError: the folder cannot be used.
    """
    made = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        with short(folder) as within:
            _check_free(f"{within}/{NAME}", folder)
            new = Path(within, f".{NAME}.{os.getpid()}")
            new.unlink(missing_ok=True)
            made.bind(str(new))
            new.chmod(MODE)  # before it listens, so that no client connects earlier
            made.listen(64)
            new.rename(Path(within, NAME))
    except BaseException:
        made.close()
        raise
    made.setblocking(False)
    return made


def _check_free(path: str, folder: Path) -> None:
    if _answers(path):
        raise Taken(str(folder / NAME))


def _answers(path: str) -> bool:
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as trial:
        trial.setblocking(False)
        try:
            trial.connect(path)
        except BlockingIOError:  # its queue is full
            return True
        except OSError:
            return False
        return True


def connected(folders: Sequence[Path], seconds: float) -> socket.socket:
    """Return a connection to the server whose socket is in one of these folders.

    Raises:
        OSError: there is no socket, no answer, or no permission. The most informative one is raised.
    """
    problem: OSError | None = None
    for folder in folders:
        connection = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        connection.settimeout(seconds)
        try:
            with short(folder) as within:
                connection.connect(f"{within}/{NAME}")
        except OSError as error:
            connection.close()
            problem = error if problem is None or isinstance(problem, FileNotFoundError) else problem
        else:
            return connection
    raise problem or FileNotFoundError(2, "there is no folder for the socket")


@contextmanager
def short(folder: Path) -> Iterator[str]:
    """Yield a short name of a folder: a socket's path has at most 107 octets (unix(7))."""
    opened = os.open(folder, os.O_PATH | os.O_DIRECTORY)
    try:
        yield f"/proc/self/fd/{opened}"
    finally:
        os.close(opened)
