"""LDAP, by bonsai in a process of its own for each connection.

libldap blocks: with `ldaps` and a server that says nothing, bonsai holds the interpreter's lock until the server sends
something, even with its asynchronous API. So each connection is a small process (`ldap_child`), which is killed if it
is late. The server then ends the search, because the connection is gone.

A query is an LDAP URL; the datasource's URI has the parts that it leaves out. Parameters are inserted after the URL has
been split, each escaped for its part, so a value never becomes syntax.
"""

from __future__ import annotations

import asyncio
import contextlib
import re
import sys
from asyncio.subprocess import DEVNULL, PIPE, Process
from collections.abc import Mapping
from pathlib import Path
from typing import Any
from urllib.parse import unquote

import msgspec

from proxy.datasource.driver import Connect
from proxy.datasource.errors import QueryFailed, ServerLost, bad_ldap_query, list_for_names, read_only
from proxy.datasource.parameters import LONGEST_QUERY, Filling, Parameters
from proxy.datasource.rows import Gathering, Rows
from proxy.options.datasource_uris import BadUri, ldap_parts
from proxy.options.datasources import DatasourceOptions

_CHILD = str(Path(__file__).with_name("ldap_child.py"))
_LARGEST_ANSWER = 512 << 20
_SCHEME = re.compile(r"ldap[si]?://", re.IGNORECASE)
_LOGIN = frozenset({"bindname", "x-bindpw"})
_ATTRIBUTE = re.compile(r"[^A-Za-z0-9;.*+_-]")


def connecting(fields: Mapping[str, str], options: DatasourceOptions) -> Connect:
    """Return what starts a process. It connects to the directory with the first query."""

    async def connect() -> _Connection:
        try:
            process = await asyncio.create_subprocess_exec(
                sys.executable, "-I", _CHILD, stdin=PIPE, stdout=PIPE, stderr=DEVNULL
            )
        except OSError as error:
            raise ServerLost(f"no process for LDAP: {error.strerror or error}") from None
        return _Connection(process, fields, options)

    return connect


class _Connection:
    """The process of one connection."""

    def __init__(self, process: Process, fields: Mapping[str, str], options: DatasourceOptions) -> None:
        self._process, self._fields, self._options = process, fields, options

    @property
    def is_usable(self) -> bool:
        return self._process.returncode is None

    async def fetch(self, query: str, parameters: Parameters, most: int) -> Rows:
        wanted = search_of(query, parameters, self._fields)
        wanted |= {"most": most, "seconds": self._options.timeout}
        answer = await self._answer(wanted)
        if "lost" in answer:
            raise ServerLost(answer["lost"])
        if "failed" in answer:
            raise QueryFailed(answer["failed"])
        gathering = Gathering(answer["columns"], most, self._options.assume_charset)
        await gathering.take(answer["rows"])
        return gathering.rows

    async def execute(self, query: str, parameters: Parameters) -> None:  # noqa: ARG002 - it never changes anything
        raise read_only("LDAP")

    async def _answer(self, wanted: dict[str, Any]) -> dict[str, Any]:
        octets = msgspec.msgpack.encode(wanted)
        asked, answered = self._process.stdin, self._process.stdout
        if asked is None or answered is None:
            raise ServerLost("the process for LDAP has no pipes")
        try:
            asked.write(len(octets).to_bytes(4) + octets)
            await asked.drain()
            length = int.from_bytes(await answered.readexactly(4))
            if length > _LARGEST_ANSWER:
                raise ServerLost("the process for LDAP is out of step")
            answer: dict[str, Any] = msgspec.msgpack.decode(await answered.readexactly(length))
        except (OSError, asyncio.IncompleteReadError) as error:
            raise ServerLost(f"the process for LDAP has ended: {type(error).__name__}") from None
        return answer

    async def abort(self) -> None:
        """Kill the process, and so close its connection."""
        with contextlib.suppress(ProcessLookupError):
            self._process.kill()
        if self._process.stdin is not None:
            self._process.stdin.close()
        await self._process.wait()

    close = abort


def search_of(query: str, parameters: Parameters, fields: Mapping[str, str]) -> dict[str, Any]:
    """Return a search with all its parts; those that the query leaves out are the URI's.

    Raises:
        QueryFailed: it is no LDAP URL, a parameter is missing, or it would log in without a password.
    """
    own = _parts(query)
    given = {**{name: value for name, value in fields.items() if name != "scheme"}, **own}
    if "filter" in own or "dn" in own or "attributes" in own:
        bind_only = False
    else:
        bind_only = "bindname" in own and "scope" not in own
    if isinstance(parameters, tuple) and parameters:
        raise list_for_names("LDAP")
    filling = Filling(parameters, marks=False)

    def part(name: str, default: str = "") -> str:
        text = unquote(given.get(name, default))
        if name in _LOGIN and name not in own:  # the operator's own password may have a $
            return text
        return filling.filled(text, _ESCAPES.get(name, str))

    user, password = part("bindname"), part("x-bindpw")
    if user and not password:  # a server may take this for an anonymous login and accept it (RFC 4513, 5.1.2)
        raise bad_ldap_query("bindname needs x-bindpw, which is empty")
    return {
        "scheme": fields.get("scheme", "ldap"),
        "host": unquote(fields.get("host", "")) if fields.get("scheme") != "ldapi" else fields.get("host", ""),
        "starttls": given.get("x-starttls", "") in {"1", "true"},
        "authorities": fields.get("x-cacert", ""),
        "user": user,
        "password": password,
        "bind_only": bind_only,
        "base": part("dn"),
        "scope": part("scope", "sub").lower(),
        "filter": part("filter", "(objectClass=*)"),
        "attributes": [each for each in part("attributes").split(",") if each],
        "return_dn": part("x-return-dn"),
        "follow_referrals": given.get("x-ignore-referrals", "1") in {"0", "false"},
        "keep": given.get("x-disable-connection-cache", "false").lower() not in {"1", "true"},
        "connect_seconds": _seconds(given.get("x-connect-timeout")),
        "search_seconds": _seconds(given.get("x-search-timeout")),
    }


def _parts(query: str) -> dict[str, str]:
    if len(query) > LONGEST_QUERY:
        raise bad_ldap_query("it is too long")
    known = _SCHEME.match(query)
    rest = query[known.end() :] if known else "/" + query.lstrip("/")
    try:
        parts = ldap_parts(rest)
    except BadUri as wrong:
        raise bad_ldap_query(str(wrong)) from None
    parts.pop("host", None)  # the datasource says which servers are asked
    return parts


def _seconds(text: str | None) -> float:
    try:
        return max(0.1, float(text or "0") or 60.0)
    except ValueError:
        return 60.0


def escaped_in_filter(text: str) -> str:
    """Return text as a value of a filter (RFC 4515, 3): every octet that means something there is written in hex."""
    return "".join([f"\\{ord(char):02x}" if char in "\\*()\0" else char for char in text])


def escaped_in_dn(text: str) -> str:
    """Return text as a value in a distinguished name (RFC 4514, 2.4): all that might mean something in hex."""
    return "".join([char if char.isalnum() or char in "-_.@" or ord(char) > 0x7F else _hex(char) for char in text])


def _hex(char: str) -> str:
    return f"\\{ord(char):02x}"


def _attribute(text: str) -> str:
    return _ATTRIBUTE.sub("", text)


_ESCAPES = {
    "dn": escaped_in_dn,
    "bindname": escaped_in_dn,
    "filter": escaped_in_filter,
    "attributes": _attribute,
}
"""How parameters are written into each part; others are values that nothing reads as syntax."""
