"""The value of Log_Level: a level, and other levels for some rooms of Ringback: `info, callback=warning`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

from config.errors import not_a
from config.language.nodes import String, Value, Word
from config.schema.readers import ReadContext, Unreadable, ValueReader
from proxy.base.log import LEVELS, Levels

_PROXY = Path(__file__).parents[1]
ROOMS = frozenset(path.parent.name for folder in (_PROXY, _PROXY / "modules") for path in folder.glob("*/__init__.py"))
"""The rooms that may have a level: the packages of `proxy`, and the modules."""

_NUMBERS = {number: name for name, number in LEVELS.items()}


def _read(value: Value, _reading: ReadContext) -> Levels:
    text = value.text if isinstance(value, Word | String) else ""
    first, *others = [each.strip() for each in text.split(",")]
    rooms = {}
    for each in others:
        room, _, level = [part.strip() for part in each.partition("=")]
        if room not in ROOMS or level not in LEVELS:
            raise Unreadable(not_a("a room's level", each, value.span, f"write room=level; rooms: {_rooms()}"))
        rooms[room] = LEVELS[level]
    if first not in LEVELS:
        raise Unreadable(not_a("a level", first, value.span, 'write "info", or "info, callback=warning"'))
    return Levels(LEVELS[first], rooms)


def _rooms() -> str:
    return ", ".join(sorted(ROOMS))


def _write(value: Any) -> str:
    rooms = [f"{room}={_NUMBERS[level]}" for room, level in value.rooms.items()]
    return f'"{", ".join([_NUMBERS[value.least], *rooms])}"'


LevelsValue = Annotated[Levels, ValueReader(_read, "levels, `info, callback=warning`", write=_write)]
