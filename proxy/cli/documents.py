"""`ringback docs`: what is generated from declarations in the code, and the check that it is current."""

from __future__ import annotations

from importlib import resources
from pathlib import Path
from typing import Annotated

import typer

from config.tools.reference import reference
from proxy.app import SCHEMA, library
from proxy.events import pages as events
from proxy.metrics import pages as metrics
from sieve.reference import markdown

_TABLES = "<!-- tables -->"

EVENT_SCHEMA = Path(events.__file__).with_name("schema.json")
"""The JSON Schema of a log line, which is shipped with the package."""


def pages() -> dict[str, str]:
    """Return each generated page's text by its file name."""
    head = resources.files("proxy").joinpath("pages/configuration.md").read_text(encoding="utf-8")
    return {
        "configuration.md": head.replace(_TABLES, reference(SCHEMA)),
        "events.md": events.page(),
        "metrics.md": metrics.page(),
        "sieve.md": markdown(library()),
    }


def documents(
    folder: Annotated[Path, typer.Argument(help="The folder with the pages.")] = Path("docs"),
    *,
    check: Annotated[bool, typer.Option("--check", help="Write nothing; exit 1 if a page is stale.")] = False,
) -> None:
    """Write the reference pages and the JSON Schema of the log from the declarations in the code."""
    texts = {folder / name: text for name, text in pages().items()} | {EVENT_SCHEMA: events.schema_text()}
    stale = [path for path, text in texts.items() if not path.is_file() or path.read_text(encoding="utf-8") != text]
    for path in stale:
        if not check:
            path.write_text(texts[path], encoding="utf-8")
        typer.echo(f"{path}: {'stale; run `make docs`' if check else 'written'}")
    if check and stale:
        raise typer.Exit(1)
