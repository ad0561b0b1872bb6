"""A machine without systemd, as a folder that is its root: packages are installed there, and its unit runs.

Its `deb-systemd-invoke` and `systemctl` ask the test, which starts the unit's own command line as the unit's user, with
the unit's capabilities, variables, mounts and filter of system calls, and sends the signals that systemd would.
"""

from __future__ import annotations

import json
import os
import resource
import shlex
import shutil
import signal
import socket
import subprocess
import threading
from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path
from types import TracebackType
from typing import Self

from tests.support.programs import Program, find_program
from tests.support.ringback import ROOT

UNIT = "ringback.service"

_STUB = """\
#!/bin/sh
echo "${0##*/} $*" >/run/asked
read -r status </run/answered
exit "$status"
"""

_CONFINED = (ROOT / "tests/support/confined.py").read_text()

_MOUNTS = """\
root=$1 writable=$2
shift 2
ip link set lo up 2>/dev/null || true
mount --bind "$root" "$root"
for each in $writable; do mount --bind "$root$each" "$root$each"; done
mount -t proc -o hidepid=invisible proc "$root/proc"
mount -t tmpfs tmpfs "$root/tmp"
mount -o remount,bind,ro "$root"
exec chroot "$root" "$@"
"""
"""ProtectSystem=strict, ProtectProc=invisible and PrivateTmp=yes."""


def made(script: str, *words: str) -> Path:
    """Run a script of `packaging` as a careful administrator would; it prints the path of what it made."""
    ended = subprocess.run(
        [ROOT / "packaging" / script, *words],
        capture_output=True,
        text=True,
        check=False,
        stdin=subprocess.DEVNULL,
        umask=0o077,
    )
    assert ended.returncode == 0, (ended.stdout + ended.stderr)[-5000:]
    return Path(ended.stdout.strip())


def settings(text: str) -> dict[str, list[str]]:
    """Return the settings of a unit file; one that is given several times has several values."""
    found: dict[str, list[str]] = defaultdict(list)
    for line in text.splitlines():
        name, given, value = line.partition("=")
        if given and not line.startswith(("#", ";")):
            found[name].append(value)
    return found


def system_calls(filters: Sequence[str]) -> list[str]:
    """Return the names that lines of SystemCallFilter= allow; a line that begins with ~ takes some away."""
    allowed: set[str] = set()
    for line in filters:
        named = {call for word in line.removeprefix("~").split() for call in _expanded(word)}
        allowed = allowed - named if line.startswith("~") else allowed | named
    return sorted(allowed)


def _expanded(word: str) -> set[str]:
    if not word.startswith("@"):
        return {word}
    command = [find_program("systemd-analyze"), "--no-pager", "syscall-filter", word]
    printed = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    members = [line.strip() for line in printed.splitlines()[1:] if line.strip() and "#" not in line]
    return {call for each in members for call in _expanded(each)}


def _heard(listening: socket.socket) -> bytes:
    try:
        return listening.recv(4096)
    except BlockingIOError:
        return b""


