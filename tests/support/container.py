"""The images that `packaging/image` builds, and containers of them, which runc runs as `docker-compose.yml` says.

Only the networks differ from the file's: a container has the network of this machine, or one of its own that leads
nowhere.
"""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Iterable, Iterator, Mapping
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from tests.support.programs import Program, find_program
from tests.support.ringback import ROOT
from tests.support.unit import made

_STORAGE = ROOT / "build/packaging/containers"
_NAMESPACES = ("pid", "ipc", "uts", "mount")
_SAFER = ["no-new-privileges:true"]
_MOUNTS = (
    ("/proc", "proc", "proc", ()),
    ("/dev", "tmpfs", "tmpfs", ("nosuid", "mode=755", "size=65536k")),
    ("/dev/shm", "tmpfs", "shm", ("nosuid", "noexec", "nodev", "mode=1777", "size=65536k")),
)


def _ran(*command: str | Path) -> str:
    ended = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False)
    assert ended.returncode == 0, ended.stdout[-5000:]
    return ended.stdout


class Image:
    """An image in buildah's storage."""

    def __init__(self, target: str = "ringback") -> None:
        """Build a target of the Dockerfile, unless it is there."""
        self.name = str(made("image", target))
        self._working = self.buildah("from", "--pull-never", self.name).strip()
        self.root = Path(self.buildah("mount", self._working).strip())

    @staticmethod
    def buildah(*arguments: str | Path) -> str:
        """Run buildah on the storage of `packaging/image`."""
        driver = (_STORAGE / "driver").read_text().strip()
        storage = ("--root", _STORAGE / "root", "--runroot", _STORAGE / "run", "--storage-driver", driver)
        return _ran(find_program("buildah"), *storage, *arguments)

    @property
    def configuration(self) -> dict[str, Any]:
        """What the image says of its containers."""
        inspected = json.loads(self.buildah("inspect", "--type", "image", self.name))
        found: dict[str, Any] = inspected["Docker"]["config"]
        return found

    @property
    def size(self) -> int:
        """Its octets without compression, as engines show it."""
        (found,) = json.loads(self.buildah("images", "--json", self.name))
        number, unit = found["size"].split()
        return int(float(number) * {"kB": 1_000, "MB": 1_000_000, "GB": 1_000_000_000}[unit])

    def user(self) -> tuple[int, int]:
        """Return the ids of the user that it names."""
        name = self.configuration.get("User") or "root"
        for line in (self.root / "etc/passwd").read_text().splitlines():
            found, _, uid, gid, *_ = line.split(":")
            if found == name:
                return int(uid), int(gid)
        raise LookupError(name)

    def __enter__(self) -> Self:
        """It is mounted."""
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        """Take the mount away; the image stays for the next time."""
        self.buildah("rm", self._working)


