"""What each measured commit reached, so that a change's cost is seen: `python -m bench.history` from the root.

`bench/history.jsonl` has a line for each `make bench`: commit, day, machine, and every figure that has a bar. Compare
ratios; other figures only between runs of one machine.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import re
import subprocess
import sys
import time
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path

from bench import interpreter

FILE = Path(__file__).with_name("history.jsonl")
SAME_RUN_SECONDS = 4 * 3600
"""The programs of one `make bench` add to one line; a line older than this is another run's."""

SHOWN = 6


@dataclass(frozen=True, slots=True)
class Entry:
    """One run."""

    commit: str
    """With a `+` if the work tree had changes."""
    at: int
    """Seconds since the epoch."""
    machine: str
    figures: Mapping[str, float]


_noted: dict[str, float] = {}


def note(figures: Mapping[str, float | None]) -> None:
    """Keep figures for `record`."""
    _noted.update((name, round(value, 4)) for name, value in figures.items() if value is not None)


def record(file: Path = FILE) -> None:
    """Write what was noted of this commit on this machine: into its line of this run, or a new one."""
    known = dict(_noted)
    entries = read(file)
    commit, now, here = commit_of(file.parent), int(time.time()), machine()
    if entries and (entries[-1].commit, entries[-1].machine) == (commit, here):
        last = entries[-1]
        if now - last.at < SAME_RUN_SECONDS and not known.keys() & last.figures.keys():
            entries.pop()
            known = {**last.figures, **known}
    entries.append(Entry(commit, now, here, known))
    file.write_text("".join(f"{json.dumps(asdict(entry))}\n" for entry in entries), encoding="utf-8")


def read(file: Path = FILE) -> list[Entry]:
    """Return the runs, oldest first."""
    if not file.exists():
        return []
    return [Entry(**json.loads(line)) for line in file.read_text(encoding="utf-8").splitlines()]


def commit_of(folder: Path) -> str:
    """Return the commit of a work tree; `unknown` outside one."""
    try:
        commit = _git(folder, "rev-parse", "--short=10", "HEAD")
        return f"{commit}+" if _git(folder, "status", "--porcelain", "--", ":/proxy", ":/config", ":/sieve") else commit
    except (OSError, subprocess.CalledProcessError):
        return "unknown"


def _git(folder: Path, *arguments: str) -> str:
    done = subprocess.run(["git", *arguments], cwd=folder, capture_output=True, text=True, check=True)
    return done.stdout.strip()


def machine() -> str:
    """Name the processor and the Python."""
    try:
        found = re.search(r"model name\s*:\s*(.*)", Path("/proc/cpuinfo").read_text())
    except OSError:
        found = None
    processor = found[1].strip() if found else platform.machine()
    build = "" if interpreter.optimised() else " not optimised"
    return f"{os.cpu_count()} x {processor}, Python {platform.python_version()}{build}"


def table(entries: list[Entry]) -> str:
    """Return the runs as columns, the newest last."""
    names = dict.fromkeys(name for entry in entries for name in entry.figures)
    wide = max((len(name) for name in names), default=0)
    lines = [" " * wide + "".join(f"{entry.commit:>13}" for entry in entries)]
    lines.append(" " * wide + "".join(f"{time.strftime('%Y-%m-%d', time.gmtime(entry.at)):>13}" for entry in entries))
    for name in names:
        cells = (entry.figures.get(name) for entry in entries)
        lines.append(f"{name:<{wide}}" + "".join(f"{'' if cell is None else f'{cell:.4g}':>13}" for cell in cells))
    machines = dict.fromkeys(entry.machine for entry in entries)
    lines += [f"{', '.join(entry.commit for entry in entries if entry.machine == each)}: {each}" for each in machines]
    return "\n".join(lines)


def main() -> int:
    """Print the last runs."""
    parser = argparse.ArgumentParser(prog="python -m bench.history", description=__doc__.split("\n\n", 1)[0])
    parser.add_argument("--last", type=int, default=SHOWN, help=f"runs shown (default {SHOWN})")
    parser.add_argument("--machine", help="only runs of machines whose name contains this")
    options = parser.parse_args()
    entries = [entry for entry in read() if (options.machine or "") in entry.machine][-options.last :]
    print(table(entries) if entries else f"no run in {FILE.name} yet: make bench writes it")
    return 0


if __name__ == "__main__":
    sys.exit(main())
