"""Upstreams that a test may kill and start again: a recorder, and a Postfix that holds all its mail.

What either has confirmed is on disk, and is read there in the end.
"""

from __future__ import annotations

import os
import random
import re
import signal
import stat
import subprocess
import sys
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

from tests.support.programs import Program, accepts_connections, find_program
from tests.support.recorder import Record, read_records
from tests.support.ringback import environment
from tests.support.servers import Postfix, Server
from tests.support.waiting import eventually

FILES_AT_ONCE = 200
"""Queue files of one `postcat`: a command line has room for about ten times as many."""

_PARTS = re.compile(
    rb"\*\*\* ENVELOPE RECORDS (\S+) \*\*\*\n(.*?)\*\*\* MESSAGE CONTENTS \1 \*\*\*\n(.*?)"
    rb"\*\*\* HEADER EXTRACTED \1 \*\*\*\n(.*?)\*\*\* MESSAGE FILE END \1 \*\*\*\n",
    re.DOTALL,
)
_OF_POSTFIX = re.compile(rb"Received: from [^\r]*\r\n\tby upstream\.test \(Postfix\)[^\r]*\r\n(?:\t[^\r]*\r\n)+")


class Mortal(Server):
    """A server that can be killed and comes back with all that it had. Not a server itself."""

    kills = 0
    """How often it was killed."""

    async def kill(self) -> None:
        """Kill it with all its processes, in the middle of whatever they do."""
        self.kills += 1
        self._kill_all()
        await eventually(lambda: not accepts_connections("127.0.0.1", self.port), f"{self.program} is dead")

    def _kill_all(self) -> None:
        os.killpg(self.running.process.pid, signal.SIGKILL)
        self.running.process.wait()

    async def revive(self) -> None:
        """Start it again and wait until it serves."""
        arguments = self.running.process.args
        assert isinstance(arguments, list)
        self._running = Program(arguments, folder=self.folder, name=self.program)
        await eventually(self._is_ready, f"{self.program} serves again")

    def records(self) -> list[Record]:
        """Return every message that it has, as Ringback sent it."""
        raise NotImplementedError


class MortalRecorder(Mortal):
    """`recorder.py` as a process."""

    program = "python3"

    def _prepare(self) -> list[str]:
        variables = [f"{name}={value}" for name, value in environment().items()]
        return ["env", *variables, sys.executable, "-m", "tests.support.recorder", str(self.port), str(self.folder)]

    def records(self) -> list[Record]:
        """Return every message that it confirmed, or was about to."""
        return read_records(self.folder)


class MortalPostfix(Mortal, Postfix):
    """A Postfix that keeps every message in its hold queue."""

    def __init__(self) -> None:
        """Describe it: 200 connections, and a daemon that was killed comes back at once."""
        super().__init__(
            processes=200,
            options={
                "smtpd_data_restrictions": "check_client_access static:HOLD",
                "service_throttle_time": "1s",
                "enable_long_queue_ids": "yes",
            },
        )
        self.daemon_kills = 0

    def kill_daemon(self, chance: random.Random) -> None:
        """Kill one process that takes mail in, and leave the others as they are."""
        if victims := list(self._daemons({"smtpd", "cleanup"})):
            with suppress(ProcessLookupError):
                os.kill(chance.choice(victims), signal.SIGKILL)
                self.daemon_kills += 1

    def _daemons(self, names: set[str]) -> Iterator[int]:
        """Yield the process ids of our own daemons with these names, lowest first."""
        ours = self.running.process.pid
        for folder in sorted(Path("/proc").glob("[0-9]*"), key=lambda path: int(path.name)):
            with suppress(FileNotFoundError, ProcessLookupError):
                name, _, fields = (folder / "stat").read_text().partition("(")[2].rpartition(")")
                if name in names and int(fields.split()[2]) == ours:
                    yield int(folder.name)

    def records(self) -> list[Record]:
        """Return every message in the queue; a file that its owner may not execute was never finished."""
        held = sorted(path for path in (self.folder / "queue" / "hold").rglob("*") if path.is_file())
        finished = [path for path in held if path.stat().st_mode & stat.S_IXUSR]
        batches = [finished[at : at + FILES_AT_ONCE] for at in range(0, len(finished), FILES_AT_ONCE)]
        records = [record for batch in batches for record in self._read(batch)]
        assert len(records) == len(finished)
        return records

    def _read(self, paths: list[Path]) -> Iterator[Record]:
        arguments = [find_program("postcat"), "-c", str(self.folder), *map(str, paths)]
        printed = subprocess.run(arguments, capture_output=True, check=True).stdout
        for _, envelope, content, extracted in _PARTS.findall(printed):
            (sender,) = re.findall(rb"^sender: (.*)$", envelope, re.MULTILINE)
            recipients = re.findall(rb"^recipient: (.*)$", envelope + extracted, re.MULTILINE)
            message = content.replace(b"\n", b"\r\n")
            found = _OF_POSTFIX.match(message)
            assert found, message[:500]
            yield Record(sender.decode(), tuple(each.decode() for each in recipients), message[found.end() :])
