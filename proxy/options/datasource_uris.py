"""The URI of a datasource: `driver:rest`, as Momentum writes it, read into the fields that its driver needs.

    sqlite:/path/to/file
    pgsql:host=db.example.com;dbname=mail;user=mx;password=…;port=5432
    mysql:host=…;dbname=…;user=…;password=…
    ldap://host:port/dn?attributes?scope?filter?extensions
    redis://user:password@host:6379/0

Databases may also be written as URLs, `pgsql://user:password@host/dbname`. What only Momentum has (csv, cdb, odbc, and
files or URLs as data) is read too, so that its files load, and every query of it fails.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from types import MappingProxyType
from typing import Annotated
from urllib.parse import parse_qsl, unquote, urlsplit

from config.diagnostics import Diagnostic, Severity
from config.errors import not_a
from config.language.nodes import String, Value, Word
from config.masking import masked
from config.schema.readers import ReadContext, Unreadable, ValueReader

_DRIVERS = {
    "sqlite": "sqlite",
    "pgsql": "pgsql",
    "postgres": "pgsql",
    "postgresql": "pgsql",
    "mysql": "mysql",
    "mariadb": "mysql",
    "ldap": "ldap",
    "ldaps": "ldap",
    "ldapi": "ldap",
    "redis": "redis",
    "rediss": "redis",
    "valkey": "redis",
    "valkeys": "redis",
}
"""Drivers by the word before the first colon."""

NOT_HERE = frozenset({"csv", "cdb", "odbc", "http", "https", "iowrapper", "file", "ftp"})
"""What Momentum can query, and we cannot."""

_DATABASE = frozenset({"host", "port", "dbname", "user", "password", "sslmode", "sslrootcert"})
_FIELDS: dict[str, frozenset[str]] = {
    "pgsql": _DATABASE | {"hostaddr", "application_name"},
    "mysql": _DATABASE | {"socket"},
    "redis": frozenset({"host", "port", "user", "password", "db", "socket", "tls", "sslrootcert"}),
}
_IGNORED = frozenset(
    {"connect_timeout", "client_encoding", "charset", "options", "keepalives", "gssencmode", "service"}
)
"""Fields that Momentum's drivers pass to their libraries. They load, with a warning."""

_SAME = {
    **dict.fromkeys(("pass", "passwd", "pwd"), "password"),
    **dict.fromkeys(("username", "uid"), "user"),
    "database": "dbname",
    "unix_socket": "socket",
}
_SECRETS = ("password", "x-bindpw")
SSL_MODES = ("disable", "prefer", "require", "verify-ca", "verify-full")

_HINT = (
    "write sqlite:/path, pgsql:host=HOST;dbname=NAME;user=USER, mysql:… with the same fields, ldap://HOST/DN, or "
    "redis://HOST:6379/0"
)


@dataclass(frozen=True, slots=True)
class SourceUri:
    """One URI. Its text as shown has no password."""

    driver: str
    fields: Mapping[str, str] = field(repr=False, hash=False)
    shown: str

    @property
    def is_here(self) -> bool:
        """Whether a driver of ours answers its queries."""
        return self.driver not in NOT_HERE

    @property
    def secrets(self) -> tuple[str, ...]:
        """The parts of it that are never shown."""
        return tuple(self.fields[name] for name in _SECRETS if self.fields.get(name))

    def __str__(self) -> str:
        """Return the URI without its password."""
        return self.shown


class BadUri(ValueError):
    """The text says what is wrong, and never quotes a password."""


def parse_uri(text: str, folder: Path = Path()) -> SourceUri:
    """Parse a URI; a relative path of SQLite starts at `folder`.

    Raises:
        BadUri: it is not a URI of a driver.
    """
    scheme, colon, rest = text.partition(":")
    scheme = scheme.lower()
    if not colon or not rest:
        raise BadUri("it has no driver before a colon, or nothing after it")
    if scheme in NOT_HERE:
        return _made(scheme, {}, text)
    driver = _DRIVERS.get(scheme)
    if driver is None:
        close = difflib.get_close_matches(scheme, [*_DRIVERS, *NOT_HERE], 1)
        raise BadUri(f"there is no driver `{scheme}`" + (f"; did you mean {close[0]}?" if close else ""))
    if driver == "sqlite":
        return _made(driver, {"path": _path(rest, folder)}, text)
    if driver == "ldap":
        return _made(driver, _ldap(text), text)
    fields = _of_url(text, driver) if rest.startswith("//") else _of_pairs(rest)
    return _made(driver, _checked(fields, driver, scheme), text)


def _made(driver: str, fields: Mapping[str, str], text: str) -> SourceUri:
    shown = masked(text)
    for secret in (fields.get(name, "") for name in _SECRETS):
        shown = shown.replace(secret, "***") if len(secret) > 3 else shown
    return SourceUri(driver, MappingProxyType(dict(fields)), shown)


def _path(rest: str, folder: Path) -> str:
    path = re.sub(r"^///?(?=/|[^/])", "/", rest) if rest.startswith("//") else rest
    if path == ":memory:" or "\0" in path:
        raise BadUri("SQLite needs a file")
    return str(folder / path)


