"""Sinks: where the log's lines go. A sink gets canonical lines of JSON, and turns them into the log's format.

A sink never raises, and says how many lines it lost. What a format looks like is not known here.
"""

from __future__ import annotations

import os
import select
import stat
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Protocol, TextIO, TypeAlias

STUCK_SECONDS = 1.0
"""How long a process that writes without a thread waits for the log's reader to take a line."""

Form: TypeAlias = Callable[[bytes], bytes]
"""Makes a canonical line into ASCII lines of another format."""


class Sink(Protocol):
    """Where the log goes."""

    def write(self, lines: Sequence[bytes]) -> int:
        """Write the lines, and return how many were lost."""
        ...

    def reopen(self) -> None:
        """Open the file again, if it is one. Raises OSError: it cannot be opened; the old one stays in use."""
        ...


class StreamSink:
    """A text stream."""

    def __init__(self, stream: TextIO, form: Form | None = None) -> None:
        """Write to `stream`; the caller still owns it."""
        self._stream, self._form = stream, form

    def write(self, lines: Sequence[bytes]) -> int:
        lost = 0
        for part in _whole_lines(_formed(lines, self._form)):
            try:
                self._stream.write(part.decode("ascii"))
                self._stream.flush()
            except (OSError, ValueError):  # ValueError: the stream was closed
                lost += part.count(b"\n")
        return min(lost, len(lines))

    def reopen(self) -> None:
        """Do nothing: a stream has no name."""


class DescriptorSink:
    """A descriptor. With `patient=False`, a reader that takes nothing for STUCK_SECONDS costs the line."""

    def __init__(self, descriptor: int, form: Form | None = None, *, patient: bool = False) -> None:
        """Write to `descriptor`; the caller still owns it."""
        self._descriptor, self._form, self._patient = descriptor, form, patient

    def write(self, lines: Sequence[bytes]) -> int:
        formed = _formed(lines, self._form)
        if self._is_file():
            lost = self._appended(b"".join(formed))
        else:
            lost = sum(0 if self._written(part) else part.count(b"\n") for part in _whole_lines(formed))
        return min(lost, len(lines))

    def reopen(self) -> None:
        """Do nothing: a descriptor has no name."""

    def _is_file(self) -> bool:
        """Whether it is a regular file, which takes any number of whole lines at once; SIGUSR1 may change that."""
        try:
            return stat.S_ISREG(os.fstat(self._descriptor).st_mode)
        except OSError:
            return False

    def _appended(self, octets: bytes) -> int:
        """Write to a file, and return how many lines it did not take."""
        try:
            while octets:
                octets = octets[os.write(self._descriptor, octets) :]
        except OSError:
            return octets.count(b"\n")
        return 0

    def _written(self, octets: bytes) -> bool:
        """Write in pieces that a pipe takes without blocking once it polls as writable."""
        poll = select.poll()
        try:
            poll.register(self._descriptor, select.POLLOUT)
            while octets:
                if not poll.poll(None if self._patient else STUCK_SECONDS * 1000):
                    return False
                octets = octets[os.write(self._descriptor, octets[: select.PIPE_BUF]) :]
        except OSError:
            return False
        return True


class FileSink(DescriptorSink):
    """A file that several processes append to, and that another program may rename."""

    def __init__(self, path: Path, form: Form | None = None) -> None:
        """Open the file. Raises OSError: that is not possible."""
        self._path = path
        super().__init__(_appending(path), form, patient=True)

    def close(self) -> None:
        """Close the file."""
        os.close(self._descriptor)

    def reopen(self) -> None:
        """Open the name again. Raises OSError: that is not possible; the old file stays in use."""
        opened = _appending(self._path)
        os.dup2(opened, self._descriptor, inheritable=False)
        os.close(opened)


def _appending(path: Path) -> int:
    return os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o640)


def _formed(lines: Sequence[bytes], form: Form | None) -> Iterable[bytes]:
    return lines if form is None else map(form, lines)


def _whole_lines(lines: Iterable[bytes]) -> Iterator[bytes]:
    """Yield the lines joined, in pieces of at most PIPE_BUF: other workers write to the same pipe (pipe(7))."""
    part: list[bytes] = []
    size = 0
    for line in lines:
        if part and size + len(line) > select.PIPE_BUF:
            yield b"".join(part)
            part, size = [], 0
        part.append(line)
        size += len(line)
    if part:
        yield b"".join(part)
