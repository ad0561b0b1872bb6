"""Run work in a forked child: if it hangs or crashes, the parent continues.

The child inherits the parent's state and changes nothing in the parent. It writes to a pipe what it is about to do,
then its answer, and exits. This module does not know what the work is for.
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

from proxy.base.log import silence

T = TypeVar("T")

Tell: TypeAlias = Callable[[str], None]
"""Reports what the work is about to do, so that the parent can name the step that hangs."""

_STAGE, _ANSWER, _FAILED = b"s", b"=", b"!"
_HEAD = 9
"""Bytes before a record's content: its letter and its length."""

_SIGNALS = {signal.SIGTERM: signal.SIG_DFL, signal.SIGINT: signal.SIG_DFL, signal.SIGHUP: signal.SIG_IGN}
"""The child's signal actions: a terminal and a service manager send their signals to every process."""

_LATE_SECONDS = 5
"""An orphaned child ends itself this long after its deadline, since no parent is left to kill it."""


class Closable(Protocol):
    """A socket or a file that the child must not hold open."""

    def close(self) -> None: ...


class Failed(Exception):
    """The work gave no answer; the text says why."""


class ChildTask(Generic[T]):
    """One piece of work in its own child. Its state belongs to the caller who started it."""

    def __init__(self, work: Callable[[Tell], T], seconds: float, leave: Iterable[Closable] = ()) -> None:
        """Fork the child. It closes everything in `leave` and must finish within `seconds`.

        Raises:
            OSError: the system cannot start another process.
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
        """Return the descriptor that becomes readable when the child writes or exits."""
        return self._pipe

    def read(self) -> bool:
        """Read what the child wrote; return whether it has exited."""
        part = os.read(self._pipe, 65536)
        self._told += part
        return not part

    def answer(self) -> T:
        """Return the answer of a child that has exited.

        Raises:
            Failed: it gave no answer.
        """
        os.close(self._pipe)
        with suppress(ChildProcessError):  # the process that reaps all children was faster
            os.waitpid(self.pid, 0)
        for kind, content in _records(self._told):
            if kind == _ANSWER:
                answer: T = pickle.loads(content)  # noqa: S301 — from our own child
                return answer
            if kind == _FAILED:
                raise Failed(content.decode())
        raise Failed(f"the process ended at: {self._stage}")

    def kill(self) -> str:
        """Kill a child that ran out of time; return the step that it was in."""
        with suppress(ProcessLookupError):
            os.kill(self.pid, signal.SIGKILL)
        os.close(self._pipe)
        with suppress(ChildProcessError):
            os.waitpid(self.pid, os.WNOHANG)  # do not wait for one stuck on a dead disk; init reaps it later
        return self._stage

    def wait(self) -> T:
        """Wait for the answer. Raises: Failed: the child gave no answer, or not in time."""
        poll = select.poll()
        poll.register(self._pipe, select.POLLIN)
        while (left := self.deadline - time.monotonic()) > 0:
            if poll.poll(math.ceil(left * 1000)) and self.read():
                return self.answer()
        raise Failed(self.overdue())

    def overdue(self) -> str:
        """Kill a child that is out of time; return the error text."""
        return f"not done within {self._seconds:g} seconds; it hangs at: {self.kill()}"

    @property
    def _stage(self) -> str:
        stages = [content.decode() for kind, content in _records(self._told) if kind == _STAGE]
        return stages[-1] if stages else "its start"


def _records(told: bytes) -> Iterable[tuple[bytes, bytes]]:
    """Yield the complete records: a letter, the length, the content."""
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
    """Do the work in the child and never return: none of the parent's stack may run there."""

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
        silence()
        tell(_ANSWER, pickle.dumps(work(lambda stage: tell(_STAGE, stage.encode()))))
    except BaseException as error:  # noqa: BLE001 — the process's outermost frame
        with suppress(OSError):  # the parent no longer reads
            tell(_FAILED, "".join(traceback.format_exception_only(error)).strip().encode(errors="backslashreplace"))
    finally:
        os._exit(0)
