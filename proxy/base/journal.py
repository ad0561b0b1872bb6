"""The sink that sends entries to systemd's journal, in its native protocol.

An entry is a datagram. One that is too large for that goes as a sealed file in memory (systemd's "Native Journal
Protocol"). What an entry looks like is not known here.
"""

from __future__ import annotations

import errno
import fcntl
import os
import socket
import struct
from collections.abc import Callable, Sequence

from proxy.base.sinks import STUCK_SECONDS

SOCKET = "/run/systemd/journal/socket"

_TOO_LARGE = frozenset({errno.EMSGSIZE, errno.ENOBUFS})
_SEALS = fcntl.F_SEAL_SHRINK | fcntl.F_SEAL_GROW | fcntl.F_SEAL_WRITE | fcntl.F_SEAL_SEAL


class JournalSink:
    """The journal. If it does not take an entry within STUCK_SECONDS, or is not there, the entry is lost."""

    def __init__(self, form: Callable[[bytes], bytes], path: str = SOCKET) -> None:
        """Make entries by `form`. The socket is not connected, so a journal that restarts is found again."""
        self._form, self._path = form, path
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self._socket.settimeout(STUCK_SECONDS)

    def write(self, lines: Sequence[bytes]) -> int:
        """Send an entry for each line, and return how many were lost."""
        lost = 0
        for line in lines:
            try:
                self._send(self._form(line))
            except OSError:
                lost += 1
        return lost

    def close(self) -> None:
        """Close our socket."""
        self._socket.close()

    def reopen(self) -> None:
        """Do nothing: each entry is addressed."""

    def _send(self, entry: bytes) -> None:
        try:
            self._socket.sendto(entry, self._path)
        except OSError as error:
            if error.errno not in _TOO_LARGE:
                raise
            self._send_file(entry)

    def _send_file(self, entry: bytes) -> None:
        descriptor = os.memfd_create("ringback-log", os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING)
        try:
            written = 0
            while written < len(entry):
                written += os.write(descriptor, entry[written:])
            fcntl.fcntl(descriptor, fcntl.F_ADD_SEALS, _SEALS)
            passed = [(socket.SOL_SOCKET, socket.SCM_RIGHTS, struct.pack("i", descriptor))]
            self._socket.sendmsg([b""], passed, 0, self._path)
        finally:
            os.close(descriptor)


def is_journal(descriptor: int, journal_stream: str | None) -> bool:
    """Whether a descriptor is the one that JOURNAL_STREAM names by device and inode (systemd.exec(5))."""
    device, _, inode = (journal_stream or "").partition(":")
    if not (device.isdecimal() and inode.isdecimal()):
        return False
    try:
        found = os.fstat(descriptor)
    except OSError:
        return False
    return (found.st_dev, found.st_ino) == (int(device), int(inode))
