"""What viewers cost the workers: ten `tail`s and two open pages under full load.

Run from the project's root: `python -m bench.viewers [ROUNDS]`. One Ringback gets the same load in turns: without
viewers, with ten `socat`s that follow all events and two browsers' streams, and without viewers again. Beside them, one
`tail` follows the events of a single client. With ROUNDS, nothing is written.

Exit status 1: a bar was missed.
"""

from __future__ import annotations

import asyncio
import statistics
import subprocess
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path

import aiohttp

from bench import report
from bench.figures import PLAIN
from bench.finding import conclude
from bench.observed import Observed, observed
from proxy.base.tasks import TaskOwner, spawn
from proxy.console.places import NAME
from tests.support.consoles import Follower, following
from tests.support.pages import browser, text
from tests.support.programs import find_program, free_port
from tests.support.ringback import ended
from tests.support.waiting import eventually

MOST_SHARE = 1.05
"""Of the workers' processor time without viewers."""

TAILS, ROUNDS = 10, 7
ALONE, REFUSED = "127.0.0.77", 15
"""A client, and how many of its commands are refused in each round."""
SETTLE_SECONDS, PATIENCE_SECONDS = 1.0, 300.0
LOAD = replace(PLAIN, per_connection=PLAIN.messages // PLAIN.sessions)


@dataclass(slots=True)
class Found:
    """Microseconds of the workers' processor time a message."""

    without: list[float] = field(default_factory=list)
    watched: list[float] = field(default_factory=list)
    wanted: int = 0
    """Refusals of the client that one viewer wants to see."""
    seen: int = 0

    @property
    def share(self) -> float:
        """The watched rounds, each of those before and after it."""
        pairs = zip(self.watched, self.without, self.without[1:], strict=False)
        return statistics.median(2 * watched / (before + after) for watched, before, after in pairs)

    @property
    def figures(self) -> dict[str, float]:
        """What the history of benchmarks keeps."""
        return {"workers' CPU a message, ten viewers and two pages / none": self.share}

    def missed(self) -> list[str]:
        """Return the bars that were missed."""
        bars = {
            "processor time with viewers": self.share <= MOST_SHARE,
            "one client's events": self.seen == self.wanted,
        }
        return [name for name, met in bars.items() if not met]

    def section(self) -> str:
        """Return the page's table."""
        rows = [
            ("no viewers", f"{statistics.median(self.without):.0f} µs"),
            (f"{TAILS} tails and two pages", f"{statistics.median(self.watched):.0f} µs"),
            (f"the second / the first, in turns; at most {MOST_SHARE}", f"{self.share:.3f}"),
            ("one client's refusals, and those that a viewer of it saw meanwhile", f"{self.wanted}, {self.seen}"),
        ]
        head = ["one worker, 4 KiB, kept open, full load", "the worker's processor time a message"]
        return f"{report.machine()}\n\n{report.markdown(head, rows)}"


def spent(process: int) -> int:
    """Return the nanoseconds that a process's threads have run (proc(5), schedstat)."""
    return sum(int((each / "schedstat").read_text().split()[0]) for each in Path(f"/proc/{process}/task").iterdir())


async def measure(rounds: int) -> Found:
    """Run everything."""
    found, port = Found(), free_port()
    async with observed("viewers", f"Web_Listener = ( 127.0.0.1:{port} )") as on:
        await on.leg.run(replace(LOAD, messages=1000, per_connection=50))
        found.without.append(await _used(on))
        for _ in range(rounds):
            async with viewers(on, port) as lines:
                used, _ = await asyncio.gather(_used(on), _one_client(on, found))
                found.watched.append(used)
                with suppress(AssertionError):  # told by the bar
                    await eventually(partial(_are_there, lines), "its events come")
                found.seen += len(lines)
            found.without.append(await _used(on))
    return found


def _are_there(lines: list[str]) -> bool:
    return len(lines) >= REFUSED


async def _used(on: Observed) -> float:
    (worker,) = on.ringback.workers
    before = spent(worker)
    await on.leg.run(LOAD)
    return (spent(worker) - before) / LOAD.messages / 1000


async def _one_client(on: Observed, found: Found) -> None:
    """Be one client among the others. Its commands are refused, so its events can be told from theirs."""
    async with await on.ringback.conversation(source=ALONE) as client:
        await client.ask("EHLO alone.test")
        for _ in range(REFUSED):
            await client.ask("MAIL FROM:<a@@b>")
            await asyncio.sleep(0.02)
        found.wanted += REFUSED
        await client.quit()


@asynccontextmanager
async def viewers(on: Observed, port: int) -> AsyncIterator[list[str]]:
    """Look on; yield the refusals that the viewer of one client sees."""
    owner, seen = TaskOwner("viewers"), list[str]()
    async with AsyncExitStack() as stack:
        stack.push_async_callback(owner.cancel)
        door = f"UNIX-CONNECT:{on.state / NAME}"
        for _ in range(TAILS):
            tail = await asyncio.create_subprocess_exec(
                find_program("socat"), "-", door, stdin=subprocess.PIPE, stdout=subprocess.DEVNULL
            )
            stack.callback(tail.kill)
            assert tail.stdin is not None
            tail.stdin.write(b"tail\n")
            await tail.stdin.drain()
        one = await stack.enter_async_context(following(on.state, f"tail client={ALONE} event=refused --json"))
        spawn(_read(one, seen), name="one client", owner=owner)
        pages = await stack.enter_async_context(browser(read_bufsize=1 << 20))
        _, link, _ = await asyncio.to_thread(ended, "page", "-c", on.ringback.configuration)
        await text(pages, link.strip())
        for view in ("now", "live"):
            spawn(_watch(pages, f"http://127.0.0.1:{port}/stream/{view}"), name=view, owner=owner)
        await asyncio.sleep(SETTLE_SECONDS)
        yield seen


async def _read(viewer: Follower, seen: list[str]) -> None:
    while True:
        seen.append(await viewer.line(within=PATIENCE_SECONDS))


async def _watch(pages: aiohttp.ClientSession, stream: str) -> None:
    async with pages.get(stream, timeout=aiohttp.ClientTimeout(None)) as answer:
        async for _ in answer.content.iter_any():
            pass


if __name__ == "__main__":
    conclude("viewers", measure, ROUNDS)
