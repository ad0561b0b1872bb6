"""A server program that a test started: found, started in a session of its own, and ended by its process id.

`servers.py` and `ringback.py` say what the programs are for.
"""

from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from itertools import count, islice
from pathlib import Path
from types import TracebackType
from typing import IO, Self

from tests.support.warm import Streams, start

SYSTEM_FOLDERS = (
    "/usr/sbin", "/sbin", "/usr/local/sbin", *sorted(map(str, Path("/usr/lib/postgresql").glob("*/bin")), reverse=True),
)  # fmt: skip
"""Where Debian keeps server programs; an ordinary user's PATH lacks them."""

UNPACKED = {
    "promtool": "RINGBACK_PROMETHEUS",
    "prometheus": "RINGBACK_PROMETHEUS",
    "exim4": "RINGBACK_EXIM",
    "smtpd": "RINGBACK_OPENSMTPD",
}
"""Program → the environment variable that names the folder into which its package was unpacked, if it was.

Debian lets one mail server be installed at a time, and the tests want three.
"""

RUN_AS_ROOT = frozenset({"postfix", "exim4", "smtpd", "debootstrap", "buildah"})

START_BOUND = 20.0
"""Seconds within which a server must be ready; reached only when something is broken."""

STOP_BOUND = 15.0
"""Seconds between SIGTERM and SIGKILL."""

_ALL_PORTS = range(18000, 31000)
"""Below Linux's ephemeral range, so that no outgoing connection of this machine takes a port that was just chosen."""

_SHARES = 8
"""Processes of pytest-xdist that have ports of their own."""


def _share(worker: str) -> range:
    """Return the ports of one test process, so that no other takes one between its choice and its use.

    pytest-xdist names its processes gw0, gw1, ...; alone, a process has all ports.
    """
    if not worker:
        return _ALL_PORTS
    size = len(_ALL_PORTS) // _SHARES
    first = _ALL_PORTS.start + int(worker.removeprefix("gw")) % _SHARES * size
    return range(first, first + size)


PORTS = _share(os.environ.get("PYTEST_XDIST_WORKER", ""))
"""The ports that this process chooses from."""

_steps = count(int.from_bytes(os.urandom(4), "big"))

_STAT_GROUP, _STAT_TIMES = 2, slice(11, 15)
"""Fields of /proc/PID/stat after the program's name (proc(5)): group; user and system time of the process, and of its
ended children."""

_LOOKS = 5


@dataclass(frozen=True, slots=True)
class Times:
    """Processor time in seconds.

    The sum is exact to the nanosecond; its parts are counted in ticks of 10 ms, so that only their ratio over some time
    is of use.
    """

    total: float = 0.0
    user_ticks: int = 0
    system_ticks: int = 0

    @property
    def user(self) -> float:
        """What was used outside the kernel."""
        ticks = self.user_ticks + self.system_ticks
        return self.total * self.user_ticks / ticks if ticks else self.total

    @property
    def system(self) -> float:
        """What was used in the kernel."""
        return self.total - self.user

    def __add__(self, other: Times) -> Times:
        """Return the sum."""
        return Times(
            self.total + other.total, self.user_ticks + other.user_ticks, self.system_ticks + other.system_ticks
        )

    def __sub__(self, other: Times) -> Times:
        """Return what was used since `other`."""
        return Times(
            self.total - other.total, self.user_ticks - other.user_ticks, self.system_ticks - other.system_ticks
        )


def _times(process: Path) -> Times:
    """Return what a process, its threads and its ended children used.

    /proc/PID/stat counts in ticks, which is coarse for a hundred processes; the threads' schedstat has nanoseconds, but
    forgets threads that ended.
    """
    tick = 1 / os.sysconf("SC_CLK_TCK")
    try:
        user, system, ended_user, ended_system = (int(each) for each in _fields(process / "stat")[_STAT_TIMES])
        threads = process.glob("task/*/schedstat")
        own = max((user + system) * tick, sum(int(each.read_text().split()[0]) for each in threads) / 1e9)
    except (FileNotFoundError, ProcessLookupError, ValueError):
        return Times()
    return Times(own + (ended_user + ended_system) * tick, user + ended_user, system + ended_system)


class MissingProgramError(LookupError):
    """A server program that a test or a benchmark needs is not installed, or cannot run as this user."""


def find_program(name: str) -> str:
    """Return the path of a server program: the unpacked one if a variable of `UNPACKED` names a folder.

    Raises:
        MissingProgramError: it is not installed, or cannot run as this user.
    """
    folder = unpacked_folder(name)
    if folder is None:
        path = os.pathsep.join((os.environ.get("PATH", ""), *SYSTEM_FOLDERS))
        place = "installed"
    else:
        path = os.pathsep.join((str(folder / "usr/sbin"), str(folder / "usr/bin")))
        place = f"in the folder that {UNPACKED[name]} names"
    found = shutil.which(name, path=path)
    if found is None:
        raise MissingProgramError(f"{name} is not {place}")
    if name in RUN_AS_ROOT and os.geteuid() != 0:
        raise MissingProgramError(f"{name} runs as root only")
    return found


def unpacked_folder(name: str) -> Path | None:
    """Return the folder into which a program's package was unpacked; None if it must be installed."""
    named = os.environ.get(UNPACKED.get(name, ""))
    return Path(named) if named else None


def free_port(*addresses: str) -> int:
    """Return a port that is free, for TCP and UDP, on every one of the addresses (default: 127.0.0.1).

    A process goes through its ports in turn: two that are chosen before either is used are different.
    """
    wanted = addresses or ("127.0.0.1",)
    for step in islice(_steps, len(PORTS)):
        port = PORTS[step % len(PORTS)]
        if all(_is_free(address, port) for address in wanted):
            return port
    raise OSError("no free port")


