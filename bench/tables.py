"""The relay benchmark's section of docs/benchmarks.md: its tables and its chart."""

from __future__ import annotations

from collections.abc import Sequence

from bench import report
from bench.bars import ALL, HEADS, OLD, bars
from bench.figures import (
    CROWD_KEPT,
    CROWD_NEW,
    DRIVEN,
    KEPT,
    LARGE_KEPT,
    LOADS,
    NEW,
    TLS_KEPT,
    TLS_NEW,
    VARIED_KEPT,
    VARIED_NEW,
    Figures,
    Found,
)

CHARTED = (KEPT, NEW, LARGE_KEPT)
REFERENCES = ("postfix", "driven-postfix")
DRIVEN_PAIRS = {
    "STARTTLS, 4 KiB, 20 sessions, by our driver, whole handshakes": (TLS_KEPT, TLS_NEW),
    "200 client addresses, passed to the sink with XCLIENT or XFORWARD, 4 KiB, 20 sessions, by our driver": (
        CROWD_KEPT,
        CROWD_NEW,
    ),
    "Varied mail, 4 KiB, 20 sessions, by our driver, pipelined": (VARIED_KEPT, VARIED_NEW),
}


def section(found: Found) -> str:
    """Return the page's section."""
    parts = [f"{found.machine} Medians of {found.rounds} rounds.\n"]
    titles = tuple(LOADS)
    pairs = (titles[:2], titles[2:4], titles[4:])
    parts += [_table(found, pair[0].rpartition(", ")[0], pair) for pair in pairs]
    parts += [_table(found, title, pair) for title, pair in DRIVEN_PAIRS.items()]
    if found.offered:
        parts.append(f"{_offered(found)}\n\n{_latencies(found)}")
    rows = [bar.row for bar in bars(found) if bar.value is not None]
    parts.append(f"Bars and goals: figures of this run, one divided by the other\n\n{report.markdown(HEADS, rows)}")
    return "\n".join(part for part in parts if part)


def _table(found: Found, title: str, pair: Sequence[str]) -> str:
    """Return the table of two loads, or nothing if no leg was sent either."""
    titles = [load for load in pair if any(load in figures.runs for figures in found.figures.values())]
    if not titles:
        return ""
    names = [load.rpartition(", ")[2] for load in titles]
    heads = [f"{name}: {unit}" for name in names for unit in ("messages/s", "ratio", "CPU µs", "user", "system")]
    those = [each for each in found.figures.values() if titles[0] in each.runs]
    reference = next((found.figures[key] for key in REFERENCES if found.figures.get(key) in those), None)
    rows = [[figures.leg, *_cells(figures, titles, reference)] for figures in those]
    if titles[0] not in DRIVEN:
        rows += [[name, f"not run: {why}", *[""] * (len(heads) - 1)] for name, why in found.left_out.items()]
    return f"{title}; ratio: of rates, to Postfix\n\n{report.markdown(['', *heads], rows)}"


def _cells(figures: Figures, titles: Sequence[str], reference: Figures | None) -> list[str]:
    cells = []
    for title in titles:
        rate = figures.rate(title)
        ratio = "" if reference is None else f"{rate / reference.rate(title):.2f}"
        times = (figures.processor(title), figures.user(title), figures.system(title))
        cells += [f"{rate:,.0f}", ratio, *(f"{each:,.0f}" for each in times)]
    return cells


def _offered(found: Found) -> str:
    rates = " and ".join(f"{rate:,.0f} messages/s ({mode})" for mode, rate in found.offered.items())
    return f"Latency of 4 KiB under the same offered rate, half of the slower one's peak: {rates}; ms, open loop"


def _latencies(found: Found) -> str:
    heads = [f"{mode}: {each}" for mode in found.offered for each in ("p50", "p99")]
    rows = []
    for figures in (found.figures["postfix"], found.figures[ALL]):
        cells = (value for mode in found.offered for value in (figures.p50(mode), figures.p99(mode)))
        rows.append([figures.leg, *(f"{value:.1f}" for value in cells)])
    return report.markdown(["", *heads], rows)


def drawn(found: Found) -> str:
    """Return the chart: messages a second of the loads that are charted."""
    return report.chart({
        f"{title}: messages a second": {
            figures.leg: figures.rate(title)
            for key, figures in found.figures.items()
            if title in figures.runs and key != OLD
        }
        for title in CHARTED
    })  # fmt: skip
