"""The lists of a worker as a script of one session asks them."""

from __future__ import annotations

from collections.abc import Callable, Coroutine
from typing import Any

from proxy.datasource.sources import DatasourceError, Datasources, UnknownDatasource
from proxy.lists.cidr import MOST_LISTS, CidrList, TooManyLists, UnknownList
from proxy.lists.definition import NoRows, Result, Rows, Undefined, by_hash
from proxy.lists.entries import Entry
from proxy.lists.listed import Lists
from sieve.run import reasons
from sieve.run.values import ScriptError
from sieve.shared import ListDefinition


def rows_of(sources: Datasources) -> Rows:
    """Return what asks datasources for the rows of a list: all of them, and never an old result."""

    async def rows(cache: str, query: str) -> Result:
        try:
            found = await sources.rows(cache, query, most=-1, fresh=True)
        except (DatasourceError, UnknownDatasource) as error:
            raise NoRows(str(error)) from None
        return found.columns, found.rows

    return rows


class SessionLists:
    """Turns what a list cannot answer into a run-time error of the script."""

    __slots__ = ("all", "found")

    def __init__(self, lists: Lists, found: Callable[[Entry], None]) -> None:
        """`found` hears of an operator's entry that an answer comes from."""
        self.all, self.found = lists, found

    def define(self, given: ListDefinition) -> Coroutine[Any, Any, None] | None:
        """Define a list; return what waits for it, if it is not loaded yet. Raises ScriptError."""
        known = self.all.known_as(given)
        try:
            definition = by_hash(given) if known is None else known
            if known is None:
                self.all.know(given, definition)
            return self.all.cidr.define(definition)
        except Undefined as error:
            raise ScriptError(str(error)) from None
        except TooManyLists:
            raise ScriptError(reasons.too_many_lists(MOST_LISTS)) from None

    def holds(self, name: str, address: str) -> bool:
        """Tell whether an address is in a list. Raises ScriptError."""
        entry = self.all.entry(name, address)
        if entry is not None:
            self.found(entry)
            return True
        known = self._known(name)
        return known is not None and known.holds(address)

    def value(self, name: str, address: str) -> str:
        """Return the value of an address. Raises ScriptError."""
        known = self._known(name)
        if known is None or not known.definition.has_values:
            return "true" if SessionLists.holds(self, name, address) else "false"
        return known.value(address)

    def reason(self, name: str, address: str) -> str:
        """Return why an operator has listed an address. Raises ScriptError."""
        self._known(name)
        entry = self.all.entry(name, address)
        if entry is None:
            return ""
        self.found(entry)
        return entry.reason or "listed"

    async def reload(self, name: str) -> None:
        """Load a list again. Raises ScriptError."""
        try:
            await self.all.cidr.reload(name)
        except UnknownList:
            raise ScriptError(reasons.unknown_list(name)) from None

    def _known(self, name: str) -> CidrList | None:
        """Return a list that a script has defined; None for one that only operators fill."""
        try:
            self.all.check(name)
        except UnknownList:
            raise ScriptError(reasons.unknown_list(name)) from None
        return self.all.cidr.get(name) if name in self.all.cidr else None
