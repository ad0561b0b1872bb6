"""`Client`: the other side of the console's socket, for the command line."""

from __future__ import annotations

import errno
import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Self

from proxy.console.places import connected

CONNECT_SECONDS = 5.0
ANSWER_SECONDS = 90.0
"""A command takes at most a minute."""


class NotAllowed(Exception):
    """The server does not let this user in; the text is its own."""


class Failed(Exception):
    """The command was not carried out; the text is the server's."""


class Client:
    """One connection."""

    def __init__(self, folders: Sequence[Path]) -> None:
        """Connect to the server whose socket is in one of these folders.

        Raises:
            OSError: no server answers, or the file system denies access.
            NotAllowed: the server does not.
        """
        self._connection = connected(folders, CONNECT_SECONDS)
        self._stream = self._connection.makefile("rb")
        greeting = self._stream.readline().decode("ascii", "backslashreplace").rstrip("\n")
        if not greeting.startswith("# "):
            self.close()
            if greeting:
                raise NotAllowed(greeting.removeprefix("! "))
            raise ConnectionRefusedError(errno.ECONNREFUSED, "it closed the connection; it may be just restarting")
        self.version = greeting.removeprefix("# ")

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
