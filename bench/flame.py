"""Where the processor time of a message goes: `python -m bench.flame` from the project's root draws it.

    python -m bench.flame                    docs/flame-kept.svg and docs/flame-new.svg
    python -m bench.flame kept --top 20      one of them, and the 20 most expensive functions

A worker serves the load of `bench.calls` without a profiler. A timer of the processor's time interrupts it, and the
functions that run then are a sample. In the picture, a function is above the one that called it, and is as wide as its
share of the samples. What the kernel does for a function, such as sending, is part of it.
"""

from __future__ import annotations

import argparse
import signal
import sys
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from html import escape
from pathlib import Path
from types import FrameType

import uvloop

from bench.calls import room
from tests.support import calls
from tests.support.programs import Folder

INTERVAL_SECONDS = 0.001
"""Between two samples; the kernel's clock makes it 4 ms on most machines."""

MESSAGES = 60_000
DOCS = Path(__file__).resolve().parents[1] / "docs"

WIDTH, HEIGHT, LETTER = 1200, 17, 6.6
"""The width of the picture, the height of a function in it, and the width of a letter."""

NARROWEST = 0.6
"""Narrower functions are left out."""

COLOURS = {"proxy/smtp": "#f4a582", "proxy/upstream": "#92c5de", "proxy/outgoing": "#92c5de", "sieve": "#b8e186"}
COLOURS |= {"proxy/modules": "#b8e186", "proxy/callback": "#fddbc7", "proxy/base": "#d9d9d9", "proxy/mail": "#f7d488"}
OTHER_COLOUR = "#eeeeee"

Stack = tuple[str, ...]


@dataclass(slots=True)
class Node:
    """A function in its place: its samples, and the functions that it called."""

    samples: int = 0
    own: int = 0
    called: dict[str, Node] = field(default_factory=dict)

    def add(self, stack: Stack, samples: int) -> None:
        """Take the samples of a stack, the outermost function first."""
        self.samples += samples
        if not stack:
            self.own += samples
            return
        self.called.setdefault(stack[0], Node()).add(stack[1:], samples)

    @property
    def height(self) -> int:
        """How many calls deep its tower is, itself included."""
        return 1 + max([each.height for each in self.called.values()], default=0)


def sampled(mode: str, messages: int) -> Counter[Stack]:
    """Serve messages, and return the stacks that the timer met in their second half."""
    stacks: Counter[Stack] = Counter()

    def take(_signal: int, frame: FrameType | None) -> None:
        found = []
        while frame is not None:
            found.append(f"{room(frame.f_code.co_filename)}:{frame.f_code.co_qualname}")
            frame = frame.f_back
        stacks[tuple(reversed(found))] += 1

    @contextmanager
    def watching() -> Iterator[None]:
        before = signal.signal(signal.SIGPROF, take)
        signal.setitimer(signal.ITIMER_PROF, INTERVAL_SECONDS, INTERVAL_SECONDS)
        try:
            yield
        finally:
            signal.setitimer(signal.ITIMER_PROF, 0)
            signal.signal(signal.SIGPROF, before)

    folder = Folder("flame")
    try:
        uvloop.run(calls.serve(folder.path, mode, messages, watching()))
    finally:
        folder.remove()
    return Counter({_of_the_session(stack): count for stack, count in stacks.items()})


def _of_the_session(stack: Stack) -> Stack:
    """Return a stack without what is below the worker: this program and the loop."""
    first = next((at for at, name in enumerate(stack) if name.startswith(("proxy/", "sieve/"))), len(stack))
    return stack[first:] or ("the loop",)


def drawn(root: Node, title: str) -> str:
    """Return the picture."""
    rows = root.height
    height = (rows + 1) * HEIGHT + 8
    space, font = "http://www.w3.org/2000/svg", 'font-family="monospace" font-size="11"'
    parts = [
        f'<svg xmlns="{space}" viewBox="0 0 {WIDTH} {height}" {font}>',
        f'<rect width="{WIDTH}" height="{height}" fill="white"/>',
        f'<text x="4" y="13">{escape(title)}</text>',
        *_boxes("all", root, 0.0, WIDTH / root.samples, height - HEIGHT - 4, root.samples),
        "</svg>",
    ]
    return "\n".join(parts) + "\n"


def _boxes(name: str, node: Node, left: float, scale: float, top: float, whole: int) -> Iterator[str]:
    width = node.samples * scale
    if width < NARROWEST:
        return
    share = f"{100 * node.samples / whole:.1f} %"
    colour = next((value for key, value in COLOURS.items() if name.startswith(key)), OTHER_COLOUR)
    yield f"<g><title>{escape(name)}: {share}, own {100 * node.own / whole:.1f} %</title>"
    yield (
        f'<rect x="{left:.1f}" y="{top:.0f}" width="{width:.1f}" height="{HEIGHT - 1}" fill="{colour}"'
        ' stroke="white" stroke-width="0.5"/>'
    )
    short = name.rpartition(":")[2].rpartition(".<locals>.")[2][: int(width / LETTER)]
    if len(short) > 2:
        yield f'<text x="{left + 2:.1f}" y="{top + 12:.0f}">{escape(short)}</text>'
    yield "</g>"
    for each, called in sorted(node.called.items()):
        yield from _boxes(each, called, left, scale, top - HEIGHT, whole)
        left += called.samples * scale


def dearest(stacks: Counter[Stack], top: int) -> list[tuple[str, float, float]]:
    """Return the functions with the most time of their own, in per cent: without and with what they called."""
    own: Counter[str] = Counter()
    whole: Counter[str] = Counter()
    for stack, count in stacks.items():
        own[stack[-1]] += count
        for name in set(stack):
            whole[name] += count
    each = 100 / stacks.total()
    return [(name, count * each, whole[name] * each) for name, count in own.most_common(top)]


def main() -> int:
    """Sample, draw and print."""
    parser = argparse.ArgumentParser(prog="python -m bench.flame", description=__doc__.split("\n\n", 1)[0])
    parser.add_argument("modes", nargs="*", default=[], metavar="MODE", help="kept, new (default: both)")
    parser.add_argument("--top", type=int, default=10, help="functions shown (default 10)")
    parser.add_argument("--messages", type=int, default=MESSAGES, help=f"default {MESSAGES}")
    parser.add_argument("--folder", type=Path, default=DOCS, help="where the pictures go")
    options = parser.parse_args()
    for mode in options.modes or ("kept", "new"):
        if mode not in calls.BARS:
            parser.error(f"{mode} is not a mode: write kept or new")
        stacks, root = sampled(mode, options.messages), Node()
        for stack, count in stacks.items():
            root.add(stack, count)
        title = f"Processor time of a message, {'kept open' if mode == 'kept' else mode}: {root.samples} samples"
        (options.folder / f"flame-{mode}.svg").write_text(drawn(root, title), encoding="utf-8")
        print(f"\n{title}\n{'own %':>8} {'all %':>7}  function")
        for name, own, everything in dearest(stacks, options.top):
            print(f"{own:8.1f} {everything:7.1f}  {name}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
