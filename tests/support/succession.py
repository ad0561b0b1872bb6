"""Ringbacks one after another: when one is killed, the next has already started, on a port of its own."""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import Callable
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from tests.support.conversation import Conversation
from tests.support.programs import Program, accepts_connections
from tests.support.ringback import Ringback, Setup, command, environment
from tests.support.waiting import eventually

DEFECTS = ("command_failed", "reception_failed", "script_failed", "task_failed", "validator_failed", "unstructured")
"""Events that no death of anything else excuses."""


class Life(Ringback):
    """One `ringback serve` process, which need not be waited for."""

    def launch(self) -> Self:
        """Start it."""
        arguments = command("serve", "-c", str(self.configuration))
        self._program = Program(arguments, folder=self.folder, name="serve", environment=environment())
        return self

    async def ready(self) -> None:
        """Wait until it accepts connections."""
        await eventually(lambda: accepts_connections("127.0.0.1", self.port), "Ringback serves", within=60)

    async def freeze(self) -> None:
        """Stop it where it stands (SIGSTOP), and see that it has; it does not run on before it is killed."""
        os.killpg(self.program.process.pid, signal.SIGSTOP)
        await eventually(lambda: set(self.program.group().values()) == {"T"}, "Ringback is stopped")


class Succession:
    """A place where one Ringback serves, and its successor stands by."""

    def __init__(self, folder: Path, setup: Callable[[], Setup]) -> None:
        """Name the folder of all of them; `setup` makes each one's configuration, with a port of its own."""
        self._folder, self._setup = folder, setup
        self._lives: list[Life] = []
        self.kills = 0
        """How many were killed."""

    @property
    def serving(self) -> Life:
        """The one that serves; dead between `kill` and `succeed`."""
        return self._lives[self.kills]

    def kill(self) -> None:
        """Kill the one that serves."""
        assert self.serving.program.is_running, self.serving.program.printed()[-3000:]
        self.serving.kill()

    async def succeed(self) -> None:
        """Let the successor of the dead serve, and start its own."""
        await self._lives[self.kills + 1].ready()
        self.kills += 1
        self._beget()

    async def conversation(self) -> Conversation:
        """Connect as a client and greet.

        Raises:
            ConnectionError: the one that serves is dead, or died.
        """
        client = await self.serving.conversation()
        try:
            await client.ehlo()
        except BaseException:
            client.abort()
            raise
        return client

    @property
    def defects(self) -> list[dict[str, Any]]:
        """What the dead and the living logged of faults of their own."""
        return [event for life in self._lives for event in life.log if event["event"] in DEFECTS]

    def _beget(self) -> None:
        folder = self._folder / str(len(self._lives))
        folder.mkdir(parents=True)
        self._lives.append(Life(self._setup(), folder).launch())

    async def __aenter__(self) -> Self:
        """Start the first and the second."""
        self._beget()
        self._beget()
        await self.serving.ready()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None
    ) -> None:
        """Stop what is left, and see the one that serves end cleanly."""
        *dead, serving, successor = self._lives
        try:
            await successor.ready()  # so that it has its signal handlers
        finally:
            for life in dead:
                life.program.stop(within=0)
            statuses = await asyncio.gather(*(asyncio.to_thread(life.program.stop) for life in (serving, successor)))
        assert statuses == [0, 0], (serving.program.printed()[-3000:], successor.program.printed()[-3000:])
