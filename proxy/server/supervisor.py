"""The supervisor: it holds the listening sockets, and starts and replaces the workers, their keeper, and control.

It runs no event loop and no thread, and serves no client. It loads the configuration, and each process is a fork of it.
So all workers and their replacements run the configuration that was checked, even if the file changes later. The
supervisor only parses and compiles; files and hosts in the configuration are tried in a child, because they may hang.
"""

from __future__ import annotations

import gc
import os
import selectors
import signal
import time
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import replace
from functools import partial
from typing import Any, Generic

from config.diagnostics import Diagnostic, has_errors, render
from proxy.base.log import get_logger
from proxy.keeper.door import Door, Doors
from proxy.lists.region import SHARED
from proxy.server import events
from proxy.server.birth import BeControl, BeKeeper, BeWorker, Post, fork
from proxy.server.complaints import log_warnings
from proxy.server.generation import CONTROL, KEEPER, A, Child, Generation
from proxy.server.helm import BUSY, STOPPED, Helm
from proxy.server.loading import Configuration
from proxy.server.logs import reopen_logs
from proxy.server.notify import READY, STOPPING, notify, reloading
from proxy.server.noting import Notes
from proxy.server.orders import CUT, DRAIN, EX_SOFTWARE, SUCCEEDED
from proxy.server.rehearsing import Heed, Rehearsals, Work
from proxy.server.sockets import CannotListen, raise_descriptor_limit
from proxy.server.wakers import Wakers
from proxy.server.watch import Watch

log = get_logger()

START_SECONDS = 30.0
"""A worker that does not serve this long after its start is killed."""


