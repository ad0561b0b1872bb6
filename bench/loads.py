"""What is sent, by smtp-source or by our own driver, and what one run took.

A run counts only if every message is in the sink, and, for a Ringback, in its log.
"""

from __future__ import annotations

import asyncio
import json
import re
import subprocess
import sys
import time
from contextlib import suppress
from dataclasses import asdict, dataclass, replace
from pathlib import Path

from bench.driver import Outcome, Plan
from bench.sink import XclientSink
from tests.support.programs import Program, Times, find_program
from tests.support.ringback import environment
from tests.support.servers import MAIL_DOMAIN, SmtpSink
from tests.support.waiting import eventually

SENDER, RECIPIENT = "ok@ok.test", f"u@{MAIL_DOMAIN}"

SLOWEST_RUN = 300.0
"""Seconds after which a run is given up."""


class FailedRunError(RuntimeError):
    """A run whose rate would mean nothing: a client failed, or messages are missing in the sink or the log."""


@dataclass(frozen=True, slots=True)
class Load:
    """What smtp-source sends."""

    messages: int
    size: int
    """Bytes a message."""
    sessions: int
    keep_open: bool
    """Many messages a connection (`-d`), or a new connection for each."""


@dataclass(frozen=True, slots=True)
class Run:
    """What one load took."""

    rate: float
    """Messages a second."""
    user: float
    """Microseconds of processor time a message, of all processes and threads of the server; sink and clients are not
    counted."""
    system: float
    recipients: float = 1.0
    """Of a message, refused ones included."""

    @property
    def processor(self) -> float:
        """User and system time."""
        return self.user + self.system


class Journal:
    """The log of a Ringback: it has a line for every message, or lines were dropped."""

    def __init__(self, path: Path) -> None:
        self._path, self._read = path, 0
        self._counts = {"message": 0, "probe": 0}
        self._pattern = re.compile(rb'"event": ?"(message|probe)"')

    def count(self, event: str) -> int:
        """Return how many of these were logged so far."""
        with self._path.open("rb") as log:
            log.seek(self._read)
            whole, newline, _ = log.read().rpartition(b"\n")
        self._read += len(whole) + len(newline)
        for found in self._pattern.findall(whole):
            self._counts[found.decode()] += 1
        return self._counts[event]


@dataclass(frozen=True, slots=True)
class Leg:
    """A server to send to, and the sink behind it."""

    name: str
    port: int
    sink: SmtpSink | XclientSink
    server: Program
    journal: Journal | None = None
    certificate: str = ""
    """Of the authority, in a file, if the server offers STARTTLS."""

    async def run(self, load: Load | Plan) -> Run:
        """Send a load through and return how fast it went.

        Raises:
            FailedRunError: the client failed, or the sink or the log lacks a message.
        """
        before, logged, used = self.sink.count, self._logged(), self.server.processor_times()
        if isinstance(load, Plan):
            outcome = await self._driven(load)
        else:
            outcome = await self._sent(load)
        await self.arrived(before + load.messages)
        used = self.server.processor_times() - used
        await self._is_logged(logged + load.messages)
        return self._run(outcome, used)

    async def _sent(self, load: Load) -> Outcome:
        started = time.perf_counter()
        done = await asyncio.to_thread(_send, self.port, load)
        if done.returncode != 0:
            raise FailedRunError(f"{self.name}: smtp-source ended with {done.returncode}: {done.stderr.strip()}")
        return Outcome(time.perf_counter() - started, load.messages, load.messages)

    async def _driven(self, plan: Plan) -> Outcome:
        trust = self.certificate if plan.certificate else ""
        outcome = await asyncio.to_thread(_drive, replace(plan, port=self.port, certificate=trust))
        if outcome.failed or outcome.messages != plan.messages:
            raise FailedRunError(f"{self.name}: {outcome}")
        return outcome

    def _run(self, outcome: Outcome, used: Times) -> Run:
        each = 1e6 / outcome.messages
        return Run(
            outcome.messages / outcome.seconds,
            used.user * each,
            used.system * each,
            outcome.recipients / outcome.messages,
        )

    async def arrived(self, wanted: int) -> None:
        """Wait until the sink has the wanted number of messages.

        Raises:
            FailedRunError: there are fewer after a while, or more.
        """
        with suppress(AssertionError):  # told below
            await eventually(lambda: self.sink.count >= wanted, "every message is in the sink")
        if (got := self.sink.count) != wanted:
            raise FailedRunError(f"{self.name}: the sink has {got} messages and not {wanted}")

    def _logged(self) -> int:
        return self.journal.count("message") if self.journal else 0

    async def _is_logged(self, wanted: int) -> None:
        if self.journal is None:
            return
        with suppress(AssertionError):  # told below
            await eventually(lambda: self._logged() >= wanted, "every message is in the log")
        if (got := self._logged()) != wanted:
            raise FailedRunError(f"{self.name}: the log has {got} messages and not {wanted}: lines were dropped")


def _send(port: int, load: Load) -> subprocess.CompletedProcess[str]:
    arguments = [
        find_program("smtp-source"),
        *(("-d",) if load.keep_open else ()),
        *("-s", str(load.sessions), "-m", str(load.messages), "-l", str(load.size)),
        *("-f", SENDER, "-t", RECIPIENT, f"127.0.0.1:{port}"),
    ]
    return subprocess.run(arguments, capture_output=True, text=True, check=False, timeout=SLOWEST_RUN)


def _drive(plan: Plan) -> Outcome:
    done = subprocess.run(
        [sys.executable, "-m", "bench.driver"],
        input=json.dumps(asdict(plan)),
        env=environment(),
        capture_output=True,
        text=True,
        check=False,
        timeout=SLOWEST_RUN,
    )
    if done.returncode:
        return Outcome(failed=done.stderr.strip()[-500:])
    return Outcome(**json.loads(done.stdout))
