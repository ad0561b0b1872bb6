"""The process of one LDAP connection: it reads searches from standard input, and writes their results.

It runs alone (`python -I ldap_child.py`), imports nothing from Ringback, and may block: its parent kills it. Each
message is a length in four octets, and MessagePack. It ends with its standard input.
"""

from __future__ import annotations

import contextlib
import ctypes
import resource
import signal
import sys
from typing import Any

import bonsai
import msgspec
from bonsai.errors import AuthenticationError, LDAPError, NoSuchObjectError, SizeLimitError
from bonsai.errors import ConnectionError as NoConnection
from bonsai.errors import TimeoutError as TooLate

_MOST_MEMORY = 1 << 30
"""Octets: a server must not be able to fill the machine."""

_PR_SET_PDEATHSIG = 1
_PAGE = 500
_SCOPES = {"base": 0, "one": 1, "sub": 2}


class _Directory:
    """The connection, made when it is needed and kept for those who log in in the same way."""

    def __init__(self) -> None:
        self._connection: Any = None
        self._identity: tuple[Any, ...] = ()

    def answer(self, wanted: dict[str, Any]) -> dict[str, Any]:
        """Return the rows, or what is wrong: `failed` is about the search, `lost` about the server."""
        try:
            connection = self._connected(wanted)
        except LDAPError as error:
            is_answer = wanted["bind_only"] and isinstance(error, AuthenticationError)
            return {"columns": ["bind"], "rows": []} if is_answer else {"lost": _text(error)}
        try:
            if wanted["bind_only"]:
                return {"columns": ["bind"], "rows": [["1"]]}
            return _found(connection, wanted)
        except NoSuchObjectError:
            return {"columns": wanted["attributes"], "rows": []}
        except (NoConnection, TooLate) as error:
            self._close()
            return {"lost": _text(error)}
        except (LDAPError, ValueError) as error:
            return {"failed": _text(error)}
        finally:
            if wanted["bind_only"] or not wanted["keep"]:
                self._close()

    def _connected(self, wanted: dict[str, Any]) -> Any:
        names = ("scheme", "host", "starttls", "authorities", "user", "password", "follow_referrals")
        identity = tuple(wanted[name] for name in names)
        if self._connection is None or identity != self._identity or wanted["bind_only"]:
            self._close()
            client = _client(wanted)
            self._connection = client.connect(timeout=min(wanted["seconds"], wanted["connect_seconds"]))
            self._identity = identity
        return self._connection

    def _close(self) -> None:
        if self._connection is not None:
            with contextlib.suppress(LDAPError):
                self._connection.close()
        self._connection = None


def _client(wanted: dict[str, Any]) -> Any:
    client = bonsai.LDAPClient(f"{wanted['scheme']}://{wanted['host']}", tls=wanted["starttls"])
    if wanted["authorities"]:
        client.set_ca_cert(wanted["authorities"])
    if wanted["user"]:
        client.set_credentials("SIMPLE", user=wanted["user"], password=wanted["password"])
    client.set_ignore_referrals(not wanted["follow_referrals"])
    client.set_server_chase_referrals(wanted["follow_referrals"])
    return client


def _found(connection: Any, wanted: dict[str, Any]) -> dict[str, Any]:
    most, attributes, return_dn = wanted["most"], wanted["attributes"], wanted["return_dn"]
    entries = connection.paged_search(
        wanted["base"],
        _SCOPES[wanted["scope"]],
        wanted["filter"],
        attributes or None,
        min(wanted["seconds"], wanted["search_seconds"]),
        page_size=_PAGE if most < 0 else min(_PAGE, most),
    )
    columns = [each for each in attributes if each not in {"*", "+"}]
    rows: list[list[Any]] = []
    try:
        for entry in entries:
            if not hasattr(entry, "dn"):  # a referral
                continue
            if not columns:
                columns = [str(name) for name in entry if name != "dn"]
            row: list[Any] = [_values(entry, name) for name in columns]
            rows.append([str(entry.dn), *row] if return_dn else row)
            if 0 <= most <= len(rows):
                break
    except SizeLimitError:
        if most < 0 or len(rows) < most:
            raise
    return {"columns": [return_dn, *columns] if return_dn else columns, "rows": rows}


def _values(entry: Any, name: str) -> Any:
    values = [each if isinstance(each, str | bytes) else str(each) for each in entry.get(name, ())]
    return None if not values else values[0] if len(values) == 1 else values


def _text(error: Exception) -> str:
    return str(error) or type(error).__name__


def _die_with_parent() -> None:
    """Ask the kernel for SIGKILL when the parent dies: a process that hangs in libldap never sees its input end."""
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)


def main() -> None:
    """Answer until standard input ends."""
    _die_with_parent()
    with contextlib.suppress(OSError, ValueError):  # a service may not be allowed to change its limits
        resource.setrlimit(resource.RLIMIT_AS, (_MOST_MEMORY, _MOST_MEMORY))
    asked, answered, directory = sys.stdin.buffer, sys.stdout.buffer, _Directory()
    while len(head := asked.read(4)) == 4:
        wanted = msgspec.msgpack.decode(asked.read(int.from_bytes(head, "big")))
        try:
            octets = msgspec.msgpack.encode(directory.answer(wanted))
        except MemoryError:
            octets = msgspec.msgpack.encode({"failed": "the result is too large"})
        answered.write(len(octets).to_bytes(4, "big") + octets)
        answered.flush()


if __name__ == "__main__":
    main()
