"""A result: its columns and rows, all as text."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

from proxy.datasource.errors import too_large

MOST_OCTETS = 256 << 20
"""Characters of a result, however many rows it may have: a list of a million networks has a tenth."""

_TOGETHER = 200
"""Rows that are taken within about a millisecond."""

Cell: TypeAlias = "str | tuple[str, ...]"
"""A value; several if the column has several. NULL is empty."""


@dataclass(frozen=True, slots=True)
class Rows:
    """What a query found."""

    columns: tuple[str, ...] = ()
    rows: Sequence[tuple[Cell, ...]] = ()
    size: int = 0
    """About how many characters it has."""


NOTHING = Rows()


class Gathering:
    """Turns a driver's values into rows as they come, and stops at a limit of rows or of characters."""

    __slots__ = ("_charset", "_columns", "_most", "_rows", "_size")

    def __init__(self, columns: Sequence[str], most: int, charset: str) -> None:
        """`most` rows, or all if negative; `charset` of octets that are not UTF-8."""
        self._columns, self._most, self._charset = tuple(columns), most, charset
        self._rows: list[tuple[Cell, ...]] = []
        self._size = 0

    @property
    def wanted(self) -> int:
        """How many more rows to ask for; a large number if all."""
        return 1_000_000_000 if self._most < 0 else self._most - len(self._rows)

    def add(self, values: Sequence[Any]) -> None:
        """Take a row.

        Raises:
            QueryFailed: the result is too large.
        """
        row = tuple([cell_of(value, self._charset) for value in values])
        self._size += 64 + sum(map(len, row))
        if self._size > MOST_OCTETS:
            raise too_large(MOST_OCTETS)
        self._rows.append(row)

    async def take(self, rows: Iterable[Sequence[Any]]) -> None:
        """Take rows until there are enough, and let the event loop come round between them.

        Raises:
            QueryFailed: the result is too large.
        """
        for number, row in enumerate(rows, 1):
            if self.wanted <= 0:
                break
            self.add(row)
            if not number % _TOGETHER:
                await asyncio.sleep(0)

    @property
    def rows(self) -> Rows:
        """What was gathered."""
        return Rows(self._columns, tuple(self._rows), self._size)


def cell_of(value: Any, charset: str) -> Cell:
    """Return a value as text; NULL is empty, and several values stay several."""
    if isinstance(value, str):
        return value
    if value is None:
        return ""
    if isinstance(value, list | tuple | set | frozenset):
        return tuple([text_of(each, charset) for each in value])
    return text_of(value, charset)


def text_of(value: Any, charset: str) -> str:
    """Return one value as text."""
    if isinstance(value, bytes | bytearray | memoryview):
        octets = bytes(value)
        try:
            return octets.decode()
        except UnicodeDecodeError:
            return octets.decode(charset, "replace")
    return "" if value is None else str(value)