def _is_free(address: str, port: int) -> bool:
    for kind in (socket.SOCK_STREAM, socket.SOCK_DGRAM):
        with socket.socket(socket.AF_INET, kind) as trial:
            try:
                trial.bind((address, port))
            except OSError:
                return False
    return True


def accepts_connections(address: str, port: int) -> bool:
    """Tell whether something listens there."""
    try:
        socket.create_connection((address, port), timeout=1).close()
    except OSError:
        return False
    return True


def wait_until(condition: Callable[[], bool], what: str, *, within: float = START_BOUND) -> None:
    """Poll another process's state, which nothing can announce to us.

    Raises:
        TimeoutError: `what` did not come true in time.
    """
    end = time.monotonic() + within
    while not condition():
        if time.monotonic() > end:
            raise TimeoutError(f"not within {within:g} s: {what}")
        time.sleep(0.01)


class Folder:
    """A temporary folder that servers may enter under their own user ids; pytest's are closed to them."""

    def __init__(self, prefix: str) -> None:
        """Create the folder, readable by everyone."""
        self.path = Path(tempfile.mkdtemp(prefix=f"ringback-{prefix}-"))
        self.path.chmod(0o755)

    def remove(self) -> None:
        """Remove it and everything in it."""
        shutil.rmtree(self.path, ignore_errors=True)


def _fields(stat: Path) -> list[str]:
    return stat.read_text().rpartition(")")[2].split()


class Program:
    """One running program, its standard streams in files, killed with all its children at the end."""

    def __init__(
        self,
        arguments: Sequence[str],
        *,
        folder: Path,
        name: str,
        environment: Mapping[str, str] | None = None,
        given: bytes = b"",
    ) -> None:
        """Start it with something to read; it dies with the process that started it, even if that is killed."""
        self.name = name
        self._stopped: int | None = None
        self.stdout, self.stderr = folder / f"{name}.stdout", folder / f"{name}.stderr"
        with _source(given) as source, self.stdout.open("wb") as out, self.stderr.open("wb") as err:
            self.process = start(
                arguments,
                folder=folder,
                variables={**os.environ, **(environment or {})},
                streams=Streams(source.fileno(), out.fileno(), err.fileno()),
            )

    @property
    def is_running(self) -> bool:
        """Whether it has not ended yet."""
        return self.process.poll() is None

    def wait_ready(self, ready: Callable[[], bool]) -> None:
        """Wait until `ready`; fail with what the program printed if it ends before."""
        wait_until(lambda: ready() or not self.is_running, f"{self.name} is ready")
        if not self.is_running:
            raise RuntimeError(f"{self.name} ended with status {self.process.returncode}: {self.printed()}")

    def printed(self) -> str:
        """Return what it wrote on its standard streams so far."""
        return self.stdout.read_text(errors="backslashreplace") + self.stderr.read_text(errors="backslashreplace")

    def processor_times(self) -> Times:
        """Return the processor time of its process group so far: every process and thread, and those that ended.

        A process that ends while this looks is in its parent's time only afterwards, so it looks again until the same
        processes were there before and after.
        """
        for _ in range(_LOOKS):
            before = self._members()
            found = sum((_times(each) for each in before), Times())
            if self._members() == before:
                break
        return found

    def _members(self) -> list[Path]:
        found = []
        for stat in Path("/proc").glob("[0-9]*/stat"):
            with suppress(FileNotFoundError, ProcessLookupError):
                if int(_fields(stat)[_STAT_GROUP]) == self.process.pid:
                    found.append(stat.parent)
        return sorted(found)

    def group(self) -> dict[int, str]:
        """Return the processes of its group that have not ended, and the state of each (proc(5): R, S, T, …).

        A process lives as long as one of its threads: until then its sockets are open.
        """
        found = {}
        for stat in Path("/proc").glob("[0-9]*/stat"):
            with suppress(FileNotFoundError, ProcessLookupError):
                if int(_fields(stat)[_STAT_GROUP]) == self.process.pid:
                    states = [_fields(each)[0] for each in stat.parent.glob("task/*/stat")]
                    if living := [each for each in states if each not in "ZX"]:
                        found[int(stat.parent.name)] = living[0]
        return found

    def wait(self, *, within: float = STOP_BOUND) -> int:
        """Wait for its end and return the exit status.

        Raises:
            subprocess.TimeoutExpired: it still runs.
        """
        return self.process.wait(within)

    def stop(self, *, within: float = STOP_BOUND) -> int:
        """Send SIGTERM, wait, kill what is left of its process group; return the exit status."""
        if self._stopped is not None:
            return self._stopped
        self._stopped = self._end(within)
        return self._stopped

    def _end(self, within: float) -> int:
        if self.is_running:
            self.process.terminate()
        try:
            return self.wait(within=within)
        except subprocess.TimeoutExpired:
            return -signal.SIGKILL
        finally:
            self._kill_group()

    def _kill_group(self) -> None:
        """Children of a server may outlive it; they share its group, which is named by its process id."""
        try:
            os.killpg(self.process.pid, signal.SIGKILL)
        except ProcessLookupError:
            pass
        finally:
            self.process.wait()
        wait_until(lambda: not self.group(), f"{self.name} has ended")  # its sockets are open until then

    def __enter__(self) -> Self:
        """Nothing more to do: it runs since it was made."""
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        """Stop it."""
        self.stop()


def _source(given: bytes) -> IO[bytes]:
    if not given:
        return Path(os.devnull).open("rb")
    file = tempfile.TemporaryFile()  # noqa: SIM115 - the caller closes it
    file.write(given)
    file.seek(0)
    return file