class Container:
    """One container of an image: a service of docker-compose.yml."""

    def __init__(
        self,
        image: Image,
        folder: Path,
        *,
        service: Mapping[str, Any],
        mounts: Mapping[str, Path] | None = None,
        isolated: bool = False,
    ) -> None:
        """Describe it; `mounts` are folders that are mounted instead of those that the service names."""
        self._image, self._folder, self._service, self._isolated = image, folder, service, isolated
        self.name = f"ringback-{os.getpid()}-{folder.name}"
        self._bundle = folder / "bundle"
        self._bundle.mkdir()
        self.program: Program | None = None
        specification = self._specification(self._binds(mounts or {}))
        (self._bundle / "config.json").write_text(json.dumps(specification))

    def _binds(self, instead: Mapping[str, Path]) -> Iterator[tuple[str, Path, str]]:
        """Yield (place, source, access); a named volume is new, so it begins with what the image has there."""
        for volume in self._service["volumes"]:
            named, place, *access = volume.split(":")
            if place in instead:
                source = instead[place]
            elif named.startswith("."):
                source = ROOT / named
            else:
                source = self._folder / named
                _ran("cp", "--archive", self._image.root / place[1:], source)
            yield place, source, (access or ["rw"])[0]

    def _specification(self, binds: Iterable[tuple[str, Path, str]]) -> dict[str, Any]:
        service = self._service
        mounts: list[dict[str, Any]] = [
            {"destination": place, "type": kind, "source": source, "options": list(options)}
            for place, kind, source, options in _MOUNTS
        ]
        for each in service.get("tmpfs", ()):
            place, _, given = each.partition(":")
            options = ["nosuid", "nodev", *given.split(",")]
            mounts.append({"destination": place, "type": "tmpfs", "source": "tmpfs", "options": options})
        mounts += [
            {"destination": place, "type": "bind", "source": str(source), "options": ["bind", how]}
            for place, source, how in binds
        ]
        namespaces = (*_NAMESPACES, "network") if self._isolated else _NAMESPACES
        return {
            "ociVersion": "1.0.2",
            "root": {"path": str(self._image.root), "readonly": service.get("read_only", False)},
            "process": self._process(),
            "mounts": mounts,
            "linux": {"namespaces": [{"type": each} for each in namespaces]},
        }

    def _process(self) -> dict[str, Any]:
        says, service = self._image.configuration, self._service
        uid, gid = self._image.user()
        assert service["cap_drop"] == ["ALL"], "else it would have what the engine gives"
        capabilities = [f"CAP_{each}" for each in service.get("cap_add", ())]
        held = ("bounding", "permitted", "effective") if uid == 0 else ("bounding",)
        return {
            "args": [*says.get("Entrypoint", ()), *service.get("command", says["Cmd"])],
            "cwd": says.get("WorkingDir") or "/",
            "env": says["Env"],
            "user": {"uid": uid, "gid": gid},
            "capabilities": dict.fromkeys(held, capabilities),
            "noNewPrivileges": service.get("security_opt") == _SAFER,
        }

    def _runc(self, *arguments: str | Path) -> list[str]:
        return [find_program("runc"), "--root", str(self._folder / "runc"), *map(str, arguments)]

    def start(self) -> Self:
        """Start it."""
        command = self._runc("run", "--bundle", self._bundle, self.name)
        self.program = Program(command, folder=self._folder, name="container")
        if self._isolated:
            self.program.wait_ready(lambda: self._in_network("ip", "link", "set", "lo", "up").returncode == 0)
        return self

    def _in_network(self, *command: str) -> subprocess.CompletedProcess[str]:
        """Run a command of this machine in the container's network."""
        state = subprocess.run(self._runc("state", self.name), capture_output=True, text=True, check=False).stdout
        number = json.loads(state)["pid"] if state else 0
        return subprocess.run(
            ["nsenter", f"--net=/proc/{number}/ns/net", *command], capture_output=True, text=True, check=False
        )

    def answer(self, port: int, said: str = "") -> str | None:
        """Return the first line that is heard at a port of the container; None if nothing listens."""
        script = 'exec 3<>"/dev/tcp/127.0.0.1/$1" || exit; echo; printf %s "$2" >&3; read -r -t 9 line <&3; echo $line'
        heard = self._in_network("bash", "-c", script, "-", str(port), said).stdout
        return heard.strip() if heard else None

    def inside(self, *command: str) -> subprocess.CompletedProcess[str]:
        """Run a command in it, as its user."""
        return subprocess.run(
            self._runc("exec", self.name, *command),
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            check=False,
        )

    def is_healthy(self) -> bool:
        """Tell what the image's own check says."""
        kind, *command = self._image.configuration["Healthcheck"]["Test"]
        assert kind == "CMD"
        return self.inside(*command).returncode == 0

    def signal(self) -> None:
        """Send the signal by which an engine stops it."""
        signal = self._image.configuration.get("StopSignal", "SIGTERM")
        subprocess.run(self._runc("kill", self.name, signal), capture_output=True, check=False)

    def ended(self, *, within: int) -> int:
        """Ask it to end until it has ended, and return its status. HAProxy misses a signal just after its start."""
        assert self.program is not None
        for _ in range(within):
            if self.program.is_running:
                self.signal()
            with suppress(subprocess.TimeoutExpired):
                return self.program.wait(within=1)
        return self.program.wait(within=0)

    def __enter__(self) -> Self:
        """Start it."""
        return self.start()

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        """End it, if it still runs."""
        subprocess.run(self._runc("delete", "--force", self.name), capture_output=True, check=False)
        if self.program is not None:
            self.program.stop()
