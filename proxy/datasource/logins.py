"""Checks a login with a datasource, as a scheme of `auth_ds` says."""

from __future__ import annotations

import re
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass

from proxy.datasource.hashes import NeverRight, matches, waste_time
from proxy.datasource.rows import Rows
from proxy.datasource.sources import DatasourceError, Datasources
from proxy.options.login_schemes import LoginScheme

_MACRO = re.compile(r"%\{([^{}|]*)(?:\|\|?([^{}]*))?\}")
_NUMBER = re.compile(r"[-+]?[0-9]{1,18}(?:\.[0-9]{0,18})?")
_YES = frozenset({"t", "true"})

InThread = Callable[[Callable[[], bool]], Awaitable[bool]]
"""Runs slow work outside of the event loop."""


class CannotCheck(Exception):
    """The login cannot be judged now; the text says why."""


@dataclass(frozen=True, slots=True)
class Judged:
    """Whether a login is right; `refused_kind` says if its stored password has a form that is never right."""

    is_right: bool
    refused_kind: str = ""


async def judge(sources: Datasources, scheme: LoginScheme, user: str, password: str, in_thread: InThread) -> Judged:
    """Ask a scheme's datasource about a login.

    Raises:
        CannotCheck: the datasource cannot answer.
    """
    try:
        rows = await sources.rows(scheme.cache, scheme.query, parameters_of(scheme.map, user, password))
    except DatasourceError as error:
        raise CannotCheck(f"datasource {scheme.cache}: {error}") from None
    if not scheme.returns_password:
        return Judged(bool(rows.rows) and is_yes(_cell(rows, "")))
    if not rows.rows:
        await in_thread(lambda: _wasted(scheme.type, password))
        return Judged(is_right=False)
    stored, kind = _cell(rows, scheme.password_column), _kind(scheme, rows)
    if not stored:  # a row without a password, such as an account that is closed
        return Judged(is_right=False)
    try:
        return Judged(await in_thread(lambda: matches(kind, stored, password)))
    except NeverRight as never:
        return Judged(is_right=False, refused_kind=str(never))


def parameters_of(names: Mapping[str, str], user: str, password: str) -> dict[str, str]:
    """Return a query's parameters."""
    local, at, domain = user.rpartition("@")
    known = {
        "username": user,
        "username_localpart": local if at else user,
        "username_domain": domain if at else "",
        "password": password,
        "crypt": "clear",
    }

    def value(found: re.Match[str]) -> str:
        return known.get(found[1].lower(), "") or found[2] or ""

    return {name: _MACRO.sub(value, text) for name, text in names.items()}


def is_yes(cell: str) -> bool:
    """Whether a column says that the login is right: a number that is not 0, or what PostgreSQL says for true."""
    if _NUMBER.fullmatch(cell):
        return float(cell) != 0
    return cell.lower() in _YES


def _kind(scheme: LoginScheme, rows: Rows) -> str:
    if not scheme.type_column:
        return scheme.type
    named = _cell(rows, scheme.type_column)
    return scheme.type_map.get(named) or named.lower().removeprefix("{").removesuffix("}") or scheme.type


def _cell(rows: Rows, column: str) -> str:
    """Return a column of the first row, by its name, or its number from 0.

    Raises:
        CannotCheck: there is no such column.
    """
    names = [name.lower() for name in rows.columns]
    if column.lower() in names:
        place = names.index(column.lower())
    elif column.isascii() and column.isdigit() and int(column) < len(names):
        place = int(column)
    elif column or not names:
        raise CannotCheck(f"the query has no column `{column}`")
    else:
        place = 0
    cell = rows.rows[0][place]
    return cell if isinstance(cell, str) else cell[0] if cell else ""


def _wasted(kind: str, password: str) -> bool:
    waste_time(kind, password)
    return False
