"""A process of the service. It takes orders only from its supervisor, over one socket.

The orders are in `proxy.server.orders`. If the socket closes, the supervisor is gone: the process finishes what it does
and exits. It ignores signals, because terminals and service managers signal every process of a service, and it would
get each one twice.

No code on the supervisor's stack runs in the new process: signals are blocked during the fork, inherited descriptors
are closed, and it exits with `os._exit`. Its loop stays open, because closing it would wait for its threads. Threads
and sockets are made after the fork, so no module may make them at import.
"""

from __future__ import annotations

import asyncio
import signal
import socket
import sys
import time
from collections.abc import Callable, Coroutine, Mapping
from typing import Any

import uvloop

from proxy.base import log, log_output
from proxy.history.gaps import Gap
from proxy.metrics.book import BOOK, observe
from proxy.metrics.table import CPU, LAG, LINES_DROPPED
from proxy.options.core import CoreOptions
from proxy.server.birth import Post
from proxy.server.generation import CONTROL, KEEPER
from proxy.server.logs import open_log
from proxy.server.orders import EX_SOFTWARE, REOPEN, SUPERVISORS_SIGNALS
from proxy.server.pulse import BEAT_SECONDS
from proxy.server.telling import told_to_history

LOOK_SECONDS = 1.0
"""How often gauges are written."""

SWITCH_SECONDS = 0.001
"""How long the loop waits for the interpreter while a thread calculates, such as a site's Python handler. Python's
default is five times as long, and the loop may wait after each system call."""

ROLE_OF: Mapping[int | None, str] = {KEEPER: "keeper", CONTROL: "control"}


def live(
    work: Callable[[], Coroutine[Any, Any, None]], core: CoreOptions, post: Post, *, worker: int | None = None
) -> int:
    """Run a process's work in an event loop, with its log, its history and its heartbeat; return the exit status.

    Signals are still blocked, so that no handler of the supervisor runs here. The loop is left open: closing it waits
    for its threads, and one may hang forever on a file.
    """
    signal.set_wakeup_fd(-1)
    for each in SUPERVISORS_SIGNALS:
        signal.signal(each, signal.SIG_DFL if each is signal.SIGCHLD else signal.SIG_IGN)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, SUPERVISORS_SIGNALS)
    sys.setswitchinterval(SWITCH_SECONDS)
    post.block.begin(BOOK)
    open_log(core, worker=worker)
    history = told_to_history(core, post.rows, worker)
    runner = asyncio.Runner(loop_factory=uvloop.new_event_loop)
    try:
        runner.get_loop().call_soon(post.pulse.beat_along, runner.get_loop(), _interval(core))
        runner.get_loop().call_soon(_look_along, runner.get_loop(), ROLE_OF.get(worker, "worker"))
        runner.run(work())
    except Exception as error:  # noqa: BLE001 — the process's outermost frame; the supervisor's stack is not ours to unwind
        log.get_logger().error("worker_failed", exc_info=error)
        return EX_SOFTWARE
    finally:
        log_output.close()
        if history is not None:
            _tell_gap(history.close(), core, worker)
    return 0


def _tell_gap(gap: Gap, core: CoreOptions, worker: int | None) -> None:
    """Log what the history did not get. The log is closed already, because the history gets its lines."""
    if not gap:
        return
    open_log(core, worker=worker)
    log.get_logger().warning("history_gap", **gap.fields())
    log_output.close()


def _look_along(loop: asyncio.AbstractEventLoop, role: str) -> None:
    """Each second, note how late the loop is, the processor time, and all gauges."""
    processor, late, counts = CPU.at(role), LAG.base, BOOK.counts
    used = lost = 0

    def look(due: float) -> None:
        nonlocal used, lost
        observe(LAG, late, loop.time() - due)
        now = time.process_time_ns() // 1000
        counts[processor] += now - used
        used = now
        counts[LINES_DROPPED.base] += log_output.dropped() - lost
        lost = log_output.dropped()
        BOOK.look()
        due = loop.time() + LOOK_SECONDS
        loop.call_at(due, look, due)

    look(loop.time())


def _interval(core: CoreOptions) -> float:
    """Return the seconds between two beats."""
    patience = core.worker_timeout
    return min(BEAT_SECONDS, patience / 4) if patience else BEAT_SECONDS


async def next_order(orders: socket.socket) -> bytes:
    """Return the supervisor's next order to end; empty if the supervisor is gone. Opens the log again if told to."""
    while True:
        try:
            order = await asyncio.get_running_loop().sock_recv(orders, 1)
        except OSError:
            return b""
        if order != REOPEN:
            return order
        log_output.reopen()
