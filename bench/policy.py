"""What the policy to start from costs: alone on a machine, and with its counts in Redis.

Run from the project's root: `python -m bench.policy [ROUNDS]`. Three Ringbacks with two workers take turns: one with
the customer's callback script only, one with etc/start_policy.conf, whose numbers are raised so
that no message is refused, and one that also counts in a Redis on loopback. With ROUNDS, nothing is written.

Exit status 1: a bar was missed.
"""

from __future__ import annotations

import asyncio
import statistics
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, replace

from bench import report
from bench.figures import PLAIN
from bench.finding import conclude
from bench.loads import RECIPIENT, SENDER, Leg, Run
from bench.sink import XclientSink
from bench.steady import offer
from bench.world import farmed
from tests.support.programs import Folder
from tests.support.ringback import PRINTED_STANZAS, Ringback, Setup
from tests.support.servers import RedisServer
from tests.support.start_policy import stanzas, write_scripts

MOST_MICROSECONDS = 150.0
"""Of processor time that the policy may add to a message, over all processes."""

MOST_LATER = 1.0
"""Milliseconds that Redis may add to the median message."""

LEAST_SHARE = 0.85
"""Of the messages a second without Redis."""

BARE, POLICY, REDIS = "the callback script only", "the start policy", "the start policy, counts in Redis"
ROUNDS = 5
OFFER_SECONDS = 10.0

LOAD = replace(PLAIN, per_connection=PLAIN.messages // PLAIN.sessions)


@dataclass(frozen=True, slots=True)
class Running:
    """One Ringback."""

    leg: Leg


@asynccontextmanager
async def running(name: str, policy: str, *lines: str) -> AsyncIterator[Running]:
    """Put up a Ringback with two workers before our own sink."""
    async with AsyncExitStack() as stack:
        sink, world, folder = stack.enter_context(XclientSink()), stack.enter_context(farmed(0.0)), Folder(name)
        stack.callback(folder.remove)
        write_scripts(folder.path)
        core = ["Workers = 2", f'State_Directory = "{folder.path}"', *lines]
        setup = Setup(
            upstream_port=sink.port, nameserver=f"127.0.0.1:{world.nameserver}", exchanger_port=world.port, core=core,
            stanzas=policy,
        )  # fmt: skip
        ringback = Ringback(setup, folder.path).start()
        stack.push_async_callback(asyncio.to_thread, ringback.stop)
        await _known(ringback)
        yield Running(Leg(name, ringback.port, sink, ringback.program))


async def _known(ringback: Ringback) -> None:
    """Attempt the mail that will be sent, and wait until greylisting lets it pass."""
    for pause in (0.5, 0.0):
        async with await ringback.conversation() as client:
            await client.ehlo()
            await client.ask(f"MAIL FROM:<{SENDER}>")
            await client.ask(f"RCPT TO:<{RECIPIENT}>")
        await asyncio.sleep(pause)


@dataclass(slots=True)
class Found:
    """What was measured."""

    rates: dict[str, float]
    used: dict[str, float]
    """Microseconds of processor time a message."""
    medians: dict[str, float]
    """Milliseconds of the median message at a third of the slowest rate."""

    @property
    def added(self) -> float:
        """What the policy adds to a message, in microseconds."""
        return self.used[POLICY] - self.used[BARE]

    @property
    def later(self) -> float:
        """What Redis adds to the median message, in milliseconds."""
        return self.medians[REDIS] - self.medians[POLICY]

    @property
    def share(self) -> float:
        """The rate with Redis, of the rate without."""
        return self.rates[REDIS] / self.rates[POLICY]

    def missed(self) -> list[str]:
        """Return the bars that were missed."""
        bars = {
            "processor time": self.added <= MOST_MICROSECONDS,
            "p50 with Redis": self.later <= MOST_LATER,
            "rate with Redis": self.share >= LEAST_SHARE,
        }
        return [name for name, met in bars.items() if not met]

    @property
    def figures(self) -> dict[str, float]:
        """What the history of benchmarks keeps."""
        return {"start policy, µs a message": self.added, "messages/s, Redis / memory": self.share}

    def section(self) -> str:
        """Return the page's table."""
        rows = [
            (name, f"{rate:,.0f}/s", f"{self.used[name]:.0f} µs", f"{self.medians[name]:.2f} ms")
            for name, rate in self.rates.items()
        ]
        told = (
            f"The policy adds {self.added:.0f} µs to a message (at most {MOST_MICROSECONDS:.0f}). Redis adds "
            f"{self.later:.2f} ms to the median (at most {MOST_LATER:.0f}), and has {self.share:.2f} of the rate "
            f"(at least {LEAST_SHARE})."
        )
        head = ["two workers, 4 KiB, kept open", "full load", "processor time a message", "p50 at a third"]
        return f"{report.machine()}\n\n{report.markdown(head, rows)}\n\n{told}"


async def measure(rounds: int) -> Found:
    """Run everything."""
    with RedisServer() as redis:
        async with (
            running("bare", PRINTED_STANZAS) as bare,
            running("policy", stanzas()) as policy,
            running("redis", stanzas(), f'Script_Store = "redis://{redis.address}/0"') as shared,
        ):
            legs = {BARE: bare, POLICY: policy, REDIS: shared}
            for each in legs.values():
                await each.leg.run(replace(LOAD, messages=500, per_connection=25))
            runs: dict[str, list[Run]] = {name: [] for name in legs}
            for _ in range(rounds):
                for name, each in legs.items():
                    runs[name].append(await each.leg.run(LOAD))
            rates = {name: statistics.median(run.rate for run in each) for name, each in runs.items()}
            used = {name: statistics.median(run.processor for run in each) for name, each in runs.items()}
            offered = min(rates.values()) / 3
            medians = {}
            for name, each in legs.items():
                medians[name] = (await offer(each.leg, offered, OFFER_SECONDS, LOAD.size, keep_open=True)).median
    return Found(rates, used, medians)


if __name__ == "__main__":
    conclude("policy", measure, ROUNDS)
