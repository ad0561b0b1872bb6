"""Charts as SVG, drawn here, so that the page needs no library and no inline style. Words are in HTML beside them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from markupsafe import Markup, escape

WIDTH, HEIGHT = 600, 120

Series = Sequence[tuple[str, Sequence[float]]]
"""Names, which are classes of the style sheet too, and values, oldest first."""


@dataclass(frozen=True, slots=True)
class Chart:
    """A drawing and the words around it."""

    svg: Markup
    most: str
    """The value at its upper border."""
    summary: str
    """For people who do not see it."""


def stacked(title: str, series: Series, kept: int) -> Chart:
    """Draw areas upon each other. The newest value is at the right border; `kept` values fill the width."""
    length = max((len(values) for _, values in series), default=0)
    floor = [0.0] * length
    tops: list[tuple[str, list[float], list[float]]] = []
    for name, values in series:
        top = [low + value for low, value in zip(floor, values, strict=True)]
        tops.append((name, floor, top))
        floor = top
    most = _round_up(max(floor, default=0.0))
    areas = Markup("").join(_area(name, low, top, most, kept) for name, low, top in tops if any(top))
    latest = ", ".join(f"{name} {values[-1]:.1f}" for name, values in series if values and values[-1])
    summary = f"{title}. Now: {latest or 'nothing'}. The scale ends at {most:g}."
    return Chart(_framed(areas, summary), f"{most:g}", summary)


def _area(name: str, low: Sequence[float], top: Sequence[float], most: float, kept: int) -> Markup:
    there = [(x, y) for x, y in zip(_across(len(top), kept), top, strict=True)]
    back = [(x, y) for x, y in zip(_across(len(low), kept), low, strict=True)][::-1]
    points = " ".join(f"{x:.1f},{HEIGHT - y / most * HEIGHT:.1f}" for x, y in (*there, *back))
    return Markup('<polygon class="{}" points="{}"/>').format(name, points)


def _across(length: int, kept: int) -> list[float]:
    step = WIDTH / max(kept - 1, 1)
    return [WIDTH - (length - 1 - at) * step for at in range(length)]


def _framed(content: Markup, summary: str) -> Markup:
    lines = Markup("").join(
        Markup('<line class="grid" x1="0" x2="{}" y1="{}" y2="{}"/>').format(WIDTH, y, y)
        for y in (HEIGHT // 4, HEIGHT // 2, HEIGHT * 3 // 4)
    )
    return Markup(
        '<svg class="chart" role="img" aria-label="{}" viewBox="0 0 {} {}" preserveAspectRatio="none">{}{}</svg>'
    ).format(summary, WIDTH, HEIGHT, lines, content)


def bar(parts: Sequence[tuple[str, float]], title: str) -> Markup:
    """Draw one horizontal bar with its parts side by side."""
    total = sum(value for _, value in parts)
    at, drawn = 0.0, []
    for name, value in parts:
        width = value / total * WIDTH if total else 0.0
        drawn.append(Markup('<rect class="{}" x="{:.1f}" y="0" width="{:.1f}" height="10"/>').format(name, at, width))
        at += width
    return Markup(
        '<svg class="bar" role="img" aria-label="{}" viewBox="0 0 {} 10" preserveAspectRatio="none">{}</svg>'
    ).format(escape(title), WIDTH, Markup("").join(drawn))


def _round_up(value: float) -> float:
    """Return a round number that is not smaller, so that the scale does not change with every sample."""
    scale = 1.0
    while scale * 10 < value:
        scale *= 10
    return next((scale * step for step in (1, 2, 5, 10) if scale * step >= value), scale * 10)
