"""The supervisor of several workers: it holds the listening sockets, starts the workers, and replaces those that die.

It runs no event loop and no thread, serves no client, and loads what its workers run: each is a fork of it, so all of
them, and whoever replaces one later, run the configuration that was checked, whatever its file holds by then.
"""

from __future__ import annotations

import gc
import os
import selectors
import signal
import socket
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from functools import partial
from typing import TypeAlias

from proxy.forked import CUT, DRAIN, EX_SOFTWARE, SUPERVISORS_SIGNALS, be_worker
from proxy.log import get_logger
from proxy.notify import READY, STOPPING, notify, reloading
from proxy.sockets import CannotListen, WorkerSockets, raise_descriptor_limit
from proxy.worker import Assembly

log = get_logger()

START_SECONDS = 30.0
"""For a worker to serve after its start; it is killed then."""

STEADY_SECONDS = 60.0
"""A worker that served so long is replaced at once when it dies; so is the first that did not."""

LONGEST_PAUSE = 30.0
"""Seconds before a replacement, where each dies soon; clients wait 300 for a greeting (RFC 5321 section 4.5.3.2.1)."""

Reload: TypeAlias = Callable[[], tuple[Assembly, int] | None]
"""Loads the configuration again, with the number of its warnings; None where it has mistakes, which were logged."""


@dataclass(slots=True, eq=False)
class Generation:
    """One configuration, with the sockets of its workers."""

    assembly: Assembly
    sockets: WorkerSockets
    warnings: int = 0
    due: dict[int, float] = field(default_factory=dict)
    """The number of a worker that died → when it is started again."""
    failures: dict[int, int] = field(default_factory=dict)
    """A worker's number → how many in a row died soon."""

    def schedule(self, number: int, lived: float) -> float:
        """Say when a worker is started again that died after so many seconds; return the pause in seconds."""
        failures = 0 if lived >= STEADY_SECONDS else self.failures.get(number, 0)
        pause = min(2.0 ** (failures - 1), LONGEST_PAUSE) if failures else 0.0
        self.failures[number] = failures + 1
        self.due[number] = time.monotonic() + pause
        return pause


@dataclass(slots=True, eq=False)
class Child:
    """A worker's process, as its supervisor knows it."""

    pid: int
    number: int
    generation: Generation
    orders: socket.socket
    started: float
    serves: bool = False
    leaving: bool = False

    def order(self, order: bytes) -> None:
        """Send an order; it is to leave once only."""
        if order == DRAIN and self.leaving:
            return
        self.leaving = True
        with suppress(OSError):  # it has just died
            self.orders.send(order)


