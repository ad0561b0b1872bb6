"""The course of the demonstration: open the world, send the samples, judge them, stay up.

`show` is synchronous and owns the event loop; everything below it ends when the loop does.
"""

from __future__ import annotations

import asyncio
import io
import json
import os
import signal
from collections.abc import Callable, Sequence
from contextlib import suppress

import uvloop
from rich.console import Console

from config.diagnostics import render
from proxy.base import log_output
from proxy.base.rejected import ConfigurationRejected
from proxy.base.tasks import TaskOwner, spawn
from proxy.demo import samples
from proxy.demo.client import PATIENCE, send
from proxy.demo.samples import SILENT, Check, Observed, Sample, judge
from proxy.demo.screen import Screen
from proxy.demo.timeline import PeerRole, Timeline
from proxy.demo.world import DemoWorld, Load, Unavailable, open_world

VERDICT = "verdict: "

VERDICT_SECONDS = 2.0
"""How long a verdict may be under way from the log to the timeline."""


def show(load: Load, *, once: bool) -> int:
    """Run everything to its end and return the exit status; see `proxy.demo.run`."""
    console = Console(highlight=False)
    screen, timeline = Screen(console), Timeline()
    log_output.configure(LogTap(timeline, screen.trouble))
    try:
        with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
            return runner.run(_course(screen, timeline, load, once=once))
    except KeyboardInterrupt:
        return 128 + signal.SIGINT
    except Unavailable as lacking:
        Console(stderr=True).print(str(lacking), markup=False, highlight=False)
        return os.EX_UNAVAILABLE
    except ConfigurationRejected as rejected:
        Console(stderr=True).print(render(rejected.diagnostics), markup=False, highlight=False, end="")
        return os.EX_CONFIG


async def _course(screen: Screen, timeline: Timeline, load: Load, *, once: bool) -> int:
    """Send the samples; unless `once`, stay up until a signal."""
    async with open_world(timeline, load) as world:
        screen.world(world)
        timeline.take()
        results = [(sample, await _perform(number, sample, world, screen)) for number, sample in _numbered()]
        screen.summary(results)
        if not once:
            await _stay_up(world, screen)
    if not once:
        screen.ended()
    return 0 if all(check.held for _, checks in results for check in checks) else 1


def _numbered() -> list[tuple[int, Sample]]:
    return list(enumerate(samples.ALL, start=1))


async def _perform(number: int, sample: Sample, world: DemoWorld, screen: Screen) -> Sequence[Check]:
    """Send one sample, show what happened and return how it compares."""
    world.forget()
    seen = await _observe(sample, world)
    await _told(world.timeline, len(seen.calls))
    screen.sample(number, sample, world.timeline.take())
    if number == 1:
        for delivery in seen.deliveries:
            screen.delivery(delivery)
    checks = judge(sample, seen)
    screen.verdict(checks)
    return checks


async def _told(timeline: Timeline, verdicts: int) -> None:
    """Wait until the timeline has all verdicts: they come from the log, whose lines another thread writes."""
    with suppress(TimeoutError):
        async with asyncio.timeout(VERDICT_SECONDS):
            while sum(each.text.startswith(VERDICT) for each in timeline.events) < verdicts:  # noqa: ASYNC110 - a thread
                await asyncio.sleep(0.01)


async def _observe(sample: Sample, world: DemoWorld) -> Observed:
    """Send the sample's letter, and its companion's while the first waits for the silent exchanger."""
    owner = TaskOwner("demo")
    name = "client" if sample.companion is None else "client 1"
    first = spawn(send(world.address, sample.letter, world.timeline, name), name=name, owner=owner)
    second = None
    if sample.companion is not None:
        async with asyncio.timeout(PATIENCE):
            await world.exchangers[SILENT].connected.wait()
        second = await send(world.address, sample.companion, world.timeline, "client 2")
    return Observed(await first, second, world.calls(), world.asked(), tuple(world.upstream.deliveries))


async def _stay_up(world: DemoWorld, screen: Screen) -> None:
    """Show what happens until SIGINT or SIGTERM."""
    loop, ended = asyncio.get_running_loop(), asyncio.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, ended.set)
    world.timeline.listener = screen.live
    world.upstream.on_delivery = screen.delivery
    screen.by_hand(world)
    await ended.wait()
    world.timeline.listener = None


class LogTap(io.StringIO):
    """Takes the server's log, JSON lines: verdicts of probes go into the timeline, errors to the person."""

    def __init__(self, timeline: Timeline, trouble: Callable[[str], None]) -> None:
        """Hand verdicts to `timeline` and whole lines that report errors to `trouble`."""
        super().__init__()
        self._timeline, self._trouble = timeline, trouble

    def write(self, text: str) -> int:
        """Take one event."""
        for line in text.splitlines():
            event = json.loads(line)
            if event["event"] == "probe":
                verdict = f"{VERDICT}{event['status']}, {event['reason'].replace('_', ' ')}"
                self._timeline.remark(PeerRole.RINGBACK, "", verdict)
            if event["level"] == "error":
                self._trouble(line)
        return len(text)
