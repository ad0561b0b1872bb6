"""What a running server says over HTTP: its metrics, parsed by prometheus-client, and its health."""

from __future__ import annotations

import asyncio
import http.client
import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from prometheus_client.openmetrics.parser import text_string_to_metric_families as parsed_openmetrics
from prometheus_client.parser import text_string_to_metric_families as parsed_text

OPENMETRICS = "application/openmetrics-text; version=1.0.0"


@dataclass(frozen=True, slots=True)
class Sample:
    """One line of an exposition."""

    name: str
    labels: Mapping[str, str]
    value: float


@dataclass(frozen=True, slots=True)
class Scrape:
    """All samples of one moment."""

    samples: tuple[Sample, ...]
    types: Mapping[str, str]

    def sum(self, name: str, **labels: str) -> float:
        """Return the sum of a metric over the labels that are not given."""
        found = [each for each in self.samples if each.name == name and labels.items() <= each.labels.items()]
        return sum(each.value for each in found)

    def counters(self) -> dict[tuple[str, frozenset[tuple[str, str]]], float]:
        """Return everything that may never fall."""
        rising = {name for name, kind in self.types.items() if kind in {"counter", "histogram"}}
        suffixes = ("_total", "_bucket", "_sum", "_count")
        return {
            (each.name, frozenset(each.labels.items())): each.value
            for each in self.samples
            if each.name.endswith("_total") or any(each.name.removesuffix(suffix) in rising for suffix in suffixes)
        }


def get(port: int, path: str, method: str = "GET", **headers: str) -> tuple[int, dict[str, str], bytes]:
    """Return status, header and body; header names have `_` in the place of `-`."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=10)
    try:
        connection.request(method, path, headers={name.replace("_", "-"): text for name, text in headers.items()})
        answer = connection.getresponse()
        return answer.status, {name.lower(): text for name, text in answer.getheaders()}, answer.read()
    finally:
        connection.close()


def scraped(port: int) -> Scrape:
    """Return what /metrics says."""
    status, _, body = get(port, "/metrics", Accept=OPENMETRICS)
    assert status == 200, body
    return parsed(body.decode(), openmetrics=True)


def parsed(text: str, *, openmetrics: bool) -> Scrape:
    """Parse an exposition."""
    families = list((parsed_openmetrics if openmetrics else parsed_text)(text))
    samples = tuple([Sample(each.name, each.labels, each.value) for family in families for each in family.samples])
    return Scrape(samples, {family.name: family.type for family in families})


async def scrape(port: int) -> Scrape:
    """Return what /metrics says, while servers of the test's own loop go on."""
    return await asyncio.to_thread(scraped, port)


async def ready(port: int, query: str = "") -> tuple[int, dict[str, Any]]:
    """Return what /readyz says."""
    status, _, body = await asyncio.to_thread(get, port, f"/readyz{query}")
    return status, json.loads(body)
