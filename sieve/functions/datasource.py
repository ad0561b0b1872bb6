"""Query databases and directories.

A query that fails does not fail the script: it finds nothing, and the connection's context variable `datasource_error`
says why. The next query removes it.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import TypeVar

from sieve.library import Hash, Soon, Value, sieve_function
from sieve.run.runtime import Frame
from sieve.run.values import as_list, as_text
from sieve.shared import Found

_ERROR = "datasource_error"
_Shape = TypeVar("_Shape", tuple[str, ...], Hash)


@sieve_function(queries=True, datasource="cache")
def ds_fetch(frame: Frame, cache: str, query: str, params: Value | None = None) -> Soon[tuple[str, ...]]:
    """Return the first row that a query finds as a list, in column order; an empty list if it finds nothing.

    Give a list of parameters for `?` in the query, and a hash for `:name` and `$name`. They are bound, or escaped for
    their place in the query, so text from a stranger never becomes part of the query. NULL is an empty string. A
    single column with several values gives all of them.
    """
    return _asked(frame, cache, query, params, _first)


@sieve_function(queries=True, datasource="cache")
def ds_fetch_flat(frame: Frame, cache: str, query: str, params: Value | None = None) -> Soon[tuple[str, ...]]:
    """Return all rows that a query finds as one list, row by row. Otherwise like `ds_fetch`."""
    return _asked(frame, cache, query, params, _every)


@sieve_function(queries=True, datasource="cache")
def ds_fetch_hash(frame: Frame, cache: str, query: str, params: Value | None = None) -> Soon[Hash]:
    """Return the first row that a query finds as a hash keyed by column name; an empty hash if it finds nothing.

    A column with several values is a list. Otherwise like `ds_fetch`.
    """
    return _asked(frame, cache, query, params, _hash)


@sieve_function(queries=True, datasource="cache")
async def ds_execute(frame: Frame, cache: str, query: str, params: Value | None = None) -> None:
    """Run a statement that changes something, such as INSERT. The parameters are as for `ds_fetch`.

    It runs each time. Earlier results of `ds_fetch` stay in the cache for `cache_life`.
    """
    frame.host.vctx_conn.pop(_ERROR, None)
    _noted(frame, await frame.host.datasources.execute(cache, query, _parameters(params)))


def _asked(
    frame: Frame, cache: str, query: str, params: Value | None, shape: Callable[[Found], _Shape]
) -> Soon[_Shape]:
    frame.host.vctx_conn.pop(_ERROR, None)
    found = frame.host.datasources.fetch(cache, query, _parameters(params))
    return shape(_noted(frame, found)) if isinstance(found, Found) else _awaited(frame, found, shape)


async def _awaited(frame: Frame, found: Awaitable[Found], shape: Callable[[Found], _Shape]) -> _Shape:
    return shape(_noted(frame, await found))


def _noted(frame: Frame, found: Found) -> Found:
    if found.error:
        frame.host.vctx_conn[_ERROR] = found.error
    return found


def _parameters(params: Value | None) -> tuple[str, ...] | dict[str, str] | None:
    if isinstance(params, dict):
        return {name: as_text(value) for name, value in params.items()}
    return None if params is None else as_list(params)


def _first(found: Found) -> tuple[str, ...]:
    return _flat(found.rows[0]) if found.rows else ()


def _every(found: Found) -> tuple[str, ...]:
    return tuple([value for row in found.rows for value in _flat(row)])


def _hash(found: Found) -> Hash:
    return dict(zip(found.columns, found.rows[0], strict=False)) if found.rows else {}


def _flat(row: tuple[str | tuple[str, ...], ...]) -> tuple[str, ...]:
    """Return a row as a list: a single column with all its values, several columns with the first of each."""
    if len(row) == 1 and isinstance(row[0], tuple):
        return row[0]
    return tuple([as_text(cell) for cell in row])
