"""Work in a child that is forked for it: if it hangs or dies there, the process that asked goes on.

The child inherits everything and changes nothing here. It tells through a pipe what it is about, then its answer, and
ends. What the work is for is not known here.
"""

from __future__ import annotations

import math
import os
import pickle
import select
import signal
import time
import traceback
from collections.abc import Callable, Iterable
from contextlib import suppress
from typing import Any, Generic, Protocol, TypeAlias, TypeVar

from proxy.base import log

T = TypeVar("T")

Tell: TypeAlias = Callable[[str], None]
"""Says what the work is about to do, so that the one who waits can name what hangs."""

_STAGE, _ANSWER, _FAILED = b"s", b"=", b"!"
_HEAD = 9
"""Octets before a record's content: its letter and its length."""

_SIGNALS = {signal.SIGTERM: signal.SIG_DFL, signal.SIGINT: signal.SIG_DFL, signal.SIGHUP: signal.SIG_IGN}
"""What the child does on signals: a terminal and a service manager send theirs to every process."""

_LATE_SECONDS = 5
"""A child that nobody kills, since its parent has gone, ends itself so long after its time."""


class Closable(Protocol):
    """A socket or a file that the child must not hold open."""

    def close(self) -> None:
        """Close it."""
        ...


class Failed(Exception):
    """The work gave no answer; the text says why."""


class Apart(Generic[T]):
    """One piece of work in a child of its own. Its state belongs to the one who started it."""

    def __init__(self, work: Callable[[Tell], T], seconds: float, leave: Iterable[Closable] = ()) -> None:
        """Fork the child; it closes what it is to `leave`, and has so many seconds.

        Raises:
            OSError: the system has no process for it.
        """
        self.deadline = time.monotonic() + seconds
        self._seconds = seconds
        self._told = b""
        ours, theirs = os.pipe()
        blocked = signal.pthread_sigmask(signal.SIG_BLOCK, (*_SIGNALS, signal.SIGCHLD))
        try:
            self.pid = os.fork()
            if self.pid == 0:
                os.close(ours)
                _be(work, theirs, seconds, leave, blocked)
        except OSError:
            os.close(ours)
            raise
        finally:
            signal.pthread_sigmask(signal.SIG_SETMASK, blocked)
            os.close(theirs)
        self._pipe = ours

    def fileno(self) -> int:
        """Return the descriptor that becomes readable when the child has told something, or ended."""
        return self._pipe

    def read(self) -> bool:
        """Take what the child has told; return whether it has ended."""
        part = os.read(self._pipe, 65536)
        self._told += part
        return not part

    def answer(self) -> T:
        """Return the answer of a child that has ended.

        Raises:
            Failed: it gave none.
        """
        os.close(self._pipe)
        with suppress(ChildProcessError):  # whoever reaps all children was faster
            os.waitpid(self.pid, 0)
        for kind, content in _records(self._told):
            if kind == _ANSWER:
                answer: T = pickle.loads(content)  # noqa: S301 — from our own child
                return answer
            if kind == _FAILED:
                raise Failed(content.decode())
        raise Failed(f"the process ended at: {self._stage}")

    def kill(self) -> str:
        """End a child that is not waited for any longer; return what it was about."""
        with suppress(ProcessLookupError):
            os.kill(self.pid, signal.SIGKILL)
        os.close(self._pipe)
        with suppress(ChildProcessError):
            os.waitpid(self.pid, os.WNOHANG)  # one that waits for a dead disk is left to whoever reaps
        return self._stage

    def wait(self) -> T:
        """Wait for the answer.

        Raises:
            Failed: there is none, or not in time.
        """
        poll = select.poll()
        poll.register(self._pipe, select.POLLIN)
        while (left := self.deadline - time.monotonic()) > 0:
            if poll.poll(math.ceil(left * 1000)) and self.read():
                return self.answer()
        raise Failed(self.overdue())

    def overdue(self) -> str:
        """End a child whose time is over; return what to say of it."""
        return f"not done within {self._seconds:g} seconds; it hangs at: {self.kill()}"

    @property
    def _stage(self) -> str:
        stages = [content.decode() for kind, content in _records(self._told) if kind == _STAGE]
        return stages[-1] if stages else "its start"


def _records(told: bytes) -> Iterable[tuple[bytes, bytes]]:
    """Yield the whole records: a letter, the length, the content."""
    at = 0
    while len(told) - at >= _HEAD:
        length = int.from_bytes(told[at + 1 : at + _HEAD])
        content = told[at + _HEAD : at + _HEAD + length]
        if len(content) < length:
            return
        yield told[at : at + 1], content
        at += _HEAD + length


def _be(
    work: Callable[[Tell], Any], pipe: int, seconds: float, leave: Iterable[Closable], blocked: Iterable[int]
) -> None:
    """Do the work, in the new process, and never return: nothing of the parent's stack may run in it."""

    def tell(kind: bytes, content: bytes) -> None:
        record = kind + len(content).to_bytes(_HEAD - 1) + content
        while record:
            record = record[os.write(pipe, record) :]

    try:
        signal.set_wakeup_fd(-1)
        for number, action in _SIGNALS.items():
            signal.signal(number, action)
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)
        signal.signal(signal.SIGALRM, signal.SIG_DFL)
        signal.pthread_sigmask(signal.SIG_SETMASK, blocked)
        signal.alarm(math.ceil(seconds) + _LATE_SECONDS)
        for each in leave:
            each.close()
        log.silence()
        tell(_ANSWER, pickle.dumps(work(lambda stage: tell(_STAGE, stage.encode()))))
    except BaseException as error:  # noqa: BLE001 — the process's outermost frame
        with suppress(OSError):  # nobody listens any longer
            tell(_FAILED, "".join(traceback.format_exception_only(error)).strip().encode(errors="backslashreplace"))
    finally:
        os._exit(0)
