"""Finds the running server's folder in its configuration, even while that file is being edited."""

from __future__ import annotations

from pathlib import Path

from config.diagnostics import Diagnostic
from config.language.nodes import Option, Statement, String, Word
from config.loader import load
from config.schema.specs import Schema
from proxy.options.core import CoreOptions

DEFAULT = Path(str(CoreOptions.model_fields["state_directory"].default))


def state_directory(path: Path, schema: Schema) -> tuple[Path, tuple[Diagnostic, ...]]:
    """Return the State_Directory that a configuration names, and why the file could not be read at all.

    The server runs with the file that it loaded. An error made in that file since then must not hide the server.
    """
    loaded = load(path, schema)
    if loaded.settings is not None and isinstance(loaded.settings.core, CoreOptions):
        return loaded.settings.core.state_directory, ()
    named = [folder for each in loaded.statements if (folder := _folder(each)) is not None]
    return named[-1] if named else DEFAULT, () if loaded.sources else loaded.diagnostics


def _folder(statement: Statement) -> Path | None:
    if not isinstance(statement, Option) or statement.name.text.lower() != "state_directory":
        return None
    if not isinstance(statement.value, Word | String) or not statement.value.text:
        return None
    return Path(statement.span.source.name).parent / statement.value.text
