"""Write values as configuration text and as JSON values."""

from __future__ import annotations

from collections.abc import Mapping
from enum import Enum
from typing import Any

from config.schema.readers import ValueReader
from config.schema.values import DomainPatterns
from config.scopes.listener import Listener
from config.spelling import quoted


def written(value: object, reader: ValueReader | None = None) -> str:
    """Return a value as configuration text; `reader` reads it back."""
    if reader is not None and reader.write is not None and value is not None:
        return reader.write(value)
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, int | float):
        return _number(value)
    if isinstance(value, Mapping):
        return _bracketed("[", (f"{quoted(str(key))} = {written(entry)}" for key, entry in value.items()), "]")
    if isinstance(value, tuple | DomainPatterns):
        return _bracketed("(", (written(item) for item in value), ")")
    return quoted(str(value.value if isinstance(value, Enum) else value))


def _number(value: float) -> str:
    """Return digits without an exponent, and without `.0`."""
    return str(int(value)) if value == int(value) else f"{value:.9f}".rstrip("0")


def _bracketed(opening: str, items: Any, closing: str) -> str:
    return " ".join([opening, *items, closing])


def as_json(value: object) -> Any:
    """Return a value as a JSON value."""
    if value is None or isinstance(value, bool | int | float | str):
        return value
    if isinstance(value, Mapping):
        return {str(key): as_json(entry) for key, entry in value.items()}
    if isinstance(value, tuple | DomainPatterns):
        return [as_json(item) for item in value]
    if isinstance(value, Listener):
        return _listener(value)
    return str(value)


def _listener(listener: Listener) -> dict[str, Any]:
    return {
        "address": listener.address,
        "port": listener.port,
        "backlog": listener.backlog,
        "concurrency": listener.concurrency,
        "enabled": listener.enabled,
        "options": {name: as_json(setting.value) for name, setting in {**listener.shared, **listener.options}.items()},
        "peers": [
            {
                "network": str(peer.network),
                "options": {name: as_json(setting.value) for name, setting in peer.options.items()},
                "continue": peer.proceeds,
            }
            for peer in listener.peers
        ],
    }
