"""A process's end: from the log's thread to the control process, without ever waiting for it.

A thread sends what `take` was given, in numbered frames, and keeps each until the control process says that it is in a
file. If that process dies, its replacement gets them again. What does not fit is dropped and counted by kind.
"""

from __future__ import annotations

import os
import secrets
import select
import socket
import threading
import time
from collections import deque
from collections.abc import Callable
from contextlib import suppress

import msgspec

from proxy.history.gaps import ACCEPTED, DETAILS, OTHERS, REFUSALS, Gap, kind_of
from proxy.keeper.frames import framed

MOST_OCTETS = 48 << 20
"""Lines that may wait, or wait to be confirmed: half a minute of a busy worker."""

NUMBER = 8
"""Octets of a frame's source, then of its number; lines follow."""

FRAME_OCTETS = 128 << 10
"""Octets of lines in a frame; a longer line has one of its own."""

GATHER_SECONDS = 0.1
"""The thread sends at most once in this time: each time, it takes the interpreter's lock from the event loop."""

LAST_SECONDS = 5.0
"""Time for the last lines of a process. The control process may just be replaced: a reload takes a second or two."""

_LEVELS = ((1.25, REFUSALS), (1.1, OTHERS), (1.0, ACCEPTED), (0.8, DETAILS))
"""From which share of MOST_OCTETS on which kinds are dropped."""

_FIRST_PAUSE, _LONGEST_PAUSE = 0.02, 1.0
"""Between two attempts to reach the control process."""

_OVERHEAD = len(framed(bytes(2 * NUMBER)))