def _of_pairs(rest: str) -> dict[str, str]:
    fields = {}
    for pair in rest.split(";"):
        name, equals, value = pair.partition("=")
        if not pair.strip():
            continue
        if not equals:
            raise BadUri("each field is written name=value; fields are separated by semicolons")
        if "=" in value and name.strip().lower() not in {"password", "pass", "passwd", "pwd"}:
            raise BadUri("fields are separated by semicolons")
        fields[name.strip().lower()] = value.strip()
    return fields


def _of_url(text: str, driver: str) -> dict[str, str]:
    try:
        parts = urlsplit(text)
        port = parts.port
        fields = dict(parse_qsl(parts.query, keep_blank_values=True, strict_parsing=bool(parts.query)))
    except ValueError:
        raise BadUri("it is not a URL") from None
    name = {"redis": "db"}.get(driver, "dbname")
    known = {
        "host": unquote(parts.hostname or ""),
        "port": str(port or ""),
        "user": unquote(parts.username or ""),
        "password": unquote(parts.password or ""),
        name: unquote(parts.path.lstrip("/")),
    }
    return {key.lower(): value for key, value in (*known.items(), *fields.items()) if value}


def _checked(fields: dict[str, str], driver: str, scheme: str) -> dict[str, str]:
    fields = {_SAME.get(name, name): value for name, value in fields.items()}
    for name in fields:
        if name not in _FIELDS[driver] | _IGNORED:
            close = difflib.get_close_matches(name, sorted(_FIELDS[driver]), 1)
            raise BadUri(f"{driver} has no field `{name}`" + (f"; did you mean {close[0]}?" if close else ""))
    port = fields.get("port", "1")
    if not (port.isascii() and port.isdecimal() and 0 < int(port) < 65536):
        raise BadUri("the port is not a number from 1 to 65535")
    if fields.get("sslmode", "prefer") not in SSL_MODES:
        raise BadUri(f"sslmode is one of {', '.join(SSL_MODES)}")
    if not fields.get("db", "0").isdecimal():
        raise BadUri("a database of Redis is a number, such as /0")
    if driver == "redis" and scheme in {"rediss", "valkeys"}:
        fields["tls"] = "1"
    return fields


def _ldap(text: str) -> dict[str, str]:
    """Return the parts of an LDAP URL (RFC 4516), still as written: parts of a query may replace them."""
    scheme, _, rest = text.partition(":")
    if not rest.startswith("//"):
        raise BadUri("an LDAP URI is a URL, such as ldap://HOST/DN?attributes?scope?filter")
    return {"scheme": scheme.lower(), **ldap_parts(rest[2:])}


def ldap_parts(rest: str) -> dict[str, str]:
    """Split what follows `ldap://`: host, dn, attributes, scope, filter, and the extensions by name.

    Raises:
        BadUri: it has more parts than a URL.
    """
    host, slash, behind = rest.partition("/")
    if not slash:
        host, _, query = host.partition("?")
        behind = f"?{query}" if query else ""
    parts = behind.split("?")
    if len(parts) > 5:
        raise BadUri("an LDAP URL has at most four `?`; write %3f for one in a value")
    names = ("dn", "attributes", "scope", "filter")
    found = {name: value for name, value in zip(names, parts, strict=False) if value}
    if host:
        found["host"] = host
    if found.get("scope", "sub").lower() not in {"base", "one", "sub"}:
        raise BadUri("the scope of an LDAP URL is base, one or sub")
    for extension in parts[4].split(",") if len(parts) == 5 else ():
        name, _, value = extension.strip().lstrip("!").partition("=")
        if name:
            found[name.lower()] = value
    return found


def _read(value: Value, reading: ReadContext) -> SourceUri:
    text = value.text if isinstance(value, Word | String) else ""
    try:
        uri = parse_uri(text, Path(value.span.source.name).parent)
    except BadUri as wrong:
        span, scheme = value.span, text.partition(":")[0]
        at = span.text.find(":")
        if at >= 0:
            span.source.hide(span.start + at + 1, span.end)  # who knows where in it the password is
        raise Unreadable(not_a("a datasource's URI", f"{scheme}:…", span, f"{wrong}: {_HINT}")) from None
    for secret in uri.secrets:
        at = value.span.text.find(secret)
        if at >= 0:
            start = value.span.start + at
            value.span.source.hide(start, start + len(secret))
    for diagnostic in _warnings(uri):
        reading.findings.add(Diagnostic(diagnostic, value.span, severity=Severity.WARNING))
    return uri


def _warnings(uri: SourceUri) -> list[str]:
    if not uri.is_here:
        return [f"Ringback cannot query {uri.driver}: each query sets datasource_error"]
    return [f"`{name}` is accepted, not acted on" for name in uri.fields if name in _IGNORED]


UriValue = Annotated[SourceUri, ValueReader(_read, "a datasource's URI", write=lambda uri: f'"{uri}"')]
