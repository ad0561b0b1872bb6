"""`ringback docs`: the pages generated from declarations in the code, and the check that they are current."""

from __future__ import annotations

from importlib import resources
from pathlib import Path
from typing import Annotated

import typer

from config.tools.reference import reference
from proxy.app import SCHEMA, library
from sieve.reference import markdown

_TABLES = "<!-- tables -->"


def pages() -> dict[str, str]:
    """Return each generated page's text by its file name."""
    head = resources.files("proxy").joinpath("pages/configuration.md").read_text(encoding="utf-8")
    return {
        "configuration.md": head.replace(_TABLES, reference(SCHEMA)),
        "sieve.md": markdown(library()),
    }


def documents(
    folder: Annotated[Path, typer.Argument(help="The folder with the pages.")] = Path("docs"),
    *,
    check: Annotated[bool, typer.Option("--check", help="Write nothing; exit 1 if a page is stale.")] = False,
) -> None:
    """Write docs/configuration.md and docs/sieve.md from the declarations in the code."""
    stale = []
    for name, text in pages().items():
        path = folder / name
        if not path.is_file() or path.read_text(encoding="utf-8") != text:
            stale.append(name)
            if not check:
                path.write_text(text, encoding="utf-8")
    for name in stale:
        typer.echo(f"{folder / name}: {'stale; run `make docs`' if check else 'written'}")
    if check and stale:
        raise typer.Exit(1)
