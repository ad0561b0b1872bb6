"""`Alone`: a worker with the parts of a control process, in one process and without a supervisor.

The demo runs it. It shows the same as a server, in which these parts have their own process.
"""

from __future__ import annotations

import asyncio
import os
import socket
import time
from collections.abc import Callable, Sequence
from typing import Protocol, TypeAlias

from config.scopes.listener import Listener
from proxy.base.tasks import TaskOwner, spawn
from proxy.control.asking import Processes
from proxy.control.service import ControlService, Part
from proxy.control.watched import Watched
from proxy.history.sender import Sender
from proxy.keeper.door import Door
from proxy.keeper.messages import Hello
from proxy.metrics.board import Board
from proxy.metrics.book import BOOK
from proxy.metrics.reading import Totals
from proxy.metrics.table import BEAT, CPU, LISTENS, PID, RELOAD_WORKED, RELOADED_AT, WORKER_UP, WORKERS
from proxy.page.routes import Role
from proxy.server.answering import Answerer, through
from proxy.server.assembly import Assembly
from proxy.server.rooms import of_keeper, of_worker
from proxy.server.sockets import WorkerSockets
from proxy.server.telling import told_to_history
from proxy.server.worker import Worker

LOOK_SECONDS = 1.0

_ONLY = 1
"""The worker's number."""


class Linking(Protocol):
    """The page: `proxy.page.serving.Page`."""

    def link(self, role: Role) -> str:
        """Return a one-time link."""
        ...


class Observing(Protocol):
    """What a control process runs: `proxy.server.controlling.Observing`."""

    @property
    def parts(self) -> Sequence[Part]:
        """Its parts, in the order in which they start."""
        ...

    @property
    def processes(self) -> Processes:
        """Those that it asks."""
        ...

    @property
    def page(self) -> Linking | None:
        """The page, if it is served."""
        ...


Observe: TypeAlias = Callable[[Assembly, Watched, Sequence[socket.socket], Door, int], Observing]


class Alone:
    """Serves one assembly on the running event loop."""

    def __init__(self, assembly: Assembly, observe: Observe) -> None:
        """`observe` makes the parts of a control process. Nothing runs before `start`."""
        self._assembly, self._observe = assembly, observe
        self._worker = Worker(assembly)
        self._rows = Door()
        self._owner = TaskOwner("alone")
        self._history: Sender | None = None
        self._service: ControlService | None = None
        self._observing: Observing | None = None
        self._answerer: Answerer | None = None

    @property
    def addresses(self) -> list[tuple[str, int]]:
        """The addresses that clients connect to."""
        return self._worker.addresses

    def link(self) -> str:
        """Return a link that logs a browser in to the page; empty if the page is not served."""
        page = self._observing.page if self._observing is not None else None
        return page.link(Role.OPERATE) if page is not None else ""

    async def start(self) -> None:
        """Bind, build, observe, and serve.

        Raises:
            CannotListen: an address cannot be bound.
        """
        core = self._assembly.core
        watched = self._watched()
        self._history = told_to_history(core, self._rows, None)
        served = [Listener(each.host, each.port or 0) for each in (*core.metrics_listener, *core.web_listener)]
        pages = list(WorkerSockets.bind(served, 1))
        self._observing = self._observe(self._assembly, watched, pages, self._rows, 1)
        self._service = ControlService(self._observing.parts)
        await self._service.start()
        await self._worker.start()
        hello = Hello(1, _ONLY, answers=True)
        once = of_keeper.questions(self._worker.counts_itself, self._worker.callbacks, self._assembly)
        self._answerer = Answerer(through(self._rows.outside, hello), of_worker.questions(self._worker) | once)
        self._answerer.start()
        spawn(self._look_along(watched), name="gauges", owner=self._owner)

    async def stop(self, *, now: bool) -> None:
        """End the sessions, and keep their events."""
        await self._worker.stop(now=now)
        await self._owner.cancel()
        if self._answerer is not None:
            await self._answerer.close()
        if self._history is not None:
            await asyncio.to_thread(self._history.close)
        if self._service is not None and self._observing is not None:
            await self._service.stop()
            await self._observing.processes.close()
        self._rows.close()

    def _watched(self) -> Watched:
        """Return the memory that a supervisor would have made, with this process as the worker in it."""
        own, board = Board(1, {}), Board(3, self._assembly.metric_names)
        board.blocks[_ONLY].begin(BOOK)
        counts = own.blocks[0].counts
        counts[PID.base], counts[RELOADED_AT.base], counts[RELOAD_WORKED.base] = os.getpid(), int(time.time()), 1
        counts[WORKERS.base] = counts[LISTENS.base] = counts[WORKER_UP.base + _ONLY] = 1
        return Watched(own, [board], board, Totals())

    @staticmethod
    async def _look_along(watched: Watched) -> None:
        while True:
            watched.own.counts[BEAT.base] = time.monotonic_ns()
            BOOK.counts[CPU.at("worker")] = time.process_time_ns() // 1000
            BOOK.look()
            await asyncio.sleep(LOOK_SECONDS)
