"""`CidrLists`: the lists that scripts define, as one worker asks them.

A table is built once for the machine, by a process that the first worker starts which needs it; the others map the
same file. A list that was loaded once stays as it is until the next one is complete.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Any

from proxy.base.log import get_logger, printable
from proxy.base.tasks import TaskOwner, spawn
from proxy.lists.definition import Definition, Rows
from proxy.lists.loading import Loader
from proxy.lists.table import NOT_LISTED, Broken, Table, is_current

log = get_logger()

MOST_LISTS = 256

LOOK_SECONDS = 1.0
"""How often a worker looks whether another one has loaded a list."""

RETRY_SECONDS = 60.0
"""Between two attempts to load a list that was never loaded."""


TOGETHER_SECONDS = 5.0
"""Workers that define a list within this time ask its datasource once."""


class UnknownList(Exception):
    """No list of this name is defined."""


class TooManyLists(Exception):
    """MOST_LISTS are defined."""


class CidrList:
    """One list of one worker."""

    def __init__(self, definition: Definition, path: Path) -> None:
        """Map the table, if there is one that is current."""
        self.definition = definition
        self.path = path
        self.due: float | None = None
        """When it is loaded again, by the monotonic clock."""
        self.loading: asyncio.Task[None] | None = None
        self.fresh: asyncio.Task[None] | None = None
        self.problem = ""
        """Why it could not be loaded the last time."""
        self._table: Table | None = None
        self._mapped: tuple[int, int] | None = None
        self._look_at = 0.0

    @property
    def table(self) -> Table | None:
        """The list, None until it was loaded for the first time."""
        now = time.monotonic()
        if now >= self._look_at:
            self._look_at = now + LOOK_SECONDS
            self.look()
        return self._table

    def look(self) -> None:
        """Map the file if it is another one than before."""
        try:
            status = self.path.stat()
            identity = status.st_ino, status.st_size
            if identity != self._mapped:
                self._table = Table.mapped(self.path)
                self._mapped = identity
        except (OSError, Broken):
            return

    @property
    def is_current(self) -> bool:
        """Whether the table is there and its file has not changed since; a datasource is always asked first."""
        table = self.table
        return table is not None and bool(self.definition.file) and is_current(table, self.definition.file)

    def holds(self, address: str) -> bool:
        """Tell whether an address is listed. A list with values holds nothing (Momentum manual, check_cidr)."""
        table = self.table
        return table is not None and not self.definition.has_values and table.find(address) != NOT_LISTED

    def value(self, address: str) -> str:
        """Return the value of an address, or the default; of a list without values, true or false."""
        if not self.definition.has_values:
            return "true" if self.holds(address) else "false"
        table = self.table
        number = NOT_LISTED if table is None else table.find(address)
        if table is None or number == NOT_LISTED:
            return self.definition.default
        value = table.value(number)
        if self.definition.interpolates and "$" in value:
            return _shown(value, address)
        return value


def _shown(value: str, address: str) -> str:
    """Return a value with the address for each `$`; `$$` is a dollar sign."""
    return "$".join(part.replace("$", address) for part in value.split("$$"))


class CidrLists:
    """The event loop's thread owns it."""

    def __init__(self, folder: Callable[[], Path], rows: Rows | None = None) -> None:
        """Define nothing. `folder` returns where the tables are, or raises OSError; `rows` asks datasources."""
        self._loader = Loader(folder, rows)
        self._lists: dict[str, CidrList] = {}
        self._owner = TaskOwner("lists")

    def __contains__(self, name: str) -> bool:
        return name in self._lists

    @property
    def every(self) -> list[CidrList]:
        """All lists, by name."""
        return [self._lists[name] for name in sorted(self._lists)]

    def get(self, name: str) -> CidrList:
        """Return a list.

        Raises:
            UnknownList: it is not defined.
        """
        found = self._lists.get(name)
        if found is None:
            raise UnknownList(name)
        return found

    def define(self, definition: Definition) -> Coroutine[Any, Any, None] | None:
        """Define a list; return what waits for it, if it is not loaded yet. The same definition again costs nothing.

        Raises:
            TooManyLists: there are too many.
        """
        known = self._lists.get(definition.name)
        if known is not None and known.definition == definition:
            if known.loading is None or known.table is not None:
                return None
            return _end_of(known.loading)
        return self._begin(definition, known)

    def _begin(self, definition: Definition, known: CidrList | None) -> Coroutine[Any, Any, None] | None:
        if known is None and len(self._lists) >= MOST_LISTS:
            raise TooManyLists
        if known is not None:
            log.warning("list_redefined", list=printable(definition.name))
            for task in (known.loading, known.fresh):
                if task is not None:
                    task.cancel()
        made = self._lists[definition.name] = CidrList(definition, self._loader.path_of(definition))
        made.fresh = spawn(self._keep_fresh(made), name=f"list {definition.name}", owner=self._owner)
        if made.is_current:
            return None
        return _end_of(self._load(made, older_than=time.time() - (0.0 if definition.file else TOGETHER_SECONDS)))

    async def reload(self, name: str, older_than: float | None = None) -> str:
        """Load a list again, unless that was done since `older_than`; return why that failed, or "".

        Raises:
            UnknownList: it is not defined.
        """
        known = self.get(name)
        await _end_of(self._load(known, older_than=time.time() if older_than is None else older_than))
        return known.problem

    def _load(self, known: CidrList, *, older_than: float) -> asyncio.Task[None]:
        """Begin to load a list, unless it is being loaded."""
        if known.loading is None or known.loading.done():
            loading = self._loaded(known, older_than)
            known.loading = spawn(loading, name=f"loading of list {known.definition.name}", owner=self._owner)
        return known.loading

    async def _loaded(self, known: CidrList, older_than: float) -> None:
        try:
            known.problem = await self._loader.load(known.definition, older_than)
        finally:
            known.look()
            known.loading = None

    async def _keep_fresh(self, known: CidrList) -> None:
        """Load a list when it is due. A list that was never loaded is tried again soon."""
        while True:
            refresh = known.definition.refresh
            pause = min(refresh or RETRY_SECONDS, RETRY_SECONDS) if known.table is None else refresh
            if not pause:
                return
            known.due = time.monotonic() + pause
            await asyncio.sleep(pause)
            await _end_of(self._load(known, older_than=time.time() - pause * 0.9))

    async def close(self) -> None:
        """Load nothing any more."""
        await self._owner.cancel()


async def _end_of(task: asyncio.Task[None]) -> None:
    """Wait for a task that others wait for as well."""
    await asyncio.wait((task,))
