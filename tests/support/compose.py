"""The services of docker-compose.yml as processes on loopback, each with the file that its container mounts.

Only what a container has of its own is replaced in a file: addresses, ports and folders. A replacement that finds
nothing fails, so that a file that changes does not lose its test.
"""

from __future__ import annotations

import os
import pwd
import shutil
import subprocess
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ruamel.yaml import YAML

from tests.support.mortal import Mortal
from tests.support.programs import find_program, free_port
from tests.support.ringback import ROOT, Setup
from tests.support.servers import POSTFIX_DAEMONS, Server

DOCKER = ROOT / "etc/docker"
COMPOSE = (ROOT / "docker-compose.yml").read_text()


def compose(text: str = COMPOSE) -> dict[str, Any]:
    """Return the file, or another text of it."""
    loaded: dict[str, Any] = YAML(typ="safe").load(text)
    return loaded


def services() -> dict[str, Any]:
    """Return its services by name."""
    return dict(compose()["services"])


def placed(text: str, places: Mapping[str, str]) -> str:
    """Replace what a container has of its own."""
    for container, here in places.items():
        assert container in text, f"{container!r} is not there any more"
        text = text.replace(container, here)
    return text


@dataclass(frozen=True, slots=True, kw_only=True)
class Shipped(Setup):
    """A configuration of etc/docker, as a container runs it; `places` are of the files that it includes, too."""

    nameserver: str = "127.0.0.1:9"
    upstream_port: int = 0
    file: str = "ecelerity.conf"
    places: Mapping[str, str] = field(default_factory=dict)
    lines: Sequence[str] = ()
    """What is added at the end."""
    metrics_port: int = field(default_factory=free_port)

    def write(self, folder: Path) -> Path:
        """Copy etc, and put it into its place; return the path of the configuration."""
        shutil.copytree(ROOT / "etc", folder / "etc")
        for name in ("state", "spool"):
            (folder / name).mkdir(mode=0o700)
        docker = folder / "etc/docker"
        first = docker / "ecelerity.conf"
        first.write_text(placed(first.read_text(), self._of_container(folder)))
        path = docker / self.file
        end = [f'State_Directory = "{folder}/state"', f'Nameservers = ( "{self.nameserver}" )', *self.lines]
        path.write_text(placed(path.read_text(), self.places) + "\n".join(["", *end, ""]))
        return path

    def _of_container(self, folder: Path) -> dict[str, str]:
        gateway = 'Gateway = "mailpit"\nRemote_SMTP_Port = 1025'
        return {
            "0.0.0.0:2525": f"127.0.0.1:{self.listen_port}",
            "0.0.0.0:9025": f"127.0.0.1:{self.metrics_port}",
            "0.0.0.0:9026": f"127.0.0.1:{free_port()}",
            "/var/spool/ringback": f"{folder}/spool",
            'Hostname = "mx.example.com"': 'Hostname = "ringback.test"',
            gateway: f'Gateway = "127.0.0.1"\nRemote_SMTP_Port = {self.upstream_port}',
        }


class ComposedHaproxy(Server):
    """HAProxy with etc/docker/haproxy.cfg."""

    program = "haproxy"

    def __init__(self, *behind: int) -> None:
        """Name the ports of the Ringbacks."""
        super().__init__()
        self._behind = behind

    def _prepare(self) -> list[str]:
        places = {"bind :2525": f"bind 127.0.0.1:{self.port}"}
        places |= {
            f"server ringback-{number} ringback-{number}:2525": f"server ringback-{number} 127.0.0.1:{port}"
            for number, port in enumerate(self._behind, 1)
        }
        file = self.folder / "haproxy.cfg"
        file.write_text(placed((DOCKER / "haproxy.cfg").read_text(), places))
        return [find_program(self.program), "-db", "-f", str(file)]


class ComposedRedis(Mortal):
    """Redis with etc/docker/redis.conf; it may be killed, and comes back with what it wrote."""

    program = "redis-server"

    def _prepare(self) -> list[str]:
        places = {
            "bind 0.0.0.0": "bind 127.0.0.1",
            "port 6379": f"port {self.port}",
            "dir /var/lib/redis": f"dir {self.folder}",
        }
        file = self.folder / "redis.conf"
        file.write_text(placed((DOCKER / "redis.conf").read_text(), places))
        return [find_program(self.program), str(file)]


class ComposedPostfix(Server):
    """Postfix with main.cf and master.cf of etc/docker/postfix."""

    program = "postfix"

    def __init__(self, shown_at: int) -> None:
        """Name the port of the service that shows the mail."""
        super().__init__()
        self._shown_at = shown_at

    @property
    def log(self) -> str:
        """Its mail log so far."""
        return (self.folder / "mail.log").read_text(errors="backslashreplace")

    def _prepare(self) -> list[str]:
        places = {
            "smtp:[mailpit]:1025": f"smtp:[127.0.0.1]:{self._shown_at}",
            "172.28.25.10": "127.0.0.1",
            "/dev/stdout": f"{self.folder}/mail.log",
            "inet_interfaces = all": "inet_interfaces = 127.0.0.1",
        }
        owner = pwd.getpwnam("postfix")
        for name, user in (("queue", 0), ("data", owner.pw_uid)):
            (self.folder / name).mkdir()
            os.chown(self.folder / name, user, 0)
        folders = f"queue_directory = {self.folder}/queue\ndata_directory = {self.folder}/data\n"
        folders += f"maillog_file_prefixes = {self.folder}\n"
        main = placed((DOCKER / "postfix/main.cf").read_text(), places)
        (self.folder / "main.cf").write_text(main + folders)
        master = (DOCKER / "postfix/master.cf").read_text()
        (self.folder / "master.cf").write_text(placed(master, {"smtp      inet": f"127.0.0.1:{self.port} inet"}))
        check = [find_program("postfix"), "-c", str(self.folder), "check"]
        done = subprocess.run(check, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr
        assert "warning" not in done.stderr, done.stderr
        return [str(POSTFIX_DAEMONS / "master"), "-c", str(self.folder), "-d"]


class ComposedPrometheus(Server):
    """Prometheus with etc/docker/prometheus.yml and the rules that ship."""

    program = "prometheus"

    def __init__(self, target: int) -> None:
        """Name the port of Ringback's metrics."""
        super().__init__()
        self._target = target

    def _prepare(self) -> list[str]:
        places = {
            '"ringback:9025"': f'"127.0.0.1:{self._target}"',
            "/etc/prometheus/ringback.rules.yml": str(ROOT / "share/prometheus/ringback.rules.yml"),
            "scrape_interval: 15s": "scrape_interval: 1s",
            "evaluation_interval: 15s": "evaluation_interval: 1s",
        }
        file = self.folder / "prometheus.yml"
        file.write_text(placed((DOCKER / "prometheus.yml").read_text(), places))
        where = [f"--storage.tsdb.path={self.folder}/data", f"--web.listen-address={self.address}"]
        return [find_program(self.program), f"--config.file={file}", *where]
