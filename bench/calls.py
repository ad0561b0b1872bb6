"""Function calls a message, by file: `python -m bench.calls` from the project's root, in 10 seconds.

    python -m bench.calls                    kept-open and new connections
    python -m bench.calls kept --top 30      one mode, the 30 dearest functions
    python -m bench.calls new --callers reply  who calls functions whose name contains this
    python -m bench.calls kept --save FILE   the profile, for pstats or snakeviz

A worker serves 2,000 messages of 4 KiB with the customer's script and a remembered sender; the second half is counted
(see `tests/support/calls.py`). Calls include coroutines resumed and builtins, each counted in the file that calls it.
Times are cProfile's, which makes calls dearer than they are: they rank functions, no more. Exit status 1: over a bar.
"""

from __future__ import annotations

import argparse
import sys
from collections import Counter
from pathlib import Path
from typing import Any

from tests.support import calls

ROOT = str(Path(__file__).resolve().parents[1])
BUILTIN = "~"

Function = tuple[str, int, str]
"""As pstats names it: file, line, name."""


def room(path: str) -> str:
    """Return a file's name: the project's from its root, others from their package."""
    if path.startswith(ROOT) and "site-packages" not in path:
        return path.removeprefix(f"{ROOT}/")
    return path.rpartition("site-packages/")[2] if "site-packages" in path else "/".join(path.split("/")[-2:])


def by_room(entries: dict[Function, Any]) -> dict[str, Counter[str]]:
    """Return for each file how often its functions were called, and how often it called builtins."""
    rooms: dict[str, Counter[str]] = {"own": Counter(), "builtin": Counter()}
    for (path, _, _), (_, count, _, _, callers) in entries.items():
        if path != BUILTIN:
            rooms["own"][room(path)] += count
            continue
        known = {caller: times[0] for caller, times in callers.items()}
        for caller, times in known.items():
            rooms["builtin"][room(caller[0]) if caller[0] != BUILTIN else "(builtins)"] += times
        rooms["builtin"]["(the loop)"] += count - sum(known.values())
    return rooms


def shown(found: calls.Counted, mode: str, top: int, callers: str | None) -> None:
    """Print the sums, the rooms and the dearest functions."""
    entries: dict[Function, Any] = found.stats.stats  # type: ignore[attr-defined]  # typeshed lacks it
    each = found.messages
    print(
        f"\n{mode}: {found.per_message:,.0f} calls a message (bar {calls.BARS[mode]:.0f}):"
        f" loop {found.loop / each:,.1f}, other threads {found.threads / each:,.1f}"
    )
    rooms = by_room(entries)
    print(f"\n{'calls':>8} {'own':>7} {'builtin':>8}  file")
    for name, count in (rooms["own"] + rooms["builtin"]).most_common(max(top, 25)):
        print(f"{count / each:8.1f} {rooms['own'][name] / each:7.1f} {rooms['builtin'][name] / each:8.1f}  {name}")
    for title, key in (("by own time", 2), ("by calls", 1)):
        print(f"\n{'calls':>8} {'own us':>7} {'all us':>7}  {title}")
        for function, entry in sorted(entries.items(), key=lambda item: -item[1][key])[:top]:
            own, everything = entry[2] / each * 1e6, entry[3] / each * 1e6
            print(f"{entry[1] / each:8.1f} {own:7.1f} {everything:7.1f}  {_named(function)}")
    if callers:
        found.stats.print_callers(callers)


def _named(function: Function) -> str:
    path, line, name = function
    return name if path == BUILTIN else f"{room(path)}:{line} {name}"


def main() -> int:
    """Count and print."""
    parser = argparse.ArgumentParser(prog="python -m bench.calls", description=__doc__.split("\n\n", 1)[0])
    parser.add_argument("modes", nargs="*", default=[], metavar="MODE", help="kept, new (default: both)")
    parser.add_argument("--top", type=int, default=10, help="functions shown (default 10)")
    parser.add_argument("--messages", type=int, default=calls.MESSAGES, help=f"default {calls.MESSAGES}")
    parser.add_argument("--callers", metavar="NAME", help="who calls functions whose name matches")
    parser.add_argument("--save", metavar="FILE", help="write the last mode's profile")
    options = parser.parse_args()
    met = True
    for mode in options.modes or calls.BARS:
        if mode not in calls.BARS:
            parser.error(f"{mode} is not a mode: write kept or new")
        found = calls.run(mode, options.messages)
        shown(found, mode, options.top, options.callers)
        met &= found.per_message <= calls.BARS[mode]
        if options.save:
            found.stats.dump_stats(options.save)
    return 0 if met else 1


if __name__ == "__main__":
    sys.exit(main())
