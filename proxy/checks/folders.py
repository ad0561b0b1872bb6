"""Folders that cannot be written: for state, for the outbox, for messages that are held on disk."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import cast

from config.diagnostics import Diagnostic, Severity, Span
from config.settings import Settings
from proxy.checks.places import everywhere
from proxy.modules.traits import BodyReader, Diagnosed, MailCreator
from proxy.options.core import CoreOptions


def spool(settings: Settings, prepared: Iterable[Diagnosed]) -> Iterator[Diagnostic]:
    """Yield that a message which a script reads whole could not be held beyond 1 MiB: an error if a script does."""
    named = cast(CoreOptions, settings.core).spool_directory
    folder = named or Path(tempfile.gettempdir())
    problem = _unusable(folder)
    needed = any(isinstance(each, BodyReader) and each.reads_body for each in prepared)
    if not problem or not (named or needed):
        return
    yield Diagnostic(
        f"Spool_Directory: {folder} {problem}",
        settings.core_origin("spool_directory"),
        hint="name a folder of the user that runs Ringback; without the option it is the system's temporary folder",
        severity=Severity.ERROR if needed else Severity.WARNING,
    )


def outbox(settings: Settings, prepared: Iterable[Diagnosed]) -> Iterator[Diagnostic]:
    """Yield that state has nowhere to be kept: an error if messages of Ringback's own would have nowhere to wait."""
    core = cast(CoreOptions, settings.core)
    problem = _unusable(core.state_directory)
    if not problem:
        return
    for origin in outbox_wanted(settings, prepared):
        yield Diagnostic(
            f"messages of Ringback's own need an outbox, and {core.state_directory} {problem}",
            origin,
            hint="State_Directory names a folder of the user that runs Ringback",
        )
        return
    named = settings.core_origin("state_directory")
    # Without the option a folder that nobody made means: keep nothing. The log says so, too (callbacks_in_memory).
    if named is not None or core.state_directory.exists():
        yield Diagnostic(
            f"State_Directory: {core.state_directory} {problem}: nothing outlives a restart",
            named,
            hint="make it a folder of the user that runs Ringback",
            severity=Severity.WARNING,
        )


def outbox_wanted(settings: Settings, prepared: Iterable[Diagnosed]) -> Iterator[Span | None]:
    """Yield the places that call for an outbox."""
    for each in prepared:
        if isinstance(each, MailCreator) and each.creates_mail is not None:
            yield each.creates_mail
    yield from (each.origin for each in everywhere(settings, "multi_recipient") if each.value == "dsn")


def _unusable(folder: Path) -> str:
    """Return why nothing can be kept in a folder; empty if it can."""
    if folder.is_dir() and os.access(folder, os.W_OK | os.X_OK, effective_ids=os.access in os.supports_effective_ids):
        return ""
    return "is no folder that can be written"
