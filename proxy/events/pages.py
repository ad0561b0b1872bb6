"""The reference page docs/events.md and the JSON Schema of a log line, both made from the table."""

from __future__ import annotations

import json
from typing import Any

from proxy.events.event import Event
from proxy.events.fields import ALWAYS, FIELDS, SCHEMAS, Field
from proxy.events.table import EVENTS, GROUPS

_HEAD = """\
# Events

This page is generated from `proxy/events/`. [The log](operating.md#the-log) describes the log.
`proxy/events/schema.json` is the JSON Schema of its lines.

Every line has `event`, `level` and `timestamp`. It also has `worker` if several processes serve (0 is the keeper, -1
the control process), and `exception` if Ringback failed. Fields in brackets are not always there.

"""


def page() -> str:
    """Return docs/events.md."""
    parts = [_HEAD]
    for title, events in GROUPS.items():
        parts.append(f"## {title}\n\n| event | level | when | fields | metric | history |\n|---|---|---|---|---|---|\n")
        parts += [_row(event) for event in events]
        parts.append("\n")
    parts.append("## Fields\n\n| field | type | meaning | personal |\n|---|---|---|---|\n")
    parts += [_field(name, field) for name, field in sorted((FIELDS | ALWAYS).items())]
    return "".join(parts)


def _row(event: Event) -> str:
    words = [name if name in event.required else f"[{name}]" for name in event.all_fields]
    fields = f"`{' '.join(words)}`" if words else ""
    metric = f"`{event.metric}`" if event.metric else ""
    history = "yes" if event.history else ""
    return f"| `{event.name}` | {' or '.join(event.levels)} | {event.when} | {fields} | {metric} | {history} |\n"


def _field(name: str, field: Field) -> str:
    kind = f"{field.type}, {field.unit}" if field.unit else field.type
    return f"| `{name}` | {kind} | {field.doc} | {'yes' if field.personal else ''} |\n"


def schema() -> dict[str, Any]:
    """Return the JSON Schema of a line."""
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "A line of Ringback's log",
        "type": "object",
        "required": list(ALWAYS),
        "oneOf": [_schema_of(event) for event in EVENTS.values()],
    }


def schema_text() -> str:
    """Return the schema as the text of its file."""
    return json.dumps(schema(), indent=1) + "\n"


def _schema_of(event: Event) -> dict[str, Any]:
    fields = event.all_fields | {name: FIELDS[name] for name in ("worker", "exception")}
    properties: dict[str, Any] = {name: _property(field) for name, field in fields.items()}
    properties |= {"timestamp": {"type": "string", "format": "date-time"}}
    properties |= {"event": {"const": event.name}, "level": {"enum": list(event.levels)}}
    return {
        "title": event.name,
        "description": event.when,
        "properties": properties,
        "required": ["event", "level", "timestamp", *event.required],
        "additionalProperties": False,
    }


def _property(field: Field) -> dict[str, Any]:
    unit = {"x-unit": field.unit} if field.unit else {}
    personal = {"x-personal": True} if field.personal else {}
    return {**SCHEMAS[field.type], "description": field.doc, **unit, **personal}
