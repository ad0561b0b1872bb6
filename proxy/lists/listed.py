"""`Lists`: all lists of a worker by one name: what scripts define, and what operators add.

An operator's entry counts beside the networks of a list of the same name. So a listed network can be added for an hour
without touching a file.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Collection, Mapping
from pathlib import Path

from proxy.lists.cidr import CidrLists, UnknownList
from proxy.lists.definition import Definition, Rows
from proxy.lists.entries import Entries, Entry
from proxy.lists.folder import folder_of
from proxy.lists.operators import stored
from proxy.lists.region import SHARED, Region

_MOST_DEFINITIONS = 1024


class Lists:
    """A worker has one. Its state is the lists that scripts have defined."""

    def __init__(
        self,
        state_directory: Path,
        region: Region = SHARED,
        declared: Collection[str] = (),
        rows: Rows | None = None,
        folder: Path | None = None,
        clock: Callable[[], float] = time.time,
    ) -> None:
        """`region` has the operators' entries; `declared` are names that need no definition.

        Tables are in `folder`, or below the state folder.
        """
        self._state_directory = state_directory
        self.region = region
        self._clock = clock
        self.declared = declared
        self._stored: Entries | None = None
        self._folder = folder
        self.cidr = CidrLists(self._make_folder, rows)
        self._definitions: dict[frozenset[tuple[str, str]], Definition] = {}

    def _make_folder(self) -> Path:
        if self._folder is None:
            self._folder = folder_of(self._state_directory)
        return self._folder

    @property
    def entries(self) -> Entries:
        """The operators' entries: from the file until the control process has published them."""
        if self.region.version:
            return self.region.entries
        if self._stored is None:
            self._stored = Entries(stored(self._state_directory))
        return self._stored

    def entry(self, name: str, address: str) -> Entry | None:
        """Return the operators' entry for an address in a list."""
        entries = self.entries
        return entries.find(name, address, self._clock()) if entries else None

    def refusing(self, names: Collection[str], address: str) -> tuple[str, Entry | None] | None:
        """Return the first of these lists that has an address, and the entry if an operator made it."""
        for name in names:
            entry = self.entry(name, address)
            if entry is not None:
                return name, entry
            if name in self.cidr and self.cidr.get(name).holds(address):
                return name, None
        return None

    def known_as(self, given: Mapping[str, str]) -> Definition | None:
        """Return what a hash defines, if it was read before: scripts repeat their definitions at each run."""
        return self._definitions.get(frozenset(given.items()))

    def know(self, given: Mapping[str, str], definition: Definition) -> None:
        """Remember what a hash defines."""
        if len(self._definitions) >= _MOST_DEFINITIONS:
            self._definitions.clear()
        self._definitions[frozenset(given.items())] = definition

    def check(self, name: str) -> None:
        """Check that a list is known.

        Raises:
            UnknownList: the list is neither defined nor declared.
        """
        if name not in self.cidr and name not in self.declared and name not in self.entries.names:
            raise UnknownList(name)

    async def close(self) -> None:
        """Load nothing any more."""
        await self.cidr.close()
