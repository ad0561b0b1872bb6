"""What benchmarks found, as Markdown and as a chart: docs/benchmarks.md between its marks, and the relay's picture."""

from __future__ import annotations

import os
import platform
import subprocess
import time
from collections.abc import Mapping, Sequence
from html import escape
from importlib.metadata import version
from pathlib import Path

from bench import haraka, interpreter

DOCS = Path(__file__).resolve().parents[1] / "docs"
PAGE, CHART = DOCS / "benchmarks.md", DOCS / "benchmarks.svg"

ROW, GAP, LEFT, WIDE = 18, 34, 210, 430
COLOURS = {"Ringback": "#1f6f8b"}
OTHER = "#a9b4bc"


def machine() -> str:
    """Say on what was measured, and how busy it was before."""
    load = os.getloadavg()[0]
    postfix = subprocess.run(["postconf", "-dh", "mail_version"], capture_output=True, text=True, check=False).stdout
    versions = {
        "uvloop": version("uvloop"),
        "Postfix": postfix.strip(),
        "Haraka": haraka.version(),
        "aiosmtpd": version("aiosmtpd"),
        "aiosmtplib": version("aiosmtplib"),
    }
    known = ", ".join(f"{name} {number}" for name, number in versions.items() if number)
    day = time.strftime("%Y-%m-%d")
    return (
        f"Measured {day} on {os.cpu_count()} cores, load {load:.1f} before it began, {platform.system()};"
        f" Python {interpreter.named()}, {known}."
    )


def markdown(columns: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Lay out a table; figures stand to the right."""
    rule = ["---", *("---:" for _ in columns[1:])]
    return "".join(f"| {' | '.join(row)} |\n" for row in (columns, rule, *rows))


def chart(groups: Mapping[str, Mapping[str, float]]) -> str:
    """Draw horizontal bars, each group on a scale of its own: what is compared is a group's legs."""
    parts: list[str] = []
    y = 0
    for title, bars in groups.items():
        y += GAP
        parts.append(f'<text x="0" y="{y - 8}" font-weight="bold">{escape(title)}</text>')
        most = max(bars.values())
        for name, figure in bars.items():
            width = max(1.0, WIDE * figure / most)
            colour = COLOURS.get(name.partition(",")[0], OTHER)
            middle = y + ROW - 5
            parts += [
                f'<text x="{LEFT - 8}" y="{middle}" text-anchor="end">{escape(name)}</text>',
                f'<rect x="{LEFT}" y="{y + 2}" width="{width:.1f}" height="{ROW - 4}" fill="{colour}"/>',
                f'<text x="{LEFT + width + 6:.1f}" y="{middle}">{figure:,.0f}</text>',
            ]
            y += ROW
    wide = LEFT + WIDE + 70
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {wide} {y + 8}"'
        ' font-family="sans-serif" font-size="12">\n'
        f'<rect width="{wide}" height="{y + 8}" fill="#ffffff"/>\n' + "\n".join(parts) + "\n</svg>\n"
    )


def write(name: str, section: str) -> None:
    """Put a section between the page's marks of this name."""
    opens, closes = f"<!-- {name}: begin -->", f"<!-- {name}: end -->"
    before, begin, rest = PAGE.read_text(encoding="utf-8").partition(opens)
    _, end, after = rest.partition(closes)
    if not begin or not end:
        raise ValueError(f"{PAGE.name} lacks {opens} and {closes}")
    PAGE.write_text(f"{before}{opens}\n\n{section.strip()}\n\n{closes}{after}", encoding="utf-8")
