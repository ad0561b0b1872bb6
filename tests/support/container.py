"""The image that `packaging/image` builds, and containers of it, run by runc as the image's own configuration says.

The containers have the network of this machine; everything else is as `docker-compose.yml` says: a root that cannot be
written, no capability, and volumes for state and spool.
"""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from tests.support.programs import Program, find_program
from tests.support.ringback import ROOT
from tests.support.unit import made

_STORAGE = ROOT / "build/packaging/containers"
_NAMESPACES = ("pid", "ipc", "uts", "mount")
_MOUNTS = (
    ("/proc", "proc", "proc", ()),
    ("/dev", "tmpfs", "tmpfs", ("nosuid", "mode=755", "size=65536k")),
    ("/dev/shm", "tmpfs", "shm", ("nosuid", "noexec", "nodev", "mode=1777", "size=65536k")),
    ("/tmp", "tmpfs", "tmpfs", ("nosuid", "nodev", "mode=1777", "size=64m")),
)


def _ran(*command: str | Path) -> str:
    ended = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False)
    assert ended.returncode == 0, ended.stdout[-5000:]
    return ended.stdout


class Image:
    """The image in buildah's storage."""

    def __init__(self) -> None:
        """Build it, unless it is there."""
        self.name = str(made("image"))
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
        name = self.configuration["User"]
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
    """One container of it."""

    def __init__(self, image: Image, folder: Path, *, configuration: Path) -> None:
        """Describe it: `configuration` is the folder that stands in for /etc/ringback."""
        self._image, self._folder = image, folder
        self.name = f"ringback-{os.getpid()}-{folder.name}"
        self._bundle = folder / "bundle"
        self._bundle.mkdir()
        uid, gid = image.user()
        binds: dict[str, tuple[Path, str]] = {"/etc/ringback": (configuration, "ro")}
        for volume in image.configuration["Volumes"]:
            source = folder / volume.replace("/", "_")
            source.mkdir()
            os.chown(source, uid, gid)
            binds[volume] = (source, "rw")
        (self._bundle / "config.json").write_text(json.dumps(self._specification(uid, gid, binds)))
        self.program: Program | None = None

    def _specification(self, uid: int, gid: int, binds: Mapping[str, tuple[Path, str]]) -> dict[str, Any]:
        says = self._image.configuration
        mounts: list[dict[str, Any]] = [
            {"destination": place, "type": kind, "source": source, "options": list(options)}
            for place, kind, source, options in _MOUNTS
        ]
        mounts += [
            {"destination": place, "type": "bind", "source": str(source), "options": ["bind", how]}
            for place, (source, how) in binds.items()
        ]
        return {
            "ociVersion": "1.0.2",
            "root": {"path": str(self._image.root), "readonly": True},
            "process": {
                "args": [*says["Entrypoint"], *says["Cmd"]],
                "cwd": says["WorkingDir"],
                "env": says["Env"],
                "user": {"uid": uid, "gid": gid},
                "capabilities": {},
                "noNewPrivileges": True,
            },
            "mounts": mounts,
            "linux": {"namespaces": [{"type": each} for each in _NAMESPACES]},
        }

    def _runc(self, *arguments: str | Path) -> list[str]:
        return [find_program("runc"), "--root", str(self._folder / "runc"), *map(str, arguments)]

    def start(self) -> Self:
        """Start it."""
        command = self._runc("run", "--bundle", self._bundle, self.name)
        self.program = Program(command, folder=self._folder, name="container")
        return self

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
        _ran(*self._runc("kill", self.name, self._image.configuration["StopSignal"]))

    def __enter__(self) -> Self:
        """Start it."""
        return self.start()

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        """End it, if it still runs."""
        subprocess.run(self._runc("delete", "--force", self.name), capture_output=True, check=False)
        if self.program is not None:
            self.program.stop()
