"""Ringback from the outside: a configuration in a folder, the `serve` command as a process, its log.

The two stanzas and the script of the customer's document stand here as printed; a setup includes the stanzas from a
file of their own and changes nothing in them but the script's path.
"""

from __future__ import annotations

import asyncio
import json
import os
import signal
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Self

from tests.support.conversation import Conversation
from tests.support.events import undeclared
from tests.support.programs import Program, accepts_connections, free_port, wait_until
from tests.support.servers import MAIL_DOMAIN
from tests.support.waiting import BOUND, eventually
from tests.support.warm import ROOT, VARIABLES

PRINTED_STANZAS = """\
Validate validate/smtp_cbv smtp_cbv passive{
      phase = "mailfrom"
}

Validate validate/sieve sieve {
  mailfrom_phase1 = "/path/to/myscript.siv"
}
"""

PRINTED_SCRIPT = """\
$from = envelope "from";
($rv) = smtp_callback_verify "${from}";
if ec_test :is "${rv}" "fail" {
  ec_action 550 "from address not reachable";
}
"""

PRINTED_PATH = "/path/to/myscript.siv"

SIEVE_ONLY = """\
Validate validate/sieve sieve {
  mailfrom_phase1 = "/path/to/myscript.siv"
}
"""

UNLIMITED = dict.fromkeys(
    ("probes_per_domain", "probes_per_mx", "probes_per_client", "unknown_users_per_mx", "forgery_storm"), '"0"'
) | {"breaker_time": "0"}
"""What a test world needs, where every client and every exchanger is one machine; tests of the limits set their own."""

EX_CONFIG = 78


@dataclass(frozen=True, slots=True, kw_only=True)
class Setup:
    """What a configuration says; the defaults are the customer's, and a server that takes mail for `MAIL_DOMAIN`."""

    upstream_port: int
    nameserver: str
    exchanger_port: int = 25
    listen_port: int = field(default_factory=free_port)
    stanzas: str = PRINTED_STANZAS
    script: str = PRINTED_SCRIPT
    callback: Mapping[str, str] = field(default_factory=dict)
    """Options of `smtp_cbv` beside the port and the networks."""
    core: Sequence[str] = ()
    """Further lines outside every stanza."""

    def write(self, folder: Path) -> Path:
        """Write the files and return the path of the configuration."""
        script = folder / "myscript.siv"
        script.write_text(self.script)
        (folder / "validate.conf").write_text(self.stanzas.replace(PRINTED_PATH, str(script)))
        configuration = folder / "ecelerity.conf"
        configuration.write_text("\n".join(self._lines()) + "\n")
        return configuration

    def _lines(self) -> list[str]:
        lines = [
            f"ESMTP_Listener = ( 127.0.0.1:{self.listen_port} )",
            'Hostname = "ringback.test"',
            f"Relay_Domains = ( {MAIL_DOMAIN} )",
            'Gateway = "127.0.0.1"',
            f"Remote_SMTP_Port = {self.upstream_port}",
            f'Nameservers = ( "{self.nameserver}" )',
            *self.core,
            'include "validate.conf"',
        ]
        if "smtp_cbv" in self.stanzas:
            options = {
                "port": str(self.exchanger_port),
                "allow_networks": "( 127.0.0.0/8 )",
                **UNLIMITED,
                **self.callback,
            }
            lines += ['smtp_cbv "smtp_cbv" {', *(f"  {name} = {value}" for name, value in options.items()), "}"]
        return lines


@dataclass(frozen=True, slots=True)
class Checkout:
    """A Ringback's source, and the Python that runs it."""

    root: Path = ROOT
    python: str = sys.executable


HERE = Checkout()


def command(*arguments: str) -> list[str]:
    """Return the command line of `ringback` in this environment; run it with `environment()`."""
    return [sys.executable, "-m", "proxy.cli", *arguments]


def environment(root: Path = ROOT) -> dict[str, str]:
    """Return the variables under which the project's own modules are found, and none of the folder's."""
    return VARIABLES | {"PYTHONPATH": str(root)}


def ended(*arguments: str | Path, given: bytes = b"", within: float = 60, **variables: str) -> tuple[int, str, str]:
    """Run a `ringback` command to its end; return its exit status, and what it wrote on its two streams."""
    with tempfile.TemporaryDirectory() as folder:
        program = Program(
            command(*map(str, arguments)),
            folder=Path(folder),
            name="ringback",
            environment=environment() | variables,
            given=given,
        )
        try:
            status = program.wait(within=within)
        finally:
            program.stop(within=0)
        return status, program.stdout.read_text(), program.stderr.read_text()


