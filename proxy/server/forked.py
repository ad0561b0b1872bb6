"""A worker in its own process. It takes orders only from its supervisor, over one socket.

The orders are in `proxy.server.orders`. If the socket closes, the supervisor is gone: the worker finishes its sessions
and exits. It ignores signals, because terminals and service managers signal every process of a service, and the worker
would get each one twice.

No code on the supervisor's stack runs in the new process: signals are blocked during the fork, inherited descriptors
are closed, and the worker exits with `os._exit`. Its loop stays open, because closing it would wait for its threads.
Threads and sockets are made after the fork, so no module may make them at import.
"""

from __future__ import annotations

import asyncio
import signal
import socket
from collections.abc import Callable, Coroutine, Sequence
from typing import Any

import uvloop

from config.scopes.listener import Listener
from proxy.base import log
from proxy.keeper.door import Calling
from proxy.server.assembly import Assembly
from proxy.server.gc import collect_seldom
from proxy.server.orders import CUT, DRAIN, EX_SOFTWARE, LISTENING, SUCCEEDED, SUPERVISORS_SIGNALS
from proxy.server.pulse import BEAT_SECONDS, Pulse
from proxy.server.sockets import raise_descriptor_limit
from proxy.server.worker import Worker


def be_worker(
    number: int,
    assembly: Assembly,
    bound: Sequence[tuple[socket.socket, Listener]],
    orders: socket.socket,
    pulse: Pulse,
    calling: Calling | None = None,
) -> int:
    """Serve in a process that was just forked, and return its exit status."""
    name = number if assembly.core.processes > 1 else None
    return live(lambda: _serve(Worker(assembly, calling), bound, orders), assembly, pulse, worker=name)


def live(
    work: Callable[[], Coroutine[Any, Any, None]], assembly: Assembly, pulse: Pulse, *, worker: int | None = None
) -> int:
    """Run a process's work in an event loop, with its log and its heartbeat, and return the exit status.

    Signals are still blocked, so that no handler of the supervisor runs here. The loop is left open: closing it waits
    for its threads, and one may hang forever on a file.
    """
    signal.set_wakeup_fd(-1)
    for each in SUPERVISORS_SIGNALS:
        signal.signal(each, signal.SIG_DFL if each is signal.SIGCHLD else signal.SIG_IGN)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, SUPERVISORS_SIGNALS)
    log.configure(worker=worker)
    runner = asyncio.Runner(loop_factory=uvloop.new_event_loop)
    try:
        runner.get_loop().call_soon(pulse.beat_along, runner.get_loop(), _interval(assembly))
        runner.run(work())
    except Exception as error:  # noqa: BLE001 — the process's outermost frame; the supervisor's stack is not ours to unwind
        log.get_logger().error("worker_failed", exc_info=error)
        return EX_SOFTWARE
    finally:
        log.close()
    return 0


def _interval(assembly: Assembly) -> float:
    """Return the seconds between two beats."""
    patience = assembly.core.worker_timeout
    return min(BEAT_SECONDS, patience / 4) if patience else BEAT_SECONDS


async def _serve(worker: Worker, bound: Sequence[tuple[socket.socket, Listener]], orders: socket.socket) -> None:
    loop = asyncio.get_running_loop()
    await worker.start(bound=bound)
    worker.compare_open_files(raise_descriptor_limit())
    collect_seldom(loop)
    await loop.sock_sendall(orders, LISTENING)
    order = await next_order(orders) or DRAIN
    await worker.finish(_cut(orders), reloaded=order == SUCCEEDED)


async def next_order(orders: socket.socket) -> bytes:
    """Return the supervisor's next order; empty if the supervisor is gone."""
    try:
        return await asyncio.get_running_loop().sock_recv(orders, 1)
    except OSError:
        return b""


async def _cut(orders: socket.socket) -> None:
    """Return when the supervisor orders a cut; never if the supervisor is gone."""
    if await next_order(orders) != CUT:
        await asyncio.get_running_loop().create_future()