class Sender:
    """Sends the lines of history events. `take` runs in the log's thread, everything else in the sender's own."""

    def __init__(self, connect: Callable[[], socket.socket], worker: int | None = None) -> None:
        """`connect` returns a connection to the control process that does not block, or raises OSError."""
        self._connect, self._worker = connect, worker
        self._source = secrets.token_bytes(NUMBER - 1).rjust(NUMBER, b"\0")  # SQLite's integers have a sign
        self._waiting: deque[bytes] = deque()
        self._taken = self._done = 0
        """Octets that came, and that went: each is written by one thread only."""
        self._gap = Gap("the history did not keep up", worker)
        self._sent = 0.0
        """When it last sent something new."""
        self._gap_lock = threading.Lock()
        self._kept: deque[tuple[int, bytes]] = deque()
        """Frames that are not confirmed, by number."""
        self._next = 0
        self._socket: socket.socket | None = None
        self._unsent: deque[memoryview] = deque()
        self._heard = b""
        self._pause, self._retry = _FIRST_PAUSE, 0.0
        self._closing = 0.0
        self._sleeps = False
        self._wake = os.eventfd(0, os.EFD_NONBLOCK | os.EFD_CLOEXEC)
        self._thread = threading.Thread(target=self._run, name="history", daemon=True)
        self._thread.start()

    def take(self, lines: bytes) -> None:
        """Queue lines; drop what does not fit, beginning with the details of accepted mail."""
        size = len(lines)
        share = (self._taken - self._done + size) / MOST_OCTETS
        if share > _LEVELS[-1][0]:
            lines = self._without(lines, next(kind for least, kind in _LEVELS if share > least))
            size = len(lines)
        self._taken += size
        self._waiting.append(lines)
        if self._sleeps:
            self._sleeps = False
            self._wake_up()

    def _without(self, lines: bytes, last: int) -> bytes:
        kept = []
        for line in lines.splitlines(keepends=True):
            kind = kind_of(line)
            if kind > last:
                kept.append(line)
                continue
            with self._gap_lock:
                self._gap.add(kind, time.time())
        return b"".join(kept)

    def close(self) -> Gap:
        """Send what waits, for a while, and end the thread; return what was not confirmed.

        `take` is not called any more.
        """
        self._closing = time.monotonic() + LAST_SECONDS
        self._wake_up()
        self._thread.join(LAST_SECONDS + 1.0)
        gap = Gap("the process ended before the history had taken its last events", self._worker)
        for lines in [*(frame[_OVERHEAD:] for _, frame in self._kept), *self._waiting]:
            for line in lines.splitlines():
                gap.add(kind_of(line), time.time())
        return gap

    def _wake_up(self) -> None:
        with suppress(BlockingIOError):  # it has been logged often enough
            os.eventfd_write(self._wake, 1)

    # ------------------------------------------------------------ the thread

    def _run(self) -> None:
        while not self._is_over():
            self._tell_gap()
            self._frame()
            if self._socket is None:
                self._call()
            self._send()
            self._sleep()
        if self._socket is not None:
            self._socket.close()

    def _is_over(self) -> bool:
        if not self._closing:
            return False
        return time.monotonic() >= self._closing or not (self._waiting or self._kept or self._gap)

    def _tell_gap(self) -> None:
        """Turn what was dropped into a line."""
        with self._gap_lock:
            if not (self._gap.is_due(time.time()) or (self._gap and self._closing)):
                return
            event = self._gap.event()
            self._gap.clear()
        line = msgspec.json.encode(event) + b"\n"
        self._done -= len(line)  # it was never taken
        self._waiting.append(line)

    def _frame(self) -> None:
        """Make frames of the lines that wait."""
        waiting = self._waiting
        if not waiting or self._gathers():
            return
        lines = b"".join([waiting.popleft() for _ in range(len(waiting))])
        at = 0
        while at < len(lines):
            end = _end_of(lines, at)
            frame = framed(self._source + self._next.to_bytes(NUMBER) + lines[at:end])
            self._kept.append((self._next, frame))
            self._next += 1
            if self._socket is not None:
                self._unsent.append(memoryview(frame))
            at = end
        self._sent = time.monotonic()

    def _call(self) -> None:
        """Connect, and send again what is not confirmed."""
        if time.monotonic() < self._retry:
            return
        try:
            self._socket = self._connect()
        except OSError:
            self._hang_up()
            return
        self._unsent.extend(memoryview(frame) for _, frame in self._kept)

    def _hang_up(self) -> None:
        """The control process is gone, or does not answer; try again after a pause."""
        connection, self._socket = self._socket, None
        if connection is not None:
            connection.close()
        self._unsent.clear()
        self._heard = b""
        self._retry = time.monotonic() + self._pause
        self._pause = min(2 * self._pause, _LONGEST_PAUSE)

    def _send(self) -> None:
        connection, unsent = self._socket, self._unsent
        try:
            while unsent and connection is not None:
                sent = connection.send(unsent[0])
                if sent < len(unsent[0]):
                    unsent[0] = unsent[0][sent:]
                else:
                    unsent.popleft()
        except BlockingIOError:
            pass
        except OSError:
            self._hang_up()

    def _sleep(self) -> None:
        """Wait until there is something to do, and a little longer after new lines: more of them cost no wake-up."""
        poll = select.poll()
        poll.register(self._wake, select.POLLIN)
        if self._socket is not None:
            poll.register(self._socket, select.POLLIN | (select.POLLOUT if self._unsent else 0))
        gathers = self._gathers()
        self._sleeps = not gathers
        patience = self._patience()
        if gathers or self._waiting:
            patience = gathers * 1000 if patience is None else min(patience, gathers * 1000)
        ready = poll.poll(patience)
        self._sleeps = False
        for descriptor, event in ready:
            if descriptor == self._wake:
                with suppress(BlockingIOError):
                    os.eventfd_read(self._wake)
            elif event != select.POLLOUT:
                self._hear()

    def _gathers(self) -> float:
        """Return how many seconds lines are collected before they are sent."""
        return 0.0 if self._closing else max(0.0, self._sent + GATHER_SECONDS - time.monotonic())

    def _patience(self) -> float | None:
        """Return the longest time to sleep, in milliseconds."""
        if self._closing:
            return 20.0
        if self._socket is None and self._kept:
            return max(0.0, self._retry - time.monotonic()) * 1000 + 1
        return 1000.0 if self._gap else None

    def _hear(self) -> None:
        """Forget the frames that are in a file now."""
        try:
            heard = self._socket.recv(65536) if self._socket is not None else b""
        except BlockingIOError:
            return
        except OSError:
            heard = b""
        if not heard:
            self._hang_up()
            return
        self._pause = _FIRST_PAUSE
        self._heard += heard
        whole = len(self._heard) // NUMBER * NUMBER
        if not whole:
            return
        confirmed = int.from_bytes(self._heard[whole - NUMBER : whole])
        self._heard = self._heard[whole:]
        while self._kept and self._kept[0][0] <= confirmed:
            self._done += len(self._kept.popleft()[1]) - _OVERHEAD


def _end_of(lines: bytes, at: int) -> int:
    """Return where the frame ends that begins at a line: after a line."""
    if len(lines) - at <= FRAME_OCTETS:
        return len(lines)
    return lines.rfind(b"\n", at, at + FRAME_OCTETS) + 1 or lines.find(b"\n", at) + 1 or len(lines)
