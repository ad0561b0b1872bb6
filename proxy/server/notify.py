"""Tells the service manager our state by systemd's protocol (sd_notify(3)). Without one, it does nothing."""

from __future__ import annotations

import os
import socket
import time
from contextlib import suppress

READY = "READY=1"
STOPPING = "STOPPING=1"


def reloading() -> str:
    """Return the state for a reload; READY ends it."""
    return f"RELOADING=1\nMONOTONIC_USEC={time.clock_gettime_ns(time.CLOCK_MONOTONIC) // 1000}"


def watchdog_seconds() -> float:
    """Return how often the service manager wants WATCHDOG=1 (sd_watchdog_enabled(3)); 0 if not at all."""
    wanted, process = os.environ.get("WATCHDOG_USEC", ""), os.environ.get("WATCHDOG_PID", "")
    if not wanted.isdigit() or process not in {"", str(os.getpid())}:
        return 0.0
    return int(wanted) / 2e6  # half of the time, as the manual page recommends


def notify(state: str) -> None:
    """Send a state to the service manager if it asked for states."""
    path = os.environ.get("NOTIFY_SOCKET", "")
    if not path:
        return
    address = "\0" + path[1:] if path.startswith("@") else path  # an abstract address is written with an @
    with suppress(OSError), socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as channel:
        channel.setblocking(False)
        channel.sendto(state.encode(), address)
