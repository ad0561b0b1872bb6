"""What can go wrong with a query, and its wording. No text contains a password."""

from __future__ import annotations

PACKAGES = {"pgsql": "asyncpg", "mysql": "aiomysql", "ldap": "bonsai"}
"""The package that a driver needs; the extras of Ringback have the drivers' names."""


class DatasourceError(Exception):
    """A query has no result. The text is for the operator, the log and `datasource_error`."""


class QueryFailed(DatasourceError):
    """The server refused the query, or its parameters do not fit. Another server would say the same."""


class ServerLost(DatasourceError):
    """The server cannot be reached, or the connection broke. Another server may answer."""


class OutcomeUnknown(ServerLost):
    """The connection broke after a change was sent: it may have been done, so no other server is asked."""


class UnknownDatasource(DatasourceError):
    """No stanza has this name."""


def unknown(name: str, known: list[str]) -> UnknownDatasource:
    """A name that no stanza has."""
    hint = f"use {', '.join(known)}" if known else "write a Datasource stanza"
    return UnknownDatasource(f"there is no datasource `{name}`: {hint}")


def driver_missing(driver: str) -> ServerLost:
    """The driver's package is not installed."""
    package = PACKAGES[driver]
    needs = ", which needs a C compiler, libldap2-dev and libsasl2-dev" if driver == "ldap" else ""
    return ServerLost(f"the package {package} is not installed: pip install 'ringback[{driver}]'{needs}")


def not_here(driver: str) -> QueryFailed:
    """A driver of Momentum that we do not have."""
    return QueryFailed(f"Ringback cannot query {driver}")


def too_late(seconds: float) -> DatasourceError:
    """No result within the deadline."""
    return DatasourceError(f"no result within {seconds:.3g} seconds")


def no_place(seconds: float) -> DatasourceError:
    """All connections were in use within the deadline."""
    return DatasourceError(f"all connections were in use for {seconds:.3g} seconds: set `connections` higher")


def list_for_names(driver: str) -> QueryFailed:
    """A list of parameters for a driver that has only names."""
    return QueryFailed(f"{driver} takes parameters by name only: pass a hash, and write $name in the query")


def failing(reason: str) -> ServerLost:
    """The server failed a moment ago, and is not asked again yet."""
    return ServerLost(f"not asked, because it failed a moment ago: {reason}")


def line_is_full(most: int) -> DatasourceError:
    """Too many queries wait for a connection."""
    return DatasourceError(f"{most} queries are already waiting")


def too_large(octets: int) -> QueryFailed:
    """A result that would take too much memory."""
    return QueryFailed(f"the result is larger than {octets >> 20} MiB: ask for less, or set max_rows")


def parameters_do_not_fit(wanted: int, given: int) -> QueryFailed:
    """As many `?` as parameters."""
    return QueryFailed(f"the query has {wanted} `?`, but {given} parameters were given")


def no_parameter(name: str) -> QueryFailed:
    """`:name` without a value."""
    return QueryFailed(f"the query uses `{name}`, but the hash of parameters does not have it")


def query_too_long(most: int) -> QueryFailed:
    """A query of an absurd length."""
    return QueryFailed(f"the query is longer than {most} characters")


def bad_words(query: str) -> QueryFailed:
    """A command of Redis with an open quote, or none at all."""
    return QueryFailed(f"`{query}` is not a command: check its quotes")


def bad_command(name: str) -> QueryFailed:
    """A command of Redis that would change the connection."""
    return QueryFailed(f"{name} cannot be used here: it changes the connection")


def bad_ldap_query(reason: str) -> QueryFailed:
    """An LDAP URL with a part that cannot be."""
    return QueryFailed(f"the query is not an LDAP URL: {reason}")


def read_only(driver: str) -> QueryFailed:
    """`ds_execute` with a directory."""
    return QueryFailed(f"ds_execute cannot change anything through {driver}")
