"""A machine that asks: callbacks by the product's own defaults in a process of its own, and what they did to others.

`python -m tests.support.replica PLAN` reads a plan as JSON, asks for its messages and prints a report as JSON. Every
connection is seen where it leaves, by Python's audit events, since a dead exchanger sees none of them.
"""

from __future__ import annotations

import asyncio
import ipaddress
import json
import sys
import time
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from structlog.testing import capture_logs

from proxy.callback.limits.budgets import Neighbour
from proxy.callback.verifier import CallbackVerifier
from proxy.modules.smtp_cbv.making import callbacks_of
from proxy.modules.smtp_cbv.options import SmtpCbvOptions
from proxy.options.core import CoreOptions
from proxy.options.store import parse_store_url
from proxy.store import redis

AT_ONCE = 150
"""Messages under way at a time."""

TIMEOUT, WAIT = 4.0, 1.0
"""For a probe, and for who asks: shorter than the product's, since tarpits and dead hosts will be waited for."""

STORE_SECONDS = 30.0
"""For a reply of Redis: while it is late, each machine counts by itself, and both together spend twice."""


@dataclass(frozen=True, slots=True)
class Plan:
    """What a machine shall do."""

    messages: list[tuple[str, str]]
    """Senders, each with the network of the client that brings it."""
    port: int
    nameserver: str
    store: str


@dataclass(frozen=True, slots=True)
class Report:
    """What it did."""

    began: float
    """Seconds since the epoch; so are the times of the connections."""
    connections: list[tuple[float, str]]
    spent: list[tuple[float, str]]
    """When something was taken from a budget, and the bucket's name."""
    verdicts: dict[str, int]
    """How often there was which, as `status reason`."""
    failed: list[str]
    """Addresses that do not exist by the verdicts."""
    breakers: list[str] = field(default_factory=list)
    """Addresses whose breaker opened."""
    errors: list[str] = field(default_factory=list)
    """What the log calls an error."""


def watched(port: int) -> list[tuple[float, str]]:
    """Return a list to which every connection to the port is added when it is begun."""
    begun: list[tuple[float, str]] = []

    def hear(event: str, given: tuple[object, ...]) -> None:
        if event == "socket.connect" and isinstance(place := given[1], tuple) and place[1] == port:
            begun.append((time.time(), place[0]))

    sys.addaudithook(hear)
    return begun


def spending() -> list[tuple[float, str]]:
    """Return a list to which every charge of a budget is added when the store has granted it.

    What a charge pays for may leave much later on a busy machine, and two connections in one network cost one charge.
    """
    spent: list[tuple[float, str]] = []
    original = Neighbour._taken

    async def taken(self: Neighbour, charges: Any, granted: Any) -> bool:
        done = await original(self, charges, granted)
        if done:
            spent.extend((time.time(), key) for key, _, _ in charges)
        return done

    Neighbour._taken = taken  # type: ignore[method-assign]
    return spent


async def run(plan: Plan) -> Report:
    """Ask about every message's sender and return what came of it."""
    begun, spent = watched(plan.port), spending()
    redis.SECONDS = redis.CONNECT_SECONDS = STORE_SECONDS
    options = SmtpCbvOptions(
        port=plan.port,
        allow_networks=(ipaddress.ip_network("127.0.0.0/8"),),
        store=parse_store_url(plan.store),
        timeout=TIMEOUT,
        wait=WAIT,
    )
    core = CoreOptions.model_construct(esmtp_listener=(), nameservers=(plan.nameserver,), hostname="ringback.test")
    callbacks = callbacks_of(options, core)
    report = Report(time.time(), begun, spent, {}, [])
    messages = iter(plan.messages)
    with capture_logs() as events:
        await asyncio.gather(*(_work(callbacks.verifier, messages, report) for _ in range(AT_ONCE)))
        await callbacks.close()
    report.breakers.extend(each["address"] for each in events if each["event"] == "breaker_opened")
    report.errors.extend(str(each) for each in events if each["log_level"] == "error")
    return report


async def _work(verifier: CallbackVerifier, messages: Iterator[tuple[str, str]], report: Report) -> None:
    for address, client in messages:
        verdict = await verifier.verify(address, client=client)
        found = f"{verdict.status.value} {verdict.reason}"
        report.verdicts[found] = report.verdicts.get(found, 0) + 1
        if verdict.status.value == "fail":
            report.failed.append(address)


def main() -> None:
    """Read the plan, and print the report."""
    with suppress(KeyboardInterrupt):
        plan = Plan(**json.loads(Path(sys.argv[1]).read_text()))
        sys.stdout.write(json.dumps(asdict(asyncio.run(run(plan)))))


if __name__ == "__main__":
    main()
