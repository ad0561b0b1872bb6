"""`Desk`: the Unix socket at which `ringback status` asks. The file system's permissions decide who may.

The socket is in State_Directory, or in the service's runtime directory if that one cannot be written. An answer is the
JSON of /readyz; the connection ends with it.
"""

from __future__ import annotations

import asyncio
import json
import os
import socket
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from proxy.base.log import get_logger
from proxy.control.health import Health

log = get_logger()

SOCKET = "control.sock"
MODE = 0o660
"""The service's user and group, and root."""

ANSWER_SECONDS = 5.0
_RUNTIME = Path("/run/ringback")


def places(state_directory: Path) -> list[Path]:
    """Return the folders in which the socket may be, the likeliest first."""
    runtime = os.environ.get("RUNTIME_DIRECTORY", "").partition(":")[0]
    return [state_directory, *([Path(runtime)] if runtime else []), _RUNTIME]


class Desk:
    """A part of the control process."""

    name = "desk"

    def __init__(self, folders: Sequence[Path], health: Health) -> None:
        """Use the first folder that can be written."""
        self._folders, self._health = folders, health
        self._server: asyncio.Server | None = None

    async def start(self) -> None:
        """Bind and serve; without a folder, nobody can ask."""
        reason = ""
        for folder in self._folders:
            try:
                bound = _bound(folder)
            except OSError as error:
                reason = reason or f"{folder}: {error.strerror}"
                continue
            self._server = await asyncio.start_unix_server(self._answer, sock=bound)
            return
        log.info("status_unavailable", reason=reason)

    async def stop(self) -> None:
        """Answer nobody any more. The socket's file stays: the next process puts its own in its place."""
        if self._server is not None:
            self._server.close()

    async def _answer(self, _reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with suppress(OSError, TimeoutError):
            async with asyncio.timeout(ANSWER_SECONDS):
                writer.write(json.dumps(self._health.answer(strict=False)).encode())
                await writer.drain()
        writer.close()


def _bound(folder: Path) -> socket.socket:
    """Return a listening socket in a folder, in the place of one that an earlier process left."""
    made = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    new = f".{SOCKET}.{os.getpid()}"
    try:
        with _short(folder) as within:
            place = Path(within, new)
            place.unlink(missing_ok=True)
            made.bind(str(place))
            place.chmod(MODE)
            made.listen()
            place.rename(Path(within, SOCKET))
    except OSError:
        made.close()
        raise
    made.setblocking(False)
    return made


def asked(folder: Path) -> dict[str, Any]:
    """Return the answer of the service whose socket is in this folder.

    Raises:
        OSError: there is no socket, nobody answers, or we may not ask.
        ValueError: the answer was cut off.
    """
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as connection, _short(folder) as within:
        connection.settimeout(ANSWER_SECONDS)
        connection.connect(f"{within}/{SOCKET}")
        octets = b"".join(iter(lambda: connection.recv(65536), b""))
    answer: dict[str, Any] = json.loads(octets)
    return answer


@contextmanager
def _short(folder: Path) -> Iterator[str]:
    """Yield a short name of a folder: a socket's path has at most 107 octets (unix(7))."""
    opened = os.open(folder, os.O_PATH | os.O_DIRECTORY)
    try:
        yield f"/proc/self/fd/{opened}"
    finally:
        os.close(opened)
