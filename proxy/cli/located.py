"""Where the running server keeps its socket, as its configuration says, also while somebody edits that file."""

from __future__ import annotations

from pathlib import Path

from config.diagnostics import Diagnostic
from config.language.nodes import Option, Statement, String, Word
from config.loader import load
from proxy.app import SCHEMA
from proxy.options.core import CoreOptions

DEFAULT = Path(str(CoreOptions.model_fields["state_directory"].default))


def state_directory(path: Path) -> tuple[Path, tuple[Diagnostic, ...]]:
    """Return the folder that a configuration names, and why nothing could be read.

    The server runs with the file that it has loaded. So an error in the file now must not keep anybody from asking it.
    """
    loaded = load(path, SCHEMA)
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
