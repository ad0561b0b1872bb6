"""What the relay benchmark measures, and what it found: loads, and the runs of each leg."""

from __future__ import annotations

import statistics
from dataclasses import dataclass, field, replace

from bench.driver import Plan
from bench.loads import Load, Run
from bench.steady import Latency

KIBI = 1024
SMALL = Load(messages=3000, size=4 * KIBI, sessions=20, keep_open=True)
LARGE = Load(messages=100, size=KIBI * KIBI, sessions=20, keep_open=True)
KEPT, NEW = "4 KiB, 20 sessions, kept open", "4 KiB, 20 sessions, one each"
LARGE_KEPT, LARGE_NEW = "1 MiB, 20 sessions, kept open", "1 MiB, 20 sessions, one each"
LOADS = {
    KEPT: SMALL,
    NEW: replace(SMALL, keep_open=False),
    "4 KiB, 100 sessions, kept open": replace(SMALL, sessions=100),
    "4 KiB, 100 sessions, one each": replace(SMALL, sessions=100, keep_open=False),
    LARGE_KEPT: LARGE,
    LARGE_NEW: replace(LARGE, keep_open=False),
}
"""smtp-source's: many messages a connection (`-d`), or a new connection for each."""

PLAIN = Plan(port=0, messages=3000, size=4 * KIBI)
FEW = 10
"""Messages a connection, if connections are kept open and many clients take turns."""

ADDRESSES, SENDERS, DOMAINS = 200, 5000, 500
CROWD = replace(PLAIN, addresses=ADDRESSES)
VARIED = replace(CROWD, senders=SENDERS, domains=DOMAINS, varied=True)
LEARN = replace(VARIED, messages=SENDERS, per_connection=FEW, varied=False, every_sender=True)
"""Sent before the first round of `VARIED`: every sender once."""

TLS_KEPT, TLS_NEW = "STARTTLS, kept open", "STARTTLS, one each"
CROWD_KEPT, CROWD_NEW = f"{ADDRESSES} clients, {FEW} messages each time", f"{ADDRESSES} clients, one each"
VARIED_KEPT, VARIED_NEW = f"varied, {FEW} messages each time", "varied, one each"
DRIVEN: dict[str, tuple[Plan, tuple[str, ...]]] = {
    TLS_KEPT: (
        replace(PLAIN, certificate="the leg's", per_connection=PLAIN.messages // PLAIN.sessions),
        ("driven-postfix", "driven"),
    ),
    TLS_NEW: (replace(PLAIN, certificate="the leg's"), ("driven-postfix", "driven")),
    CROWD_KEPT: (replace(CROWD, per_connection=FEW), ("driven-postfix", "xclient")),
    CROWD_NEW: (CROWD, ("driven-postfix", "xclient")),
    VARIED_KEPT: (replace(VARIED, per_connection=FEW), ("driven-direct", "driven-postfix", "driven")),
    VARIED_NEW: (VARIED, ("driven-direct", "driven-postfix", "driven")),
}
"""Our driver's, and the legs that they are sent to."""

QUICK = 5
"""How many times fewer messages a quick run sends, once."""

QUICK_LOADS = (KEPT, NEW, LARGE_KEPT)


def hastened(load: Load | Plan) -> Load | Plan:
    """Return a load for a quick run."""
    if isinstance(load, Load):
        return replace(load, messages=load.messages // QUICK)
    return replace(
        load,
        messages=load.messages // QUICK,
        per_connection=load.per_connection if load.per_connection <= FEW else load.per_connection // QUICK,
        senders=max(1, load.senders // QUICK),
        domains=max(1, load.domains // QUICK),
    )


@dataclass(slots=True)
class Figures:
    """The runs of one leg, by load, and its latencies, by mode."""

    leg: str
    runs: dict[str, list[Run]] = field(default_factory=dict)
    latencies: dict[str, list[Latency]] = field(default_factory=dict)

    def rate(self, load: str) -> float:
        """Return the median of messages a second."""
        return statistics.median(run.rate for run in self.runs[load])

    def processor(self, load: str) -> float:
        """Return the median of microseconds of processor time a message."""
        return statistics.median(run.processor for run in self.runs[load])

    def user(self, load: str) -> float:
        """Return the median of its part outside the kernel."""
        return statistics.median(run.user for run in self.runs[load])

    def system(self, load: str) -> float:
        """Return the median of the kernel's part."""
        return statistics.median(run.system for run in self.runs[load])

    def p99(self, mode: str) -> float:
        """Return the median of the rounds' 99th percentiles, in milliseconds."""
        return statistics.median(latency.p99 for latency in self.latencies[mode])

    def p50(self, mode: str) -> float:
        """Return the median of the rounds' medians, in milliseconds."""
        return statistics.median(latency.median for latency in self.latencies[mode])


@dataclass(slots=True)
class Found:
    """All of it."""

    rounds: int
    machine: str
    figures: dict[str, Figures] = field(default_factory=dict)
    left_out: dict[str, str] = field(default_factory=dict)
    """Leg → why it did not run."""
    offered: dict[str, float] = field(default_factory=dict)
    """Mode → messages a second that were offered to both."""
    calls: dict[str, float] = field(default_factory=dict)
    """Mode → function calls a message."""
