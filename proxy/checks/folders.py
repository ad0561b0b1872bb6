"""Folders that cannot be written: for state, for the outbox, for messages that are held on disk."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import cast

from config import Settings
from config.diagnostics import Diagnostic, Severity, Span
from proxy.checks.places import everywhere
from proxy.modules.base import MailCreator, Prepared
from proxy.settings import CoreOptions


def unwritable(settings: Settings) -> Iterator[Diagnostic]:
    """Yield the folders that the configuration names and that nothing can be written to."""
    core = cast(CoreOptions, settings.core)
    if core.spool_directory is not None and (problem := _unusable(core.spool_directory)):
        yield Diagnostic(
            f"Spool_Directory: {core.spool_directory} {problem}",
            settings.core_origin("spool_directory"),
            hint="name a folder of the user that runs Ringback, or leave it out for the system's temporary folder",
        )
    elif core.spool_directory is None and (problem := _unusable(Path(tempfile.gettempdir()))):
        yield Diagnostic(
            f"the system's temporary folder {problem}: a message that a script reads whole is deferred beyond 1 MiB",
            None,
            hint="set Spool_Directory",
            severity=Severity.WARNING,
        )


def outbox(settings: Settings, prepared: Iterable[Prepared]) -> Iterator[Diagnostic]:
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
    keepers = [each.span for each in settings.modules if getattr(each.options, "store", core) is None]
    if named is not None or keepers:
        yield Diagnostic(
            f"State_Directory: {core.state_directory} {problem}: nothing outlives a restart",
            named or keepers[0],
            hint="make it a folder of the user that runs Ringback",
            severity=Severity.WARNING,
        )


def outbox_wanted(settings: Settings, prepared: Iterable[Prepared]) -> Iterator[Span | None]:
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
