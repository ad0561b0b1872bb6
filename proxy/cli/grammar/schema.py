"""The JSON Schema of what `--json` prints, made from the types that the commands declare beside the option."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from pydantic import TypeAdapter

from proxy.cli.grammar.tree import Command

FILE = Path(__file__).parents[1] / "schema.json"
"""Where it is shipped."""


def schema(root: Command) -> dict[str, Any]:
    """Return one schema with an entry in `$defs` for each command that prints JSON."""
    commands = [each for each in root.all() if each.prints is not None]
    inputs = [(each.name, "serialization", TypeAdapter(each.prints.kind)) for each in commands if each.prints]
    found, below = TypeAdapter.json_schemas(inputs, ref_template="#/$defs/{model}")  # type: ignore[arg-type]
    named = {each.name: {**found[each.name, "serialization"], "title": f"{each.name} --json"} for each in commands}
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "What Ringback's commands print with --json",
        "anyOf": [{"$ref": f"#/$defs/{name.replace(' ', '%20')}"} for name in named],
        "$defs": {**named, **below.get("$defs", {})},
    }


def schema_text(root: Command) -> str:
    """Return the schema as the text of its file."""
    return json.dumps(schema(root), indent=1, ensure_ascii=True) + "\n"
