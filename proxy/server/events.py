"""What the supervisor logs about its processes. Workers have numbers; there is one keeper and one control process."""

from __future__ import annotations

import signal

from proxy.base.log import get_logger
from proxy.metrics.book import BOOK
from proxy.metrics.table import RESTARTS
from proxy.server.generation import CONTROL, KEEPER, Child

log = get_logger()


def started(number: int, pid: int) -> None:
    """A process was started."""
    if number == KEEPER:
        log.info("keeper_started", worker=KEEPER, pid=pid)
    elif number == CONTROL:
        log.info("control_started", worker=CONTROL, pid=pid)
    else:
        log.info("worker_started", worker=number, pid=pid)


def not_started(number: int, reason: str) -> None:
    """The system has no place for another process."""
    BOOK.counts[RESTARTS.at("not_started")] += 1
    if number == KEEPER:
        log.error("keeper_not_started", worker=KEEPER, reason=reason)
    elif number == CONTROL:
        log.error("control_not_started", worker=CONTROL, reason=reason)
    else:
        log.error("worker_not_started", worker=number, reason=reason)


def ended(child: Child, lived: float) -> None:
    """A process ended as requested."""
    seconds = round(lived, 3)
    if child.number == KEEPER:
        log.info("keeper_ended", worker=KEEPER, pid=child.pid, seconds=seconds)
    elif child.number == CONTROL:
        log.info("control_ended", worker=CONTROL, pid=child.pid, seconds=seconds)
    else:
        log.info("worker_ended", worker=child.number, pid=child.pid, seconds=seconds)


def died(child: Child, code: int, lived: float) -> None:
    """A process ended otherwise: with an exit status, or by a signal (negative)."""
    status, seconds = signal.Signals(-code).name if code < 0 else code, round(lived, 3)
    if not child.killed:
        BOOK.counts[RESTARTS.at("died")] += 1
    if child.number == KEEPER:
        log.error("keeper_died", worker=KEEPER, pid=child.pid, status=status, seconds=seconds)
    elif child.number == CONTROL:
        log.error("control_died", worker=CONTROL, pid=child.pid, status=status, seconds=seconds)
    else:
        log.error("worker_died", worker=child.number, pid=child.pid, status=status, seconds=seconds)


def waits(number: int, seconds: float) -> None:
    """Processes die early, again and again, so the next one starts after a pause."""
    if number == KEEPER:
        log.warning("keeper_waits", worker=KEEPER, seconds=seconds)
    elif number == CONTROL:
        log.warning("control_waits", worker=CONTROL, seconds=seconds)
    else:
        log.warning("worker_waits", worker=number, seconds=seconds)


def recovered(child: Child, stack: str) -> None:
    """A process that seemed to hang went on."""
    if child.number == KEEPER:
        log.warning("keeper_recovered", worker=KEEPER, pid=child.pid, stack=stack)
    elif child.number == CONTROL:
        log.warning("control_recovered", worker=CONTROL, pid=child.pid, stack=stack)
    else:
        log.warning("worker_recovered", worker=child.number, pid=child.pid, stack=stack)


def differs(settings: int) -> None:
    """The console has changed the running configuration, or changed it back."""
    if settings:
        log.warning("config_differs", settings=settings)
    else:
        log.info("config_as_in_file")


def hangs(child: Child, state: str, seconds: float, stack: str) -> None:
    """A process does not beat, or did not begin to serve, and is killed."""
    BOOK.counts[RESTARTS.at("hung")] += 1
    seen = {"pid": child.pid, "state": state, "seconds": seconds, "stack": stack}
    if child.number == KEEPER:
        log.error("keeper_hangs", worker=KEEPER, serves=child.serves, **seen)
    elif child.number == CONTROL:
        log.error("control_hangs", worker=CONTROL, serves=child.serves, **seen)
    elif child.serves:
        log.error("worker_hangs", worker=child.number, **seen)
    else:
        log.error("worker_stuck", worker=child.number, **seen)
