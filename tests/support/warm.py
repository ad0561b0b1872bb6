"""Processes of `ringback` that are forked from a Python which has loaded it already, as the supervisor forks workers.

Loading the command takes half a second of processor time, its end another third, and the fork a few milliseconds; the
tests start hundreds of processes. The child is a process like any other: a child of the test, with arguments,
variables, folder and streams of its own, and `python -m proxy.cli` from there on. `RINGBACK_COLD_STARTS=1`
starts each one with a new Python instead.
"""

from __future__ import annotations

import atexit
import contextlib
import ctypes
import gc
import json
import os
import runpy
import signal
import socket
import subprocess
import sys
import threading
import time
import traceback
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]

VARIABLES = {"PYTHONPATH": str(ROOT), "PYTHONSAFEPATH": "1", "NO_COLOR": "1", "COLUMNS": "200"}
"""What the tests set for their commands: the project's own modules are found, and none of the folder's."""

COLD = "RINGBACK_COLD_STARTS"

_READ_AT_THE_START = ("PYTHON", "COVERAGE", "COV_", "LANG", "LC_", "LD_", "MALLOC", "TZ")
"""Beginnings of the variables that Python and its libraries read only when they start."""

_COMMAND = [sys.executable, "-m", "proxy.cli"]
_LONGEST_REQUEST = 1 << 20
_PR_SET_PDEATHSIG, _PR_SET_CHILD_SUBREAPER = 1, 36


def die_with_parent() -> None:
    """Have the kernel kill this process when its parent ends."""
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)


@dataclass(frozen=True, slots=True)
class Streams:
    """The descriptors of a process's standard streams."""

    stdin: int
    stdout: int
    stderr: int


class Forked:
    """A child process; what `subprocess.Popen` has of the same name does the same."""

    def __init__(self, pid: int, args: Sequence[str]) -> None:
        """It runs."""
        self.pid, self.args = pid, args
        self.returncode: int | None = None
        self._reaping = threading.Lock()

    def poll(self) -> int | None:
        """Return the exit status if it has ended."""
        with self._reaping:
            if self.returncode is None:
                pid, status = os.waitpid(self.pid, os.WNOHANG)
                if pid:
                    self.returncode = os.waitstatus_to_exitcode(status)
        return self.returncode

    def wait(self, timeout: float | None = None) -> int:
        """Wait for its end and return the exit status.

        Raises:
            subprocess.TimeoutExpired: it still runs.
        """
        ends = None if timeout is None else time.monotonic() + timeout
        pause = 0.0005
        while (status := self.poll()) is None:
            if ends is not None and timeout is not None and time.monotonic() >= ends:
                raise subprocess.TimeoutExpired(self.args, timeout)
            time.sleep(pause)
            pause = min(pause * 2, 0.02)
        return status

    def send_signal(self, number: int) -> None:
        """Send a signal, unless it has ended."""
        if self.poll() is None:
            os.kill(self.pid, number)

    def terminate(self) -> None:
        """Send SIGTERM."""
        self.send_signal(signal.SIGTERM)

    def kill(self) -> None:
        """Send SIGKILL."""
        self.send_signal(signal.SIGKILL)


def start(
    arguments: Sequence[str], *, folder: Path, variables: Mapping[str, str], streams: Streams
) -> Forked | subprocess.Popen[bytes]:
    """Start a program in a session of its own; it dies with this process, even if that is killed."""
    if _can_be_forked(arguments, variables):
        return _loaded().fork(arguments, folder, variables, streams)
    return subprocess.Popen(
        arguments,
        cwd=folder,
        env=variables,
        stdin=streams.stdin,
        stdout=streams.stdout,
        stderr=streams.stderr,
        start_new_session=True,
        preexec_fn=die_with_parent,  # noqa: PLW1509 - one prctl call; no thread holds a lock that it needs
    )


def _can_be_forked(arguments: Sequence[str], variables: Mapping[str, str]) -> bool:
    ours = {**os.environ, **VARIABLES}
    return (
        list(arguments[:3]) == _COMMAND
        and COLD not in variables
        and not any(name.startswith("COV") for name in variables)  # coverage begins when Python starts
        and _settled(variables) == _settled(ours)
    )


def _settled(variables: Mapping[str, str]) -> dict[str, str]:
    return {name: value for name, value in variables.items() if name.startswith(_READ_AT_THE_START)}


# ---------------------------------------------------------------- the test's side


