"""Haraka as a relay: installed by npm under build/ when it is first wanted, run as a cluster, one process a core."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from pathlib import Path

from tests.support.programs import MissingProgramError
from tests.support.servers import Server

INSTALLED = Path(__file__).resolve().parents[1] / "build" / "haraka"
"""Outlives a run, so that npm is asked once."""

INSTALL_SECONDS = 180.0
PACKAGE = "Haraka"


def install() -> Path:
    """Return the folder of the package, installing it if it is not there.

    Raises:
        MissingProgramError: there is no node or npm, or the registry cannot be reached; the reason is the message.
    """
    package = INSTALLED / "node_modules" / PACKAGE
    if (package / "package.json").exists():
        return package
    for program in ("node", "npm"):
        if shutil.which(program) is None:
            raise MissingProgramError(f"{program} is not installed")
    INSTALLED.mkdir(parents=True, exist_ok=True)
    arguments = ["npm", "install", "--omit=optional", "--no-fund", "--no-audit", "--prefix", str(INSTALLED), PACKAGE]
    try:
        done = subprocess.run(arguments, capture_output=True, text=True, check=False, timeout=INSTALL_SECONDS)
    except subprocess.TimeoutExpired:
        raise MissingProgramError(f"npm install {PACKAGE} took over {INSTALL_SECONDS:.0f} s") from None
    if done.returncode != 0:
        last = (done.stderr.strip().splitlines() or ["no message"])[-1]
        raise MissingProgramError(f"npm install {PACKAGE} failed: {last}")
    return package


def version() -> str:
    """Return the installed version; empty if Haraka is not installed."""
    try:
        return str(json.loads((INSTALLED / "node_modules" / PACKAGE / "package.json").read_text())["version"])
    except OSError:
        return ""


class Haraka(Server):
    """An instance that takes mail for one domain and hands it to an upstream as it comes: `queue/smtp_proxy`."""

    program = "node"

    def __init__(self, upstream_port: int, domain: str) -> None:
        super().__init__()
        self._package = install()
        self._upstream_port, self._domain = upstream_port, domain

    def _prepare(self) -> list[str]:
        files = {
            "plugins": "rcpt_to.in_host_list\nqueue/smtp_proxy\n",
            "host_list": f"{self._domain}\n",
            "loglevel": "LOGERROR\n",
            "me": "haraka.test\n",
            "smtp.ini": f"listen=127.0.0.1:{self.port}\nnodes={os.cpu_count() or 1}\n",
            "smtp_proxy.ini": f"host=127.0.0.1\nport={self._upstream_port}\n",
            "databytes": f"{64 << 20}\n",
        }
        program = str(self._package / "bin" / "haraka")
        instance = self.folder / "instance"
        subprocess.run(["node", program, "-i", str(instance)], capture_output=True, check=True)
        configuration = instance / "config"
        for name, text in files.items():
            (configuration / name).write_text(text)
        return ["node", program, "-c", str(instance)]
