"""`Client`: the other side of the console's socket, for the command line."""

from __future__ import annotations

import errno
import json
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Self

from proxy.console.places import connected

CONNECT_SECONDS = 5.0
REPLACED_SECONDS = 5.0
"""How long a control process that ends, as at a reload, may take to be replaced."""

_PAUSE = 0.05
ANSWER_SECONDS = 90.0
"""A command takes at most a minute."""


class NotAllowed(Exception):
    """The server does not let this user in; the text is its own."""


class Failed(Exception):
    """The command was not carried out; the text is the server's."""


class Client:
    """One connection."""

    def __init__(self, folders: Sequence[Path], patience: float = REPLACED_SECONDS) -> None:
        """Connect to the server whose socket is in one of these folders. Wait this long for one that is being replaced.

        Raises:
            OSError: no server answers, or the file system denies access.
            NotAllowed: the server does not.
        """
        until = time.monotonic() + patience
        while True:
            try:
                greeting = self._greeted(folders)
                break
            except ConnectionError:  # the control process is being replaced
                if time.monotonic() >= until:
                    raise
                time.sleep(_PAUSE)
        if not greeting.startswith("# "):
            self.close()
            raise NotAllowed(greeting.removeprefix("! "))
        self.version = greeting.removeprefix("# ")

    def _greeted(self, folders: Sequence[Path]) -> str:
        """Connect, and return the server's first line."""
        self._connection = connected(folders, CONNECT_SECONDS)
        self._stream = self._connection.makefile("rb")
        try:
            greeting = self._stream.readline().decode("ascii", "backslashreplace").rstrip("\n")
        except BaseException:
            self.close()
            raise
        if greeting:
            return greeting
        self.close()
        raise ConnectionRefusedError(errno.ECONNREFUSED, "it closed the connection; it may be just restarting")

    def ask(
        self, line: str, *, as_json: bool = False, reason: str = "", texts: Mapping[str, str] | None = None,
        follows: bool = False,
    ) -> Iterator[Any]:  # fmt: skip
        """Give a command; yield lists of lines, or values of JSON, as they come.

        Raises:
            Failed: it was not carried out.
            OSError: the connection ended, or nothing came in time.
        """
        asked = {"command": line, "json": as_json, "reason": reason, "texts": dict(texts or {})}
        self._connection.settimeout(None if follows else ANSWER_SECONDS)
        self._connection.sendall(json.dumps(asked).encode("ascii") + b"\n")
        while True:
            octets = self._stream.readline()
            if not octets.endswith(b"\n"):
                raise ConnectionError("the server closed the connection")
            row = json.loads(octets)
            if "ok" not in row:
                yield row["value"] if as_json else row["lines"]
            elif row["ok"]:
                return
            else:
                raise Failed(str(row["error"]))

    def stop(self) -> None:
        """End a command that follows something."""
        self._connection.sendall(b"\n")

    def close(self) -> None:
        """Disconnect."""
        self._stream.close()
        self._connection.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()
