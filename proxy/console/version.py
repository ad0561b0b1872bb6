"""What the console prints about the program and its machine."""

from __future__ import annotations

import platform
import sys
from importlib import metadata
from pathlib import Path

VERSION = metadata.version("ringback")


def system() -> str:
    """Return the operating system's name."""
    try:
        release = platform.freedesktop_os_release()
    except OSError:
        return platform.system()
    return release.get("PRETTY_NAME", platform.system())


def word_size() -> int:
    """Return 64, or 32."""
    return 64 if sys.maxsize > 1 << 32 else 32


def resident(pid: int) -> int:
    """Return a process's memory in octets; 0 if it has ended."""
    try:
        for line in Path(f"/proc/{pid}/status").read_text("ascii", "replace").splitlines():
            if line.startswith("VmRSS:"):
                return int(line.split()[1]) * 1024
    except OSError:
        pass
    return 0
