"""The metrics for prometheus-client: the totals of all processes, and what the kernel reports for each."""

from __future__ import annotations

import os
import platform
from collections import defaultdict
from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path

from prometheus_client.core import (
    CounterMetricFamily,
    GaugeMetricFamily,
    HistogramMetricFamily,
    InfoMetricFamily,
    UnknownMetricFamily,
)
from prometheus_client.core import (
    Metric as Family,
)
from prometheus_client.registry import Collector

from proxy.control.health import Health
from proxy.control.watched import Watched
from proxy.metrics.metric import Kind, Merge, Metric
from proxy.metrics.reading import Values, is_up
from proxy.metrics.table import LAYOUT, STORE_UP, WORKER_UP

VERSION = metadata.version("ringback")

_NAMED_LIKE_GAUGES = {f"{each.name}_total" for each in LAYOUT.metrics}
"""Counters that have the family name of a gauge. OpenMetrics forbids that, so they have no type there."""

_TICKS = os.sysconf("SC_CLK_TCK")


class Exposition(Collector):
    """Makes all families at each scrape."""

    def __init__(self, watched: Watched, health: Health, digest: str, *, openmetrics: bool = False) -> None:
        """Take what is read. `digest` is the configuration's; `openmetrics` is the stricter format."""
        self._watched, self._health, self._digest, self._openmetrics = watched, health, digest, openmetrics

    def as_openmetrics(self) -> Exposition:
        """Return the same for the stricter format."""
        return Exposition(self._watched, self._health, self._digest, openmetrics=True)

    def collect(self) -> Iterator[Family]:
        """Yield the families in the table's order."""
        yield InfoMetricFamily(
            "ringback_build", "The program.", value={"version": VERSION, "python": platform.python_version()}
        )
        yield InfoMetricFamily("ringback_config", "The configuration in force.", value={"digest": self._digest})
        totals = self._watched.totals()
        for metric in LAYOUT.metrics:
            if not metric.hidden:
                yield _family(metric, totals.of(metric), openmetrics=self._openmetrics)
        yield from self._of_workers()
        yield from _of_processes(self._watched.processes())

    def _of_workers(self) -> Iterator[Family]:
        up = GaugeMetricFamily("ringback_worker_up", "Whether a worker serves and answers.", labels=["worker"])
        for number in range(1, self._watched.workers + 1):
            up.add_metric([str(number)], self._watched.own.counts[WORKER_UP.base + number])
        yield up
        yield GaugeMetricFamily(
            "ringback_drained_connections",
            "Connections to workers of earlier configurations, which finish their sessions.",
            value=self._health.draining,
        )


def _family(metric: Metric, values: Values, *, openmetrics: bool) -> Family:
    if metric.kind is Kind.HISTOGRAM:
        return _histogram(metric, values)
    made: CounterMetricFamily | GaugeMetricFamily | UnknownMetricFamily
    if openmetrics and metric.name in _NAMED_LIKE_GAUGES:
        made = UnknownMetricFamily(metric.name, metric.doc, labels=metric.label_names)
    elif metric.kind is Kind.COUNTER:
        made = CounterMetricFamily(metric.name, metric.doc, labels=metric.label_names)
    else:
        made = GaugeMetricFamily(metric.name, metric.doc, labels=metric.label_names)
    for labels, (cell,) in values.items():
        if metric is STORE_UP and not cell:
            continue  # the configuration has no such store
        number = float(is_up(cell)) if metric.merge is Merge.UP else cell / metric.scale
        made.add_metric(labels, number)
    return made


def _histogram(metric: Metric, values: Values) -> Family:
    made = HistogramMetricFamily(metric.name, metric.doc, labels=metric.label_names)
    for labels, cells in values.items():
        *buckets, total = cells
        seen, cumulated = 0, []
        for border, count in zip((*metric.borders, float("inf")), buckets, strict=True):
            seen += count
            cumulated.append((_border(border), float(seen)))
        made.add_metric(labels, cumulated, total / metric.scale)
    return made


def _border(value: float) -> str:
    return "+Inf" if value == float("inf") else repr(float(value))


# ---------------------------------------------------------------- /proc


@dataclass(slots=True)
class _Sum:
    """What the processes of a role use together."""

    memory: int = 0
    files: int = 0
    files_limit: int = 0
    threads: int = 0
    count: int = 0
    started: float = 0.0


_MEASURES: Mapping[str, tuple[str, str]] = {
    "ringback_process_resident_memory_bytes": ("memory", "Memory, with what processes share."),
    "ringback_process_open_fds": ("files", "Open files."),
    "ringback_process_max_fds": ("files_limit", "Open files that are allowed."),
    "ringback_process_threads": ("threads", "Threads."),
    "ringback_processes": ("count", "Processes."),
    "ringback_process_start_time_seconds": ("started", "When the oldest process was started."),
}
"""Metric → attribute and help."""


def _of_processes(processes: Iterator[tuple[str, int]]) -> Iterator[Family]:
    roles: dict[str, _Sum] = defaultdict(_Sum)
    for role, pid in processes:
        with suppress(OSError, ValueError, IndexError):  # it has just ended
            _add(roles[role], Path(f"/proc/{pid}"))
    for name, (attribute, doc) in _MEASURES.items():
        made = GaugeMetricFamily(name, doc, labels=["role"])
        for role, used in sorted(roles.items()):
            made.add_metric([role], getattr(used, attribute))
        yield made
    yield GaugeMetricFamily(
        "process_start_time_seconds", "When the service was started.", value=roles["supervisor"].started
    )


def _add(used: _Sum, process: Path) -> None:
    fields = (process / "stat").read_text().rpartition(")")[2].split()
    started = _booted() + int(fields[19]) / _TICKS  # proc(5): field 22
    used.memory += int(fields[21]) * os.sysconf("SC_PAGE_SIZE")
    used.threads += int(fields[17])
    used.files += sum(1 for _ in (process / "fd").iterdir())
    limits = (process / "limits").read_text().partition("Max open files")[2].split()
    used.files_limit += int(limits[0]) if limits[0].isdigit() else 0
    used.count += 1
    used.started = min(used.started or started, started)


def _booted() -> float:
    return float(Path("/proc/stat").read_text().partition("btime ")[2].split()[0])
