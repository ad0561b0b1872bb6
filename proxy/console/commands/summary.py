"""summary: the numbers of the whole service, under the labels that Momentum's scripts look for."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from proxy.console.errors import not_a, nothing_is_called
from proxy.console.people import Role
from proxy.console.registry import Call, Command
from proxy.console.results import Result
from proxy.console.served import Served, answers
from proxy.metrics.book import BOOK
from proxy.metrics.metric import Metric
from proxy.metrics.reading import Totals
from proxy.metrics.table import (
    CONNECTIONS,
    LETTERS,
    MESSAGES,
    POOLED,
    QUERIES,
    REFUSALS,
    SCRIPT_COUNTER,
    SCRIPT_RUNS,
)

Labels = tuple[str, ...]

_MOST_AT_ONCE = 1_000_000


def commands(served: Served) -> list[Command]:
    """Return the commands."""
    about = _Summary(served)
    return [
        Command("summary", "Print the service's figures, as Momentum does.", about.summary),
        *[
            Command(
                name, "Count from zero in summary and sieve stats. /metrics does not change.", about.reset,
                role=Role.OPERATE,
            )
            for name in ("summary reset", "sieve reset")
        ],
        Command("sieve stats", "Print what the scripts decided and counted.", about.sieve),
        Command("counter list", "List the counters that scripts use.", about.counters),
        Command("counter add", "List a counter before its first use.", about.add, arguments="NAME",
                role=Role.OPERATE),
        Command("counter increment", "Increment a counter, as a script does.",
            about.increment, arguments="NAME [NUMBER]",
                role=Role.OPERATE),
        Command("counter reset", "Set a counter to zero in counter list. /metrics does not change.",
                about.reset_counter, arguments="NAME", role=Role.OPERATE),
        Command("counter unlink", "Hide a counter until it is used again.", about.unlink,
                arguments="NAME", role=Role.OPERATE),
    ]  # fmt: skip


@dataclass(slots=True)
class _Base:
    """What is subtracted since the last reset."""

    totals: Totals | None
    when: float


class _Summary:
    def __init__(self, served: Served) -> None:
        self._served = served
        self._began = served.began
        self._base = _Base(None, served.began)
        self._added: set[str] = set()
        self._counted_before: dict[str, tuple[int, float]] = {}
        """Counters that were reset by themselves: their values then, and when."""

    def _count(self, totals: Totals, metric: Metric, wanted: Callable[[Labels], bool] = lambda _labels: True) -> int:
        """Return a counter's sum since the reset over the label sets that are wanted."""
        before = self._base.totals.of(metric) if self._base.totals is not None else {}
        return sum(
            cells[0] - before.get(labels, [0])[0] for labels, cells in totals.of(metric).items() if wanted(labels)
        )

    async def reset(self, _call: Call) -> Result:
        self._base = _Base(self._served.watched.totals(), time.time())
        return Result({"reset": self._base.when}, "statistics cleared.")

    async def summary(self, _call: Call) -> Result:
        totals, now = self._served.watched.totals(), time.time()
        seconds = max(1.0, now - self._base.when)
        dns = sum(each.answer["elements"] for each in answers(await self._served.processes.ask("dns_stats")))
        letters = _gauge(totals, LETTERS)
        outcome = {
            name: self._count(totals, MESSAGES, lambda labels, name=name: labels == (name,))  # type: ignore[misc]
            for name in ("relayed", "refused", "deferred", "discarded", "lost")
        }
        received = sum(outcome.values())
        rejected = self._count(totals, REFUSALS, lambda labels: "5xx" in labels)
        queries = self._count(totals, QUERIES)
        rows: Sequence[tuple[str, str, Any]] = (
            ("Outbound Concurrency", "OutboundConcurrency", _gauge(totals, POOLED)),
            ("Inbound Concurrency", "InboundConcurrency", _gauge(totals, CONNECTIONS)),
            ("Active Domains", "ActiveDomains", dns),
            ("Active Queue Size", "ActiveQueueSize", 0),
            ("Delayed Queue Size", "DelayedQueueSize", letters),
            ("Destaged Queue Size", "DestagedQueueSize", 0),
            ("Total Queue Size", "TotalQueueSize", letters),
            ("DNS A Queries", "DNSAQueries", self._count(totals, QUERIES, lambda labels: labels[0] == "A")),
            ("DNS AAAA Queries", "DNSAAAAQueries", self._count(totals, QUERIES, lambda labels: labels[0] == "AAAA")),
            ("DNS MX Queries", "DNSMXQueries", self._count(totals, QUERIES, lambda labels: labels[0] == "MX")),
            ("DNS TXT Queries", "DNSTXTQueries", self._count(totals, QUERIES, lambda labels: labels[0] == "TXT")),
            ("Pending DNS Queries", "PendingDNSQueries", 0),
            ("Query Rate", "DNSQueryRate", (queries / seconds, "queries/second")),
            ("Successfully Delivered", "DeliveredMessages", outcome["relayed"]),
            ("Failed", "FailedMessages", outcome["refused"]),
            ("Transient Failures", "TransientFailures", outcome["deferred"]),
            ("Rejected", "RejectedMessages", rejected),
            ("Received Messages", "ReceivedMessages", received),
            ("Delivery Rate", "DeliveryRate", (outcome["relayed"] / seconds, "messages/second")),
            ("Reception Rate", "ReceptionRate", (received / seconds, "messages/second")),
            ("Statistics Last Reset", "StatisticsLastReset", (round(now - self._base.when), "seconds")),
            ("Uptime", "Uptime", (round(now - self._began), "seconds")),
        )
        value = {name: each[0] if isinstance(each, tuple) else each for _, name, each in rows}
        return Result(value, "\n".join(f"{label + ':':<24} {_shown(each)}" for label, _, each in rows))

    async def sieve(self, _call: Call) -> Result:
        totals = self._served.watched.totals()
        since = time.strftime("%a %b %d %H:%M:%S %Y", time.localtime(self._base.when))
        runs = [
            {"script": script, "result": result, "runs": count}
            for script, result in totals.of(SCRIPT_RUNS)
            if (count := self._count(totals, SCRIPT_RUNS, lambda labels, key=(script, result): labels == key))  # type: ignore[misc]
        ]
        counted = self._counted(totals)
        lines = [f"sieve statistics since: {since}"]
        lines += [f"{row['counter']} = {row['value']}" for row in counted]
        lines += [f"{row['script']} ({row['result']}) = {row['runs']}" for row in runs]
        return Result({"since": self._base.when, "counters": counted, "runs": runs}, "\n".join(lines))

    def _counted(self, totals: Totals) -> list[dict[str, Any]]:
        """Return the counters that have counted since the last reset, or were added."""
        names = dict.fromkeys([*(name for (name,) in totals.of(SCRIPT_COUNTER)), *sorted(self._added)])
        rows = [{"counter": name, "value": self._value(totals, name)} for name in names]
        return [row for row in rows if row["value"] or row["counter"] in self._added]

    def _value(self, totals: Totals, name: str) -> int:
        count = self._count(totals, SCRIPT_COUNTER, lambda labels: labels == (name,))
        before, when = self._counted_before.get(name, (0, 0.0))
        return totals.of(SCRIPT_COUNTER).get((name,), [0])[0] - before if when > self._base.when else count

    async def counters(self, _call: Call) -> Result:
        rows = self._counted(self._served.watched.totals())
        lines = [f"{row['value']} {self._reset_time(row['counter'])} sum {row['counter']}" for row in rows]
        return Result(rows, "\n".join(["VALUE RESET_TIME SEMANTICS COUNTER", *lines, f"{len(rows)} counters listed."]))

    def _reset_time(self, name: str) -> str:
        when = max(self._base.when, self._counted_before.get(name, (0, 0.0))[1])
        return time.strftime("%Y-%m-%dT%H:%M:%S", time.localtime(when))

    async def add(self, call: Call) -> Result:
        self._added.add(call.arguments[0])
        return Result({"counter": call.arguments[0]}, "Success")

    async def increment(self, call: Call) -> Result:
        name, number = call.arguments[0], (call.arguments[1] if len(call.arguments) > 1 else "1")
        if not (number.isascii() and number.isdigit()) or not 1 <= int(number) <= _MOST_AT_ONCE:
            raise not_a("a number", number, f"write 1 to {_MOST_AT_ONCE}")
        for _ in range(int(number)):
            BOOK.count_for_script(name)
        return Result({"counter": name, "value": self._value(self._served.watched.totals(), name)}, "Success")

    async def reset_counter(self, call: Call) -> Result:
        return self._begun_again(call.arguments[0], keeps=True)

    async def unlink(self, call: Call) -> Result:
        return self._begun_again(call.arguments[0], keeps=False)

    def _begun_again(self, name: str, *, keeps: bool) -> Result:
        """Count a name from zero."""
        totals = self._served.watched.totals()
        known = [row["counter"] for row in self._counted(totals)]
        if name not in known:
            raise nothing_is_called("counter", name, known)
        self._counted_before[name] = (totals.of(SCRIPT_COUNTER).get((name,), [0])[0], time.time())
        (self._added.add if keeps else self._added.discard)(name)
        return Result({"counter": name}, "Success")


def _gauge(totals: Totals, metric: Metric) -> int:
    return sum(cells[0] for cells in totals.of(metric).values())


def _shown(value: Any) -> str:
    if not isinstance(value, tuple):
        return str(value)
    number, unit = value
    return f"{number:.2f} {unit}" if isinstance(number, float) else f"{number} {unit}"