class Supervisor:
    """Starts, replaces and ends workers. Its state is its own: there is no second thread and no loop."""

    def __init__(self, assembly: Assembly, reload: Reload) -> None:
        """Take the first configuration, bind its addresses, and take how to load it again.

        Raises:
            CannotListen: an address cannot be bound.
        """
        self._reload = reload
        self._current = _generation(assembly)
        self._successor: Generation | None = None
        self._children: dict[int, Child] = {}
        self._selector = selectors.DefaultSelector()
        self._ready = self._reload_again = False
        self._stops = 0
        self._status = 0

    def run(self) -> int:
        """Serve until a signal ends it; return the exit status."""
        raise_descriptor_limit()
        with self._signals():
            self._start_all(self._current)
            while self._children or not self._stops:
                for key, _ in self._selector.select(self._patience()):
                    key.data()
                self._reap()
                self._kill_the_stuck()
                self._replace()
        log.info("supervisor_stopped")
        return self._status

    # ---- signals

    @contextmanager
    def _signals(self) -> Iterator[None]:
        """Let signals wake the loop: what one means is done between two turns, never inside a handler."""
        heard, woken = socket.socketpair()
        heard.setblocking(False)
        woken.setblocking(False)
        self._wakers = (heard, woken)
        signal.set_wakeup_fd(woken.fileno(), warn_on_full_buffer=False)
        for each in SUPERVISORS_SIGNALS:
            signal.signal(each, lambda *_: None)
        self._selector.register(heard, selectors.EVENT_READ, self._take_signals)
        try:
            yield
        finally:
            signal.set_wakeup_fd(-1)
            for each in SUPERVISORS_SIGNALS:  # one that comes now does not spoil the exit status
                signal.signal(each, signal.SIG_IGN)
            self._selector.close()
            heard.close()
            woken.close()

    def _take_signals(self) -> None:
        with suppress(BlockingIOError):
            for number in self._wakers[0].recv(4096):
                if number in (signal.SIGTERM, signal.SIGINT):
                    self._stop()
                elif number == signal.SIGHUP:
                    self._hang_up()

    def _stop(self) -> None:
        """Let everybody finish; at the second time, cut."""
        self._stops += 1
        log.info("supervisor_stopping", workers=len(self._children), now=self._stops > 1)
        notify(STOPPING)
        for child in self._children.values():
            child.order(CUT if self._stops > 1 else DRAIN)
        self._current.sockets.close()
        if self._successor is not None:
            self._successor.sockets.close()

    # ---- a new configuration

    def _hang_up(self) -> None:
        """Load the configuration and start its workers; they replace the others when all of them serve."""
        if self._stops:
            return
        if self._successor is not None or not self._ready:
            self._reload_again = True
            return
        notify(reloading())
        loaded = self._reload()
        if loaded is None:
            notify(READY)
            return
        try:
            self._successor = _generation(*loaded, predecessor=self._current.sockets)
        except CannotListen as error:
            log.error("reload_rejected", diagnostics=str(error))
            notify(READY)
            return
        self._start_all(self._successor)

    def _take_over(self, successor: Generation) -> None:
        replaced, self._current, self._successor = self._current, successor, None
        for child in self._of(replaced):
            child.order(DRAIN)
        replaced.sockets.close(keep=successor.sockets)
        log.info("reloaded", warnings=successor.warnings, workers=successor.sockets.workers)
        self._settled()

    def _abandon(self, successor: Generation, reason: str) -> None:
        self._successor = None
        for child in self._of(successor):
            child.order(DRAIN)
        successor.sockets.close(keep=self._current.sockets)
        log.error("reload_rejected", diagnostics=reason)
        self._settled()

    def _settled(self) -> None:
        """Every worker of the configuration in force serves."""
        self._ready = True
        notify(READY)
        if self._reload_again:
            self._reload_again = False
            self._hang_up()

    # ---- workers

    def _start_all(self, generation: Generation) -> None:
        gc.collect()
        gc.freeze()  # what all workers share stays shared: their collectors do not write to it
        for number in range(1, generation.sockets.workers + 1):
            self._start(generation, number)
        gc.unfreeze()

    def _start(self, generation: Generation, number: int) -> None:
        if self._stops or generation not in (self._current, self._successor):
            return  # one before it could not be started
        ours, theirs = socket.socketpair()
        ours.setblocking(False)
        theirs.setblocking(False)
        signal.pthread_sigmask(signal.SIG_BLOCK, SUPERVISORS_SIGNALS)
        try:
            pid = os.fork()
            if pid == 0:
                ours.close()
                self._become(generation, number, theirs)
        except OSError as error:
            ours.close()
            log.error("worker_not_started", worker=number, reason=str(error))
            self._lost(generation, number, 0.0)
            return
        finally:
            signal.pthread_sigmask(signal.SIG_UNBLOCK, SUPERVISORS_SIGNALS)
            theirs.close()
        child = self._children[pid] = Child(pid, number, generation, ours, time.monotonic())
        self._selector.register(ours, selectors.EVENT_READ, partial(self._heard, child))
        log.info("worker_started", worker=number, pid=pid)

    def _become(self, generation: Generation, number: int, orders: socket.socket) -> None:
        """Be the worker, in the new process, and never return: nothing of the supervisor's stack may run in it."""
        status = EX_SOFTWARE
        try:
            bound = generation.sockets.of(number)
            own = {each for each, _ in bound}
            # What another process's end must close is open nowhere else: its orders, and the sockets of an address
            # that is no longer configured.
            for child in self._children.values():
                child.orders.close()
            for each in (self._current, self._successor):
                for held in () if each is None else each.sockets:
                    if held not in own:
                        held.close()
            self._selector.close()
            for waker in self._wakers:
                waker.close()
            status = be_worker(number, generation.assembly, bound, orders)
        finally:
            os._exit(status)

    def _heard(self, child: Child) -> None:
        """Take what a worker tells: that it serves; or that it has ended, whose status comes with SIGCHLD."""
        try:
            told = child.orders.recv(64)
        except OSError:
            told = b""
        if not told:
            self._deaf(child)
            return
        child.serves = True
        if self._stops or not self._all_serve(child.generation):
            return
        if child.generation is self._successor:
            self._take_over(child.generation)
        elif child.generation is self._current and not self._ready:
            log.info("serving", workers=child.generation.sockets.workers)
            self._settled()

    def _deaf(self, child: Child) -> None:
        with suppress(KeyError, ValueError):  # done already
            self._selector.unregister(child.orders)
        child.orders.close()

    def _of(self, generation: Generation) -> list[Child]:
        return [child for child in self._children.values() if child.generation is generation]

    def _all_serve(self, generation: Generation) -> bool:
        return sum(child.serves for child in self._of(generation)) == generation.sockets.workers

    def _reap(self) -> None:
        """Learn who has ended. A supervisor that is process 1 of a container has strangers among them."""
        with suppress(ChildProcessError):
            while True:
                pid, status = os.waitpid(-1, os.WNOHANG)
                if pid == 0:
                    return
                child = self._children.pop(pid, None)
                if child is not None:
                    self._ended(child, os.waitstatus_to_exitcode(status))

    def _ended(self, child: Child, status: int) -> None:
        self._deaf(child)
        lived = time.monotonic() - child.started
        how = signal.Signals(-status).name if status < 0 else status
        seconds = round(lived, 3)
        if child.leaving and status == 0:
            log.info("worker_ended", worker=child.number, pid=child.pid, seconds=seconds)
            return
        log.error("worker_died", worker=child.number, pid=child.pid, status=how, seconds=seconds)
        self._lost(child.generation, child.number, lived)

    def _lost(self, generation: Generation, number: int, lived: float) -> None:
        """Replace a worker that is gone; before all of its generation served the whole generation has failed."""
        if self._stops:
            return
        if generation is self._successor:
            self._abandon(generation, f"worker {number} did not start")
        elif generation is self._current and not self._ready:
            self._status = EX_SOFTWARE
            self._stop()
        elif generation is self._current:
            pause = generation.schedule(number, lived)
            if pause:
                log.warning("worker_waits", worker=number, seconds=pause)

    def _replace(self) -> None:
        """Start the workers that are due."""
        now, due = time.monotonic(), self._current.due
        for number in [number for number, when in due.items() if when <= now]:
            del due[number]
            self._start(self._current, number)

    def _kill_the_stuck(self) -> None:
        now = time.monotonic()
        for child in self._children.values():
            if not child.serves and now >= child.started + START_SECONDS:
                log.error("worker_stuck", worker=child.number, pid=child.pid)
                os.kill(child.pid, signal.SIGKILL)
                child.started = now

    def _patience(self) -> float | None:
        """Return the seconds until a worker is due to be started or to serve; None where none is."""
        times = [] if self._stops else [*self._current.due.values()]
        times += [child.started + START_SECONDS for child in self._children.values() if not child.serves]
        return max(0.0, min(times) - time.monotonic()) if times else None


def _generation(assembly: Assembly, warnings: int = 0, predecessor: WorkerSockets | None = None) -> Generation:
    core = assembly.core
    return Generation(assembly, WorkerSockets.bind(core.esmtp_listener, core.processes, predecessor), warnings)