def run(*arguments: str, folder: Path, name: str = "ringback", within: float = 30) -> tuple[int, str]:
    """Run a `ringback` command to its end; return its exit status and everything it printed."""
    program = Program(command(*arguments), folder=folder, name=name, environment=environment())
    try:
        status = program.wait(within=within)
    except subprocess.TimeoutExpired:
        raise AssertionError(f"ringback {' '.join(arguments)} still runs: {program.printed()}") from None
    finally:
        program.stop(within=0)
    return status, program.printed()


class Ringback:
    """One `ringback serve` process."""

    def __init__(self, setup: Setup, folder: Path, *, checkout: Checkout = HERE) -> None:
        """Write its configuration; it runs from `start` on. A comparison may run another checkout."""
        self.setup = setup
        self._checkout = checkout
        self.folder = folder
        self.configuration = setup.write(folder)
        self._program: Program | None = None

    @property
    def port(self) -> int:
        """The port it listens on, at 127.0.0.1."""
        return self.setup.listen_port

    @property
    def upstream_port(self) -> int:
        """The port of its next hop."""
        return self.setup.upstream_port

    @property
    def program(self) -> Program:
        """Its process."""
        assert self._program is not None, "not started"
        return self._program

    def start(self) -> Self:
        """Start it and wait until it accepts connections."""
        arguments = command("serve", "-c", str(self.configuration))
        if self._checkout is not HERE:
            arguments = [self._checkout.python, *arguments[1:]]
        surroundings = environment(self._checkout.root)
        self._program = program = Program(arguments, folder=self.folder, name="serve", environment=surroundings)
        try:
            program.wait_ready(lambda: accepts_connections("127.0.0.1", self.port))
        except BaseException:
            program.stop(within=0)
            raise
        return self

    async def started(self) -> Self:
        """Start it, while servers of the test's own event loop answer it."""
        return await asyncio.to_thread(self.start)

    @property
    def workers(self) -> list[int]:
        """The process ids of its workers that run, oldest first."""
        return sorted(self.program.group().keys() - {self.program.process.pid, *self.keepers, *self.controls})

    @property
    def keepers(self) -> list[int]:
        """The process ids of the keepers that it started so far, oldest first."""
        return [each["pid"] for each in self.log if each["event"] == "keeper_started"]

    @property
    def controls(self) -> list[int]:
        """The process ids of the control processes that it started so far, oldest first."""
        return [each["pid"] for each in self.log if each["event"] == "control_started"]

    def kill(self) -> None:
        """End all its processes by SIGKILL; their connections are closed when this returns."""
        os.killpg(self.program.process.pid, signal.SIGKILL)
        self.program.process.wait()
        wait_until(lambda: not self.program.group(), "every process has ended")

    def terminate(self) -> None:
        """Send SIGTERM."""
        self.program.process.send_signal(signal.SIGTERM)

    async def ended(self, *, within: float = BOUND) -> int:
        """Wait for its end and return the exit status."""
        return await asyncio.to_thread(self.program.wait, within=within)

    def stop(self) -> None:
        """Send SIGTERM and see it end cleanly.

        Raises:
            AssertionError: the exit status was not 0, or it had to be killed.
        """
        status = self.program.stop()
        assert status == 0, f"exit status {status} after SIGTERM:\n{self.program.printed()[-3000:]}"
        assert self._checkout is not HERE or undeclared(self.log) == []

    async def conversation(self, *, source: str | None = None) -> Conversation:
        """Connect as a client, from another loopback address if one is given, and read the banner."""
        return await Conversation.open("127.0.0.1", self.port, source=source)

    # ---- its log

    async def logged(self, event: str, times: int = 1) -> list[dict[str, Any]]:
        """Return the events of a name, once there are enough."""

        def found() -> list[dict[str, Any]]:
            events = [each for each in self.log if each["event"] == event]
            return events if len(events) >= times else []

        return await eventually(found, f"{event} in the log")

    @property
    def log(self) -> list[dict[str, Any]]:
        """The events it logged so far; a line that is no JSON object becomes `{"event": "unstructured", "line": …}`."""
        lines = self.program.stderr.read_text(errors="backslashreplace").split("\n")
        return [_event(line) for line in lines[:-1] if line.strip()]


def _event(line: str) -> dict[str, Any]:
    try:
        event = json.loads(line)
    except json.JSONDecodeError:
        event = None
    return event if isinstance(event, dict) else {"event": "unstructured", "line": line}