class _Loaded:
    """The Python that has loaded the command."""

    def __init__(self) -> None:
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        with theirs:
            self._process = subprocess.Popen(
                [sys.executable, "-m", "tests.support.warm", str(theirs.fileno())],
                env={**os.environ, **VARIABLES},
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                pass_fds=[theirs.fileno()],
            )
        self._socket = ours
        self._one_at_a_time = threading.Lock()
        atexit.register(self._end)

    def _end(self) -> None:
        self._socket.close()
        self._process.wait()

    def fork(self, arguments: Sequence[str], folder: Path, variables: Mapping[str, str], streams: Streams) -> Forked:
        """Have it fork a process, and adopt that."""
        request = {
            "arguments": arguments[len(_COMMAND) :],
            "folder": str(folder),
            "variables": dict(variables),
            "parent": os.getpid(),
        }
        descriptors = [streams.stdin, streams.stdout, streams.stderr]
        with self._one_at_a_time, _adopting():
            socket.send_fds(self._socket, [json.dumps(request).encode()], descriptors)
            answer = self._socket.recv(_LONGEST_REQUEST)
            if not answer.isdigit():
                raise RuntimeError(f"no process was forked: {answer.decode()}")
            child = Forked(int(answer), arguments)
            _wait_until_adopted(child.pid)
        return child


@contextlib.contextmanager
def _adopting() -> Iterator[None]:
    """Make orphans among our descendants our children, while the context lasts."""
    prctl = ctypes.CDLL(None).prctl
    prctl(_PR_SET_CHILD_SUBREAPER, 1)
    try:
        yield
    finally:
        prctl(_PR_SET_CHILD_SUBREAPER, 0)


def _wait_until_adopted(pid: int) -> None:
    ours = os.getpid()
    while int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[1]) != ours:
        time.sleep(0.0002)


_kept: list[_Loaded] = []
_keeping = threading.Lock()


def _loaded() -> _Loaded:
    with _keeping:
        if not _kept:
            _kept.append(_Loaded())
        return _kept[0]


# ---------------------------------------------------------------- the loaded Python's side


def _serve(ours: socket.socket) -> tuple[dict[str, object], list[int]]:
    """Fork for each request; return in the child, with its request and its streams."""
    while True:
        message, descriptors, _, _ = socket.recv_fds(ours, _LONGEST_REQUEST, 3)
        if not message:
            os._exit(0)
        between = os.fork()
        if between == 0:
            child = os.fork()
            if child:
                ours.send(str(child).encode())
                os._exit(0)  # so that the test adopts the child
            ours.detach()
            return json.loads(message), descriptors
        for each in descriptors:
            os.close(each)
        os.waitpid(between, 0)


def _become(request: dict[str, object], descriptors: Sequence[int]) -> None:
    """Make this child what the request says."""
    while os.getppid() != request["parent"]:
        if os.getppid() == 1:
            os._exit(1)  # the test has ended meanwhile
        time.sleep(0.0002)
    die_with_parent()
    os.setsid()
    for number, each in enumerate(descriptors):
        os.dup2(each, number)
    os.closerange(3, 4096)
    os.chdir(str(request["folder"]))
    os.environ.clear()
    os.environ.update(request["variables"])  # type: ignore[arg-type]  # as the test sent it
    sys.argv[1:] = request["arguments"]  # type: ignore[assignment]  # as above
    signal.signal(signal.SIGINT, signal.default_int_handler)


def _main() -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    ours = socket.socket(fileno=int(sys.argv[1]))
    try:
        import proxy.cli.__main__  # noqa: F401, PLC0415 - here, so that the tests do not load it
        from proxy.app import library  # noqa: PLC0415 - as above
        from proxy.callback.classify import shipped  # noqa: PLC0415 - as above

        library()
        shipped()
    except BaseException:
        ours.send(traceback.format_exc().encode())
        raise
    gc.collect()
    gc.freeze()  # so that a collection in a child copies no page of what was loaded
    _become(*_serve(ours))
    del sys.modules["proxy.cli.__main__"]  # it runs once more, under the name that it expects
    _run()


def _run() -> None:
    """Run the command, and end without taking Python apart, which costs more than many a command."""
    try:
        runpy.run_module("proxy.cli", run_name="__main__", alter_sys=True)
    except SystemExit as ended:
        if not isinstance(ended.code, int | None):
            raise  # Python prints it
        threading._shutdown()  # type: ignore[attr-defined]  # what Python does before it is taken apart
        atexit._run_exitfuncs()
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(ended.code or 0)


if __name__ == "__main__":
    _main()
