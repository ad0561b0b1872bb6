"""Settings from the console, in two steps: first every worker prepares them, then all start to use them."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Protocol, TypeAlias

from config.diagnostics import Diagnostic, render
from config.overlay import Change
from proxy.base.rejected import ConfigurationRejected
from proxy.control.steering import unpacked
from proxy.server.answering import Question, Unanswerable

Changes: TypeAlias = tuple[Change, ...]


class Changeable(Protocol):
    """A loaded configuration: `proxy.server.assembly.Assembly`."""

    @property
    def serial(self) -> int:
        """When its settings were made."""
        ...

    def changed(self, changes: Changes, serial: int) -> tuple[Any, Sequence[Diagnostic]]:
        """Make it again with other settings of the console."""
        ...


class Changing(Protocol):
    """A worker whose configuration can change for new sessions."""

    @property
    def assembly(self) -> Changeable:
        """The configuration of new sessions."""
        ...

    generation: int
    """The number of its file, as it was loaded."""

    async def prepare(self, assembly: Any) -> Callable[[], None]:
        """Build what a changed configuration needs; return what turns to it."""
        ...


def questions(worker: Changing) -> dict[str, Question]:
    """Return the questions about settings."""
    return _Overlay(worker).questions()


class _Overlay:
    """One worker's settings. The event loop's thread owns its state."""

    def __init__(self, worker: Changing) -> None:
        self._worker, self._generation = worker, worker.generation
        self._prepared: tuple[int, Callable[[], None]] | None = None
        self._one_by_one = asyncio.Lock()

    def questions(self) -> dict[str, Question]:
        return {"settings_prepare": self._prepare, "settings_apply": self._apply, "settings_drop": self._drop}

    async def _prepare(self, given: Mapping[str, Any]) -> bool:
        """Build everything for these settings. Nothing changes anywhere."""
        if given["generation"] != self._generation:
            raise Unanswerable("it has another configuration")
        changes, serial = unpacked(given["changes"]), int(given["serial"])
        async with self._one_by_one:
            self._prepared = serial, await self._built(changes, serial)
        return True

    async def _built(self, changes: Changes, serial: int) -> Callable[[], None]:
        try:  # a large configuration takes a second, in which sessions continue
            assembly, _ = await asyncio.to_thread(self._worker.assembly.changed, changes, serial)
            return await self._worker.prepare(assembly)
        except ConfigurationRejected as rejected:
            raise Unanswerable(render(rejected.diagnostics)) from None

    async def _apply(self, given: Mapping[str, Any]) -> bool:
        """Serve new sessions by these settings: at once if they were prepared."""
        changes, serial = unpacked(given["changes"]), int(given["serial"])
        async with self._one_by_one:
            if given["generation"] != self._generation or serial <= self._worker.assembly.serial:
                return True  # it has another configuration, or these settings already, or newer ones
            prepared, self._prepared = self._prepared, None
            turn = prepared[1] if prepared is not None and prepared[0] == serial else await self._built(changes, serial)
            turn()
        return True

    def _drop(self, _given: Mapping[str, Any]) -> bool:
        """Forget what was prepared."""
        self._prepared = None
        return True
