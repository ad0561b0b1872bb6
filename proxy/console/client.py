"""`Client`: the other side of the console's socket, for the command line."""

from __future__ import annotations

import errno
import json
import select
import socket
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
    """A connection, and another one when the control process was replaced: a reload does that."""

    def __init__(self, folders: Sequence[Path], patience: float = REPLACED_SECONDS) -> None:
        """Connect to the server whose socket is in one of these folders. Wait this long for one that is being replaced.

        Raises:
            OSError: no server answers, or the file system denies access.
            NotAllowed: the server does not.
        """
        self._folders, self._patience = folders, patience
        self._connect()

    def _connect(self) -> None:
        self._is_replaced = False
        until = time.monotonic() + self._patience
        while True:
            try:
                greeting = self._greeted()
                break
            except ConnectionError:  # the control process is being replaced
                if time.monotonic() >= until:
                    raise
                time.sleep(_PAUSE)
        if not greeting.startswith("# "):
            self.close()
            raise NotAllowed(greeting.removeprefix("! "))
        self.version = greeting.removeprefix("# ")

    def _greeted(self) -> str:
        """Connect, and return the server's first line."""
        self._connection = connected(self._folders, CONNECT_SECONDS)
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
            NotAllowed: the server was replaced, and does not let this user in.
            OSError: the connection ended, or nothing came in time.
        """
        if self._is_over():
            self.close()
            self._connect()
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
                self._is_replaced = bool(row.get("replaced"))
                return
            else:
                raise Failed(str(row["error"]))

    def _is_over(self) -> bool:
        """Whether the other side no longer answers. A process that is being replaced gets time to leave."""
        if self._connection.fileno() < 0:
            return True
        readable, _, _ = select.select([self._connection], [], [], self._patience if self._is_replaced else 0)
        return bool(readable) and not self._connection.recv(1, socket.MSG_PEEK)

    def stop(self) -> None:
        """End a command in its middle, with the connection: no later command gets the rest of its answers."""
        self.close()

    def close(self) -> None:
        """Disconnect."""
        self._stream.close()
        self._connection.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()
