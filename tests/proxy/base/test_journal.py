"""The journal's sink: datagrams, a sealed file for what is too large, and a journal that is gone for a while."""

from __future__ import annotations

import fcntl
import os
import socket
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from proxy.base.journal import JournalSink, is_journal

SEALS = fcntl.F_SEAL_SHRINK | fcntl.F_SEAL_GROW | fcntl.F_SEAL_WRITE | fcntl.F_SEAL_SEAL


@pytest.fixture
def place() -> Iterator[Path]:
    with tempfile.TemporaryDirectory() as folder:
        yield Path(folder) / "socket"


def journal_at(place: Path) -> socket.socket:
    journal = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
    journal.bind(str(place))
    journal.settimeout(5)
    return journal


def as_it_is(line: bytes) -> bytes:
    return line


def test_an_entry_is_a_datagram(place: Path) -> None:
    with journal_at(place) as journal:
        sink = JournalSink(as_it_is, str(place))
        assert sink.write([b"MESSAGE=one\n", b"MESSAGE=two\n"]) == 0
        assert [journal.recv(100), journal.recv(100)] == [b"MESSAGE=one\n", b"MESSAGE=two\n"]
        sink.close()


def test_a_large_entry_is_a_sealed_file(place: Path) -> None:
    entry = b"MESSAGE=" + b"x" * 2_000_000 + b"\n"
    with journal_at(place) as journal:
        sink = JournalSink(as_it_is, str(place))
        assert sink.write([entry]) == 0
        octets, descriptors, _, _ = socket.recv_fds(journal, 100, 2)
        sink.close()
    (descriptor,) = descriptors
    try:
        assert octets == b""
        assert fcntl.fcntl(descriptor, fcntl.F_GET_SEALS) == SEALS
        assert os.pread(descriptor, len(entry) + 1, 0) == entry
    finally:
        os.close(descriptor)


def test_a_journal_that_restarts_costs_the_entries_of_that_time_only(place: Path) -> None:
    sink = JournalSink(as_it_is, str(place))
    journal_at(place).close()
    assert sink.write([b"A=1\n", b"A=2\n"]) == 2
    place.unlink()
    assert sink.write([b"A=3\n"]) == 1
    with journal_at(place) as journal:
        assert sink.write([b"A=4\n"]) == 0
        assert journal.recv(100) == b"A=4\n"
    sink.close()


def test_standard_error_is_the_journal_only_if_device_and_inode_agree(tmp_path: Path) -> None:
    with (tmp_path / "stream").open("w") as stream:
        found = os.fstat(stream.fileno())
        assert is_journal(stream.fileno(), f"{found.st_dev}:{found.st_ino}")
        for other in (f"{found.st_dev}:{found.st_ino + 1}", f"{found.st_dev + 1}:{found.st_ino}", "", None, "x:y", "1"):
            assert not is_journal(stream.fileno(), other)
        descriptor = stream.fileno()
    assert not is_journal(descriptor, f"{found.st_dev}:{found.st_ino}")