class Supervisor(Generic[A]):
    """Starts, replaces and ends processes. It has no second thread and no event loop, so its state needs no lock."""

    def __init__(
        self,
        assembly: A,
        configuration: Configuration[A],
        be_worker: BeWorker[A],
        be_keeper: BeKeeper[A],
        be_control: BeControl[A],
    ) -> None:
        """Bind the addresses of the first assembly.

        Raises:
            CannotListen: an address cannot be bound.
        """
        SHARED.renew()
        self._notes = Notes()
        self._configuration = configuration
        self._be_worker, self._be_keeper, self._be_control = be_worker, be_keeper, be_control
        self._rows = Door()
        self._helm = Helm(configuration)
        self._current = Generation.of(assembly)
        self._successor: Generation[A] | None = None
        self._retired: list[Generation[A]] = []
        self._children: dict[int, Child] = {}
        self._wakers = Wakers()
        self._selector = selectors.DefaultSelector()
        self._selector.register(self._helm.inside, selectors.EVENT_READ, partial(self._helm.steer, self))
        self._rehearsals = Rehearsals(self._selector)
        self._ready = self._reload_again = False
        self._stops = self._status = 0
        self._watch = Watch(START_SECONDS)

    def run(self) -> int:
        """Serve until a signal ends it; return the exit status."""
        raise_descriptor_limit()
        self._helm.tell_log()
        with self._wakers.heard_by(self._selector, self._take_signals):
            self._replace()
            self._start_all(self._current)
            while self._children or not self._stops:
                self._turn()
        log.info("supervisor_stopped")
        return self._status

    def _turn(self) -> None:
        patience = self._patience()
        meant = time.monotonic() + patience
        ready = self._selector.select(patience)
        late = time.monotonic() - meant
        for key, _ in ready:
            key.data()
        self._reap()
        self._retire()
        self._rehearsals.look()
        self._watch.look(self._children.values(), late)
        self._replace()
        if self._reload_again and not self.hindrance:
            self._reload_again = False
            self.hang_up()
        self._notes.turn(self._children.values(), self._current, ready=self._ready, stops=self._stops)

    # ---- signals

    def _take_signals(self) -> None:
        for number in self._wakers.taken():
            if number in (signal.SIGTERM, signal.SIGINT):
                self._stop()
            elif number == signal.SIGHUP:
                self.hang_up()
            elif number == signal.SIGUSR1:
                reopen_logs(self._children.values())

    def _stop(self) -> None:
        """Let all workers finish; on the second call, cut."""
        self._stops += 1
        workers = [child for child in self._children.values() if child.is_worker]
        log.info("supervisor_stopping", workers=len(workers), now=self._stops > 1)
        notify(STOPPING)
        for child in workers:
            child.order(CUT if self._stops > 1 else DRAIN)
        self._current.sockets.close()
        if self._successor is not None:
            self._successor.sockets.close()
        self._rehearsals.kill()
        self._helm.reloaded(error=STOPPED)

    # ---- a new configuration

    def hang_up(self) -> None:
        """Try the configuration in a child. If that succeeds, its workers will replace the current ones."""
        if self._stops:
            return
        if self.hindrance:
            self._reload_again = True
            return
        notify(reloading())
        self.rehearse(self._configuration.rehearsed, self._rehearsed)

    def _rehearsed(self, found: Sequence[Diagnostic], problem: str) -> None:
        """Start the workers of a configuration without errors."""
        if problem:
            self._reject(problem)
        elif has_errors(found):
            self._reject(render(found))
        else:
            log_warnings(found)
            self._succeed(found)

    def _succeed(self, warnings: Sequence[Diagnostic]) -> None:
        """Load the configuration that was tried, and start its workers."""
        try:
            assembly, _ = self._configuration.compiled()
            self._successor = Generation.of(assembly, tuple(warnings), predecessor=self._current)
        except CannotListen as error:
            self._reject(str(error))
        except Exception as error:  # noqa: BLE001 — the file has changed, or we have a bug; the server keeps running
            self._reject(str(error), error)
        else:
            self._start_all(self._successor)

    def _reject(self, reason: str, error: Exception | None = None) -> None:
        """Log why the current configuration stays."""
        cause = {} if error is None else {"exc_info": error}
        log.error("reload_rejected", diagnostics=reason, **cause)
        self._notes.rejected()
        self._helm.reloaded(error=reason)
        self._settled()

    def _take_over(self, successor: Generation[A]) -> None:
        self._helm.reloaded(told=render(successor.warnings) if successor.warnings else "")
        replaced, self._current, self._successor = self._current, successor, None
        self._retired.append(replaced)
        for child in self._of(replaced):
            if child.is_worker:
                child.order(SUCCEEDED)
            else:  # the new keeper, or the new only worker, has taken over
                child.order(DRAIN)
        replaced.sockets.close(keep=successor.sockets)
        replaced.pages.close(keep=successor.pages)
        self._notes.reloaded()
        self._helm.log_as(successor.assembly.core)
        log.info("reloaded", warnings=len(successor.warnings), workers=successor.sockets.workers)
        self._settled()

    def _abandon(self, successor: Generation[A], reason: str) -> None:
        self._successor = None
        self._retired.append(successor)
        for child in self._of(successor):
            if child.is_worker:
                child.order(DRAIN)
        successor.sockets.close(keep=self._current.sockets)
        successor.pages.close(keep=self._current.pages)
        self._reject(reason)

    # ---- what the console asks, for `Helm`

    @property
    def current(self) -> Generation[A]:
        """The present configuration."""
        return self._current

    @property
    def hindrance(self) -> str:
        """Why nothing can be tried or loaded now; empty if it can."""
        if self._stops:
            return STOPPED
        return BUSY if self._rehearsals.busy or self._successor is not None or not self._ready else ""

    def rehearse(self, work: Work, heed: Heed) -> None:
        """Try a configuration in a child."""
        self._rehearsals.begin(work, heed, self._own_sockets())

    def _settled(self) -> None:
        """Act when every worker of the current configuration serves."""
        self._ready = True
        notify(READY)

    def _retire(self) -> None:
        """End the keepers that no worker asks any more, and forget generations without processes."""
        asking = [child.generation for child in self._children.values() if child.is_worker]
        for keeper in [child for child in self._children.values() if child.number == KEEPER]:
            replaced = keeper.generation in self._retired
            if not asking if self._stops else replaced and keeper.generation not in asking:
                keeper.order(DRAIN)
        if self._stops and all(child.number == CONTROL for child in self._children.values()):
            for control in self._children.values():  # last, because it receives what the others send
                control.order(DRAIN)
        for generation in [each for each in self._retired if not self._of(each)]:
            generation.close_door()
            self._notes.forget(generation)
            self._retired.remove(generation)

    # ---- processes

    def _start_all(self, generation: Generation[A]) -> None:
        if generation.keeps:
            self._start(generation, KEEPER)  # the workers follow when it serves
        else:
            self._start_workers(generation)

    def _start_workers(self, generation: Generation[A]) -> None:
        generation.begun = True
        gc.collect()
        gc.freeze()  # keeps shared memory shared: the workers' collectors do not write to it
        for number in range(1, generation.sockets.workers + 1):
            self._start(generation, number)
        gc.unfreeze()

    def _start(self, generation: Generation[A], number: int) -> None:
        if self._stops or generation not in (self._current, self._successor):
            return  # one before it could not be started
        try:
            born = fork(partial(self._become, generation, number), self._rows, generation.block(number))
        except OSError as error:
            events.not_started(number, str(error))
            self._lost(generation, number, 0.0)
            return
        child = Child(born.pid, number, generation, born.orders, born.pulse, time.monotonic())
        self._children[born.pid] = child
        self._selector.register(born.orders, selectors.EVENT_READ, partial(self._heard, child))
        events.started(number, born.pid)

    def _become(self, generation: Generation[A], number: int, post: Post) -> int:
        """Run a process's work in the new process, and return its exit status."""
        post = replace(post, generation=generation.number)
        if number == CONTROL:
            watched, pages = self._notes.watched(self._generations(), generation), [*generation.pages]
            post = replace(post, steering=self._helm.outside, told=self._helm.heard)
            self._close_all_but({post.rows.inside, self._helm.outside, self._helm.heard, *pages})
            return self._be_control(generation.assembly, watched, pages, post)
        doors = self._doors(generation)
        if number == KEEPER:
            self._close_all_but({*doors, post.rows.outside})
            earlier = [each.assembly for each in self._generations() if each.door and each.number < generation.number]
            return self._be_keeper(generation.assembly, earlier, doors, post)
        bound, calling = generation.sockets.of(number), generation.calling(number, doors)
        self._close_all_but({*(each for each, _ in bound), *(calling or ()), post.rows.outside})
        return self._be_worker(number, generation.assembly, bound, post, calling)

    def _close_all_but(self, own: set[Any]) -> None:
        for each in self._own_sockets():
            if each not in own:
                each.close()

    def _doors(self, generation: Generation[A]) -> Doors:
        """Return where a keeper is asked: at the doors of its generation and of earlier ones."""
        doors = [each.door.inside for each in self._generations() if each.door and each.number <= generation.number]
        before = self._current.door if generation is self._successor else None
        return Doors(doors, before.outside if before is not None else None, generation.number)

    def _generations(self) -> list[Generation[A]]:
        return [*self._retired, self._current, *([self._successor] if self._successor is not None else [])]

    def _own_sockets(self) -> list[Any]:
        """Return the descriptors that a child must close.

        These close when another process ends, so no child may keep them open: the other workers' order sockets, and
        the sockets of addresses that are no longer configured.
        """
        held = [each for generation in self._generations() for each in generation.descriptors]
        orders = [child.orders for child in self._children.values()]
        return [*orders, *held, *self._rows, *self._helm, self._selector, *self._wakers]

    def _heard(self, child: Child) -> None:
        """Handle a worker's message that it serves, or the end of its socket. Its status comes with SIGCHLD."""
        try:
            told = child.orders.recv(64)
        except OSError:
            told = b""
        if not told:
            self._deaf(child)
            return
        child.serves = True
        if child.number == KEEPER and not child.generation.begun:
            self._start_workers(child.generation)
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

    def _of(self, generation: Generation[A]) -> list[Child]:
        return [child for child in self._children.values() if child.generation is generation]

    def _all_serve(self, generation: Generation[A]) -> bool:
        waited_for = [child for child in self._of(generation) if child.number != CONTROL]
        return sum(child.serves for child in waited_for) == generation.processes

    def _reap(self) -> None:
        """Reap ended processes. If the supervisor is process 1 of a container, some are not its workers."""
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
        self._notes.ended(child)
        child.pulse.close()
        lived = time.monotonic() - child.started
        if child.leaving and status == 0:
            events.ended(child, lived)
        else:
            events.died(child, status, lived)
            self._lost(child.generation, child.number, lived)

    def _lost(self, generation: Generation[A], number: int, lived: float) -> None:
        """Replace a process that died. If its generation did not fully serve yet, the whole generation fails."""
        if self._stops:
            return
        if number == CONTROL:
            generation = self._current
        elif generation is self._successor:
            self._abandon(generation, f"{f'worker {number}' if number else 'the keeper'} did not start")
            return
        elif generation is self._current and not self._ready:
            self._status = EX_SOFTWARE
            self._stop()
            return
        if generation is self._current:
            pause = generation.schedule(number, lived)
            if pause:
                events.waits(number, pause)

    def _replace(self) -> None:
        """Start the processes that are due, and control if it does not run: a reload ends it."""
        now, due = time.monotonic(), self._current.due
        if CONTROL not in due and all(child.number != CONTROL for child in self._children.values()):
            due[CONTROL] = now
        for number in [number for number, when in due.items() if when <= now]:
            del due[number]
            self._start(self._current, number)

    def _patience(self) -> float:
        """Return the seconds until the next deadline: a start, a beat, a rehearsal's end."""
        times = [self._notes.due()] if self._stops else [self._notes.due(), *self._current.due.values()]
        times.append(self._rehearsals.deadline)
        times.append(self._watch.due(self._children.values()))
        return max(0.0, min(times) - time.monotonic())