class Machine:
    """The folder, what runs in it, and what its programs asked of systemd."""

    def __init__(self, base: Path, folder: Path) -> None:
        """Copy a base; `with` makes it serve its stubs."""
        self.root = folder / "root"
        subprocess.run(["cp", "--archive", base, self.root], check=True)
        self.root.chmod(0o755)
        self.asked: list[str] = []
        self.folder = folder
        self.unit: Program | None = None
        self.isolated = False
        """Whether the unit gets a network of its own, where port 25 is free."""
        (self.root / "run/systemd/system").mkdir(parents=True)
        for name in ("asked", "answered"):
            os.mkfifo(self.root / "run" / name)
        for name in ("deb-systemd-invoke", "systemctl"):
            stub = self.root / "usr/bin" / name
            stub.unlink(missing_ok=True)
            stub.write_text(_STUB)
            stub.chmod(0o755)
        self._answering = threading.Thread(target=self._answer, name="systemd's answers", daemon=True)

    # ---- commands

    def run(self, *command: str, status: int = 0) -> str:
        """Run a command there as root; return what it printed."""
        mounts = 'mount -t proc proc "$1/proc" && exec chroot "$@"'
        ended = subprocess.run(
            ["unshare", "--mount", "--propagation", "private", "sh", "-c", mounts, "-", self.root, *command],
            env={"PATH": "/usr/sbin:/usr/bin:/sbin:/bin", "LC_ALL": "C.UTF-8", "DEBIAN_FRONTEND": "noninteractive"},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            check=False,
        )
        assert ended.returncode == status, ended.stdout[-5000:]
        return ended.stdout

    def installed(self, package: Path, *options: str, status: int = 0) -> str:
        """Install a package file; return what dpkg printed."""
        shutil.copy(package, self.root / "tmp/package.deb")
        try:
            return self.run("dpkg", *options, "--install", "/tmp/package.deb", status=status)
        finally:
            (self.root / "tmp/package.deb").unlink()

    def lend(self, program: str) -> None:
        """Copy a program of this machine there, with the libraries that are missing there; both are Debian."""
        found = find_program(program)
        printed = subprocess.run(["ldd", found], capture_output=True, text=True, check=True).stdout
        for path in (found, *(word for word in printed.split() if word.startswith("/"))):
            if not (place := self.root / path[1:]).exists():
                shutil.copy(path, place)

    def files(self) -> dict[str, str]:
        """Return what is there, with owner and mode, apart from what packages' tools keep of their own work."""
        ours = ("/proc/", "/run/", "/tmp/", "/var/log/", "/var/cache/", "/var/lib/dpkg/", "/var/backups/")
        found = {}
        for path in self.root.rglob("*"):
            name = f"/{path.relative_to(self.root)}"
            if not name.startswith(ours) and not name.endswith("-"):
                about = path.lstat()
                content = path.read_bytes() if path.is_file() and name.startswith("/etc/") else b""
                found[name] = f"{about.st_mode:o} {about.st_uid} {about.st_gid} {content!r}"
        return found

    # ---- the unit

    @property
    def settings(self) -> dict[str, list[str]]:
        """What the installed unit says."""
        return settings((self.root / "usr/lib/systemd/system" / UNIT).read_text())

    def start(self) -> None:
        """Start the unit by its own command line, and wait until it says READY=1."""
        says = self.settings
        for name, below in (("Runtime", "run"), ("State", "var/lib"), ("Logs", "var/log")):
            for each in says[f"{name}Directory"]:
                self.run("install", "-d", "-m", "750", "-o", *says["User"], "-g", *says["Group"], f"/{below}/{each}")
        place = self.root / "run/notify"
        place.unlink(missing_ok=True)
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as listening:
            listening.bind(str(place))
            place.chmod(0o777)
            listening.setblocking(False)
            self.unit = Program(self._command(says), folder=self.folder, name="unit")
            self.unit.wait_ready(lambda: b"READY=1" in _heard(listening))

    def _command(self, says: dict[str, list[str]]) -> list[str]:
        families = [int(getattr(socket, each)) for each in says["RestrictAddressFamilies"][0].split()]
        wanted = json.dumps({"calls": system_calls(says["SystemCallFilter"]), "families": families})
        (capability,) = (each.lower().removeprefix("cap_") for each in says["AmbientCapabilities"])
        held = f"-all,+{capability}"
        variables = [*says["Environment"][0].split(), "RUNTIME_DIRECTORY=/run/ringback", "NOTIFY_SOCKET=/run/notify"]
        writable = [f"/run/{each}" for each in says["RuntimeDirectory"]]
        writable += [f"/var/lib/{each}" for each in says["StateDirectory"]]
        writable += [f"/var/log/{each}" for each in says["LogsDirectory"]]
        writable += [each.removeprefix("-") for each in says["ReadWritePaths"]]
        network = ["--net"] if self.isolated else []
        most = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
        return [
            *("unshare", "--mount", *network, "--propagation", "private", "sh", "-ec", _MOUNTS, "-"),
            *(str(self.root), " ".join(writable)),
            *("env", "-i", "PATH=/usr/sbin:/usr/bin:/sbin:/bin", "LC_ALL=C.UTF-8", *variables),
            *("prlimit", f"--nofile={min(int(says['LimitNOFILE'][0]), most)}"),
            *("setpriv", f"--reuid={says['User'][0]}", f"--regid={says['Group'][0]}", "--init-groups"),
            *(f"--inh-caps={held}", f"--ambient-caps={held}", f"--bounding-set={held}", "--no-new-privs"),
            *("/usr/bin/python3", "-I", "-c", _CONFINED, wanted, *shlex.split(says["ExecStart"][0])),
        ]

    def stop(self) -> int:
        """Send SIGTERM and wait for the end, as long as the unit says; return the exit status."""
        assert self.unit is not None
        ended = self.unit.stop(within=float(self.settings["TimeoutStopSec"][0]))
        self.unit = None
        return ended

    def state(self) -> dict[str, str]:
        """Return /proc/PID/status of the unit's main process."""
        assert self.unit is not None
        lines = Path(f"/proc/{self.unit.process.pid}/status").read_text().splitlines()
        return {name: value.strip() for name, _, value in (line.partition(":") for line in lines)}

    # ---- its systemd

    def _pipe(self, name: str) -> int:
        """Open a pipe for both directions: then it never ends, and opening it does not wait for the other side."""
        return os.open(self.root / "run" / name, os.O_RDWR)

    def _answer(self) -> None:
        with os.fdopen(self._pipe("asked")) as asked, os.fdopen(self._pipe("answered"), "w") as answered:
            for line in asked:
                if line == "end\n":
                    return
                self.asked.append(line.strip())
                try:
                    status = self._done(line.split())
                except Exception as error:  # noqa: BLE001 - the program that asks must hear an answer
                    self.asked.append(repr(error))
                    status = 1
                answered.write(f"{status}\n")
                answered.flush()

    def _done(self, words: list[str]) -> int:
        ended = 0
        match words:
            case ["deb-systemd-invoke", "start" | "restart" | "stop" as action, "ringback.service"]:
                if action != "start" and self.unit is not None:
                    ended = self.stop()
                if action != "stop":
                    self.start()
            case ["systemctl", "kill", "--kill-whom=main", "--signal=USR1", "ringback.service"]:
                assert self.unit is not None
                self.unit.process.send_signal(signal.SIGUSR1)
        return ended

    def __enter__(self) -> Self:
        """Answer the stubs."""
        self._answering.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        """End what runs, and remove the folder: it is large."""
        with os.fdopen(self._pipe("asked"), "w") as asked:
            asked.write("end\n")
        self._answering.join()
        if self.unit is not None:
            self.unit.stop(within=0)
        subprocess.run(["rm", "-rf", self.root], check=True)  # much quicker than shutil
