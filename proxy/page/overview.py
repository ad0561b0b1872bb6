"""What the view *now* shows: numbers of all processes, from shared memory alone. Nothing here is about a person."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from proxy.control.health import Health
from proxy.metrics.metric import Metric
from proxy.metrics.reading import Totals, is_up
from proxy.metrics.table import (
    BREAKERS,
    CACHE_ENTRIES,
    CACHE_HITS,
    CACHE_LOOKUPS,
    CALLBACKS,
    CONNECTIONS,
    EXPIRY,
    IN_FLIGHT,
    LIMIT,
    LIMIT_HITS,
    PID,
    POOL_LIMIT,
    POOL_WAITING,
    POOLED,
    POOLED_IDLE,
    REFUSALS,
    RESTARTS,
    SOURCE,
    STATE,
    STATUS,
    TRACKED,
    UP,
    UPSTREAM_ERRORS,
    UPSTREAM_REPLIES,
    WORKER_UP,
)
from proxy.page.charts import stacked
from proxy.page.figures import EVERY_SECONDS, Sampler, by
from proxy.page.live import Live

MOST_ROWS = 12


@dataclass(frozen=True, slots=True)
class Overview:
    """Makes the values of the view."""

    sampler: Sampler
    health: Health
    live: Live

    def values(self) -> dict[str, Any]:
        """Return them, from the latest sample."""
        sampler, totals = self.sampler, self.sampler.totals
        minute, classes = sampler.of_the_minute("messages"), sampler.of_the_minute("classes")
        return {
            "health": self.health.answer(strict=False),
            "span": round(sampler.shown * EVERY_SECONDS / 60),
            "silent": self.health.silent_seconds,
            "rate": sum(minute.values()) / sampler.minute_seconds,
            "minute": {
                "relayed": minute["relayed"],
                "refused": classes["5xx"],
                "deferred": classes["4xx"],
                "discarded": minute["discarded"],
            },
            "sessions": sampler.samples[-1].sessions,
            "median": sampler.message_seconds(0.5),
            "slow": sampler.message_seconds(0.95),
            "verdicts": stacked("Verdicts a second", sampler.verdicts(), sampler.shown),
            "open": stacked("Sessions now", sampler.levels("sessions", STATE), sampler.shown),
            "asked": stacked("Callbacks a second", sampler.rates("callbacks", STATUS), sampler.shown),
            "callbacks": self._callbacks(totals),
            "reasons": _most(self.live.reasons),
            "refusals": _most(sampler.of_the_minute("refusals"), by(totals, REFUSALS, SOURCE)),
            "limits": _most(by(totals, LIMIT_HITS, LIMIT)),
            "tracked": _one(totals, TRACKED),
            "upstreams": list(_upstreams(totals)),
            "workers": list(self._workers()),
            "restarts": sum(by(totals, RESTARTS, RESTARTS.labels[0]).values()),
            "certificates": list(_certificates(totals)),
        }

    @staticmethod
    def _callbacks(totals: Totals) -> dict[str, float]:
        lookups = _one(totals, CACHE_LOOKUPS)
        return {
            "in_flight": _one(totals, IN_FLIGHT),
            "breakers": _one(totals, BREAKERS),
            "entries": _one(totals, CACHE_ENTRIES),
            "hits": 100 * _one(totals, CACHE_HITS) / lookups if lookups else 0,
            **by(totals, CALLBACKS, STATUS),
        }

    def _workers(self) -> Iterator[dict[str, Any]]:
        watched, new, old = self.sampler.watched, self.sampler.samples[-1], self.sampler.before
        for number, block in enumerate(watched.current.blocks[1:-1], 1):
            pid = block.counts[PID.base]
            used = new.processor.get(pid, 0) - old.processor.get(pid, new.processor.get(pid, 0))
            yield {
                "number": number,
                "pid": pid,
                "up": bool(watched.own.counts[WORKER_UP.base + number]),
                "connections": block.counts[CONNECTIONS.base],
                "processor": max(0.0, used / 1e4 / self.sampler.minute_seconds),
            }


def _one(totals: Totals, metric: Metric) -> int:
    return sum(cells[0] for cells in totals.of(metric).values())


def _most(counts: Mapping[str, int], others: Mapping[str, int] | None = None) -> list[tuple[str, int, int]]:
    """Return names with counts, and with a second count, the highest first; what never happened is left out."""
    second = others if others is not None else counts
    rows = [(name.replace("_", " "), counts.get(name, 0), count) for name, count in second.items() if count]
    return sorted(rows, key=lambda row: (-row[2], row[0]))[:MOST_ROWS]


def _upstreams(totals: Totals) -> Iterator[dict[str, Any]]:
    for (name,), (cell,) in totals.of(UP).items():
        replies = [(values, cells[0]) for values, cells in totals.of(UPSTREAM_REPLIES).items() if values[0] == name]
        errors = [(values[1], cells[0]) for values, cells in totals.of(UPSTREAM_ERRORS).items() if values[0] == name]
        gauges = {
            each: totals.of(each).get((name,), [0])[0] for each in (POOLED, POOLED_IDLE, POOL_LIMIT, POOL_WAITING)
        }
        yield {
            "name": name,
            "up": is_up(cell),
            "tried": bool(cell),
            "busy": gauges[POOLED] - gauges[POOLED_IDLE],
            "idle": gauges[POOLED_IDLE],
            "limit": gauges[POOL_LIMIT],
            "waiting": gauges[POOL_WAITING],
            "accepted": sum(count for values, count in replies if values[2] in {"2xx", "3xx"}),
            "deferred": sum(count for values, count in replies if values[2] == "4xx"),
            "refused": sum(count for values, count in replies if values[2] == "5xx"),
            "errors": [(reason.replace("_", " "), count) for reason, count in errors if count],
        }


def _certificates(totals: Totals) -> Iterator[dict[str, Any]]:
    for (path,), (expires,) in totals.of(EXPIRY).items():
        if expires:
            days = (expires - time.time()) / 86400
            tone = "ok" if days > 14 else "deferred" if days > 0 else "refused"
            yield {"name": Path(path).name, "days": days, "at": expires * 1000, "tone": tone}
