"""`ringback docs`: generates pages from declarations in the code, and checks that they are current."""

from __future__ import annotations

from importlib import resources
from pathlib import Path
from typing import Annotated

import typer

from config.tools.momentum import ACTS, momentum_tables
from config.tools.reference import reference
from proxy.app import SCHEMA, library
from proxy.cli import exits
from proxy.cli.grammar import man, page, schema
from proxy.cli.grammar.shells import SCRIPTS
from proxy.cli.grammar.tree import PROGRAM, Command, described
from proxy.events import pages as events
from proxy.metrics import pages as metrics
from sieve import manual
from sieve.reference import markdown

_COMPLETION = {"bash": "ringback.bash", "zsh": "_ringback", "fish": "ringback.fish"}
"""The file of each shell's script, below `docs/completion`."""

_TABLES = "<!-- tables -->"

EVENT_SCHEMA = Path(events.__file__).with_name("schema.json")
"""The JSON Schema of a log line, which is shipped with the package."""


def pages(root: Command) -> dict[str, str]:
    """Return each generated file's text by its name below `docs`."""
    functions = {name: ACTS if name in library().functions else "an error in a script" for name in manual.FUNCTIONS}
    return {
        "configuration.md": _head("configuration.md").replace(_TABLES, reference(SCHEMA)),
        "events.md": events.page(),
        "metrics.md": metrics.page(),
        "momentum.md": _head("momentum.md").replace(_TABLES, momentum_tables(SCHEMA, functions)),
        "sieve.md": markdown(library()),
        "commands.md": page.page(root),
        **{f"man/{name}": text for name, text in man.pages(root).items()},
        **{f"completion/{name}": SCRIPTS[shell](root) for shell, name in _COMPLETION.items()},
    }


def _head(name: str) -> str:
    return resources.files("proxy").joinpath(f"pages/{name}").read_text(encoding="utf-8")


def documents(
    context: typer.Context,
    folder: Annotated[Path, typer.Argument(help="The folder with the pages.")] = Path("docs"),
    *,
    check: Annotated[bool, typer.Option("--check", help="Write nothing; exit 1 if a page is stale.")] = False,
) -> None:
    """Write reference pages, man pages, completion and the JSON Schemas from the declarations in the code."""
    root = described(context.find_root().command, (PROGRAM,))
    texts = {folder / name: text for name, text in pages(root).items()}
    texts |= {EVENT_SCHEMA: events.schema_text(), schema.FILE: schema.schema_text(root)}
    stale = [path for path, text in texts.items() if not path.is_file() or path.read_text(encoding="utf-8") != text]
    for path in stale:
        if not check:
            path.parent.mkdir(exist_ok=True)
            path.write_text(texts[path], encoding="utf-8")
        exits.say(f"{path}: {'stale; run `make docs`' if check else 'written'}")
    if check and stale:
        raise typer.Exit(1)
