"""`Running`: the running configuration with the console's settings, and how to change it.

A setting is tried as `check` does, prepared by every worker, kept by the supervisor for replacements, and only then
applied. If any of the first three steps fails, nothing changes anywhere.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Sequence
from typing import Any, Protocol

from config.diagnostics import Diagnostic, render
from config.overlay import Change
from config.schema.specs import Schema
from config.settings import Settings
from proxy.base.rejected import ConfigurationRejected
from proxy.console.errors import Refused
from proxy.control.asking import Processes, Told
from proxy.control.steering import Done, Steering, packed

PREPARE_SECONDS = 15.0
APPLY_SECONDS = 5.0
MOST_SETTINGS = 256


class Configured(Protocol):
    """A loaded configuration: `proxy.server.assembly.Assembly`."""

    @property
    def settings(self) -> Settings:
        """What it says."""
        ...

    @property
    def prepared(self) -> Sequence[Any]:
        """Its modules' stanzas, prepared."""
        ...

    @property
    def changes(self) -> tuple[Change, ...]:
        """The settings of the console in it."""
        ...

    def changed(self, changes: Sequence[Change], serial: int = 0) -> tuple[Any, Sequence[Diagnostic]]:
        """Make it again with other settings of the console."""
        ...


Load = Callable[[], tuple[Configured, Sequence[Diagnostic]]]
"""Loads the configuration's file again. Raises ConfigurationRejected."""


class Running:
    """The control process owns it."""

    def __init__(
        self,
        assembly: Configured,
        schema: Schema,
        generation: int,
        steering: Steering,
        processes: Processes,
        load: Load,
    ) -> None:
        """Start with the settings that the supervisor has kept, if this process replaces another one."""
        self._assembly, self._load = assembly, load
        self.schema, self._generation = schema, generation
        self._steering, self._processes = steering, processes
        self._one_by_one = asyncio.Lock()

    @property
    def assembly(self) -> Configured:
        """The configuration of new sessions."""
        return self._assembly

    @property
    def settings(self) -> Settings:
        """The configuration of new sessions, as settings."""
        return self._assembly.settings

    async def file(self) -> Configured:
        """Load the file that the server was started with.

        Raises:
            Refused: it has errors, which are the text.
        """
        try:
            return (await asyncio.to_thread(self._load))[0]
        except ConfigurationRejected as rejected:
            raise Refused(render(rejected.diagnostics).rstrip("\n")) from None

    async def change(self, change: Change) -> str:
        """Change one setting for all workers or none; return warnings.

        Raises:
            Refused: it is wrong, or a worker cannot take it.
        """
        async with self._one_by_one:
            changes, assembly = await self._with(change)
            told = _done(await self._steering.try_out(self._generation, changes))
            serial = time.monotonic_ns()
            given = {"generation": self._generation, "changes": packed(changes), "serial": serial}
            await self._prepared(given)
            try:
                _done(await self._steering.keep(self._generation, changes, serial))
            except Refused:
                await self._processes.ask("settings_drop")
                raise
            self._assembly = assembly
            # a worker may have been forked before the supervisor had the settings, and connect only now
            await self._processes.keep("console", "settings_apply", given)
            late = [each for each in await self._ask("settings_apply", given, APPLY_SECONDS) if each.error]
            return "\n".join([told.rstrip("\n"), *map(_follows, late)]).strip("\n")

    async def reload(self) -> str:
        """Load the file again, all or nothing; return warnings.

        Raises:
            Refused: the file has errors, or its processes did not start; the text has the diagnostics.
        """
        async with self._one_by_one:
            return _done(await self._steering.reload())

    async def _with(self, change: Change) -> tuple[tuple[Change, ...], Configured]:
        """Return the settings with one more, or one less, and the configuration with them."""
        before = self._assembly.changes
        rest = tuple(each for each in before if not _replaces(change, each))
        if len(rest) >= MOST_SETTINGS:
            raise Refused(f"{MOST_SETTINGS} settings are in use already: write them into the file, and reload")
        changes = (*rest, change)
        try:
            return changes, await self._made(changes)
        except Refused:
            if change.sets or rest == before:
                raise
            return rest, await self._made(rest)  # only the console had set it

    async def _made(self, changes: tuple[Change, ...]) -> Configured:
        try:
            assembly: Configured = (await asyncio.to_thread(self._assembly.changed, changes))[0]
        except ConfigurationRejected as rejected:
            raise Refused(render(rejected.diagnostics).rstrip("\n")) from None
        return assembly

    async def _prepared(self, given: dict[str, Any]) -> None:
        """Have every worker prepare; drop all if one cannot."""
        told = await self._ask("settings_prepare", given, PREPARE_SECONDS)
        failed = [f"{each.process.name} (pid {each.process.pid}): {each.error}" for each in told if each.error]
        if failed or not told:
            await self._processes.ask("settings_drop")
            raise Refused("nothing was changed: " + ("; ".join(failed) or "no worker answers"))

    async def _ask(self, question: str, given: dict[str, Any], seconds: float) -> list[Told]:
        """Ask the workers of this configuration. Older workers finish under their own."""
        told = await self._processes.ask(question, given, seconds=seconds)
        return [each for each in told if each.process.hello.generation == self._generation]


def _replaces(new: Change, old: Change) -> bool:
    return new.place == old.place and new.option in {old.option, ""}


def _done(done: Done) -> str:
    if done.error:
        raise Refused(done.error.rstrip("\n"))
    return done.told


def _follows(told: Told) -> str:
    return f"{told.process.name} (pid {told.process.pid}) follows when it answers again: {told.error}"
