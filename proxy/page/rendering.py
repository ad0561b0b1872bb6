"""`Rendering`: the templates. Everything that a template prints is escaped, whatever its source."""

from __future__ import annotations

import time
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup

from proxy.page.ladder import short
from proxy.page.visible import visible

_FOLDER = Path(__file__).parent


class Rendering:
    """Holds the compiled templates and the files of /static."""

    def __init__(self) -> None:
        self._environment = Environment(
            loader=FileSystemLoader(_FOLDER / "templates"),
            autoescape=True,
            finalize=visible,
            undefined=StrictUndefined,
            trim_blocks=True,
            lstrip_blocks=True,
        )
        self._environment.filters |= {
            "clock": clock,
            "moment": moment,
            "ago": ago,
            "number": number,
            "ms": milliseconds,
            "short": short,
        }
        self._environment.globals |= {"now": time.time}

    def page(self, template: str, /, **values: Any) -> str:
        """Return a template with values."""
        return self._environment.get_template(template).render(values)

    def part(self, template: str, name: str, values: Mapping[str, Any]) -> Markup:
        """Return one macro's output of a template of parts."""
        macro = getattr(self._environment.get_template(template).module, name)
        return Markup(macro(values))  # noqa: S704 - the template has escaped everything


def static_files() -> dict[str, tuple[bytes, str]]:
    """Return the files that every browser gets: name → octets and type."""
    types = {".css": "text/css", ".js": "text/javascript", ".svg": "image/svg+xml"}
    folder = _FOLDER / "static"
    return {each.name: (each.read_bytes(), types[each.suffix]) for each in folder.iterdir() if each.suffix in types}


def moment(milliseconds: float) -> str:
    """Return a date and time."""
    return datetime.fromtimestamp(milliseconds / 1000, UTC).strftime("%Y-%m-%d %H:%M:%S")


def clock(milliseconds: float) -> str:
    """Return a time of day."""
    return moment(milliseconds)[11:]


def ago(milliseconds: float) -> str:
    """Return how long ago a moment was."""
    seconds = max(0, int(time.time() - milliseconds / 1000))
    for size, unit in ((86400, "d"), (3600, "h"), (60, "min")):
        if seconds >= size:
            return f"{seconds // size} {unit} ago"
    return f"{seconds} s ago"


def number(value: float) -> Markup:
    """Return a number with narrow spaces between its thousands."""
    return _thin(f"{value:,.0f}" if value >= 100 or value == int(value) else f"{value:.1f}")


def milliseconds(value: float) -> Markup:
    """Return a duration in the unit that people read most easily."""
    return _thin(f"{value:,.0f} ms" if value < 10_000 else f"{value / 1000:.1f} s")


def _thin(text: str) -> Markup:
    return Markup(text.replace(",", "\u2009"))  # noqa: S704 - digits
