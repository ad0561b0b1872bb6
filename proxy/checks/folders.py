"""Checks that the folders for state, the outbox, spooled messages and the log are writable."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import cast

from config.diagnostics import Diagnostic, Severity, Span
from config.settings import Settings
from proxy.base.journal import SOCKET as JOURNAL
from proxy.checks.places import everywhere
from proxy.modules.traits import BodyReader, Diagnosed, MailCreator
from proxy.options.core import CoreOptions


def spool(settings: Settings, prepared: Iterable[Diagnosed]) -> Iterator[Diagnostic]:
    """Yield that messages over 1 MiB cannot be spooled: an error if a script reads whole messages."""
    named = cast(CoreOptions, settings.core).spool_directory
    folder = named or Path(tempfile.gettempdir())
    problem = _unusable(folder)
    needed = any(isinstance(stanza, BodyReader) and stanza.reads_body for stanza in prepared)
    if not problem or not (named or needed):
        return
    yield Diagnostic(
        f"Spool_Directory: {folder} {problem}",
        settings.core_origin("spool_directory"),
        hint="name a folder that the user running Ringback can write; the default is the system's temporary folder",
        severity=Severity.ERROR if needed else Severity.WARNING,
    )


def outbox(settings: Settings, prepared: Iterable[Diagnosed]) -> Iterator[Diagnostic]:
    """Yield that State_Directory is unusable: an error if Ringback needs it for an outbox."""
    core = cast(CoreOptions, settings.core)
    problem = _unusable(core.state_directory)
    if not problem:
        return
    for origin in outbox_wanted(settings, prepared):
        yield Diagnostic(
            f"Ringback's own messages need an outbox, but {core.state_directory} {problem}",
            origin,
            hint="set State_Directory to a folder that the user running Ringback can write",
        )
        return
    named = settings.core_origin("state_directory")
    # If the default folder does not exist, Ringback keeps nothing and logs that (callbacks_in_memory).
    if named is not None or core.state_directory.exists():
        yield Diagnostic(
            f"State_Directory: {core.state_directory} {problem}: nothing survives a restart",
            named,
            hint="make it a folder that the user running Ringback can write",
            severity=Severity.WARNING,
        )


def log(settings: Settings) -> Iterator[Diagnostic]:
    """Yield that the log cannot be written where the configuration wants it."""
    core = cast(CoreOptions, settings.core)
    path = core.log_file
    if path is not None:
        problem = "is not a writable file" if path.exists() and not _is_writable_file(path) else ""
        if not problem and not path.exists() and _unusable(path.parent):
            problem = f"cannot be created: {path.parent} is not a writable folder"
        if problem:
            hint = "name a file that the user running Ringback can write"
            yield Diagnostic(f"Log_File: {path} {problem}", settings.core_origin("log_file"), hint=hint)
    if core.log_format == "journald" and not Path(JOURNAL).exists():
        yield Diagnostic(
            f"Log_Format: the journal's socket {JOURNAL} does not exist here: the log is lost",
            settings.core_origin("log_format"),
            hint="remove Log_Format, or write json",
            severity=Severity.WARNING,
        )


def outbox_wanted(settings: Settings, prepared: Iterable[Diagnosed]) -> Iterator[Span | None]:
    """Yield the settings that need an outbox."""
    for each in prepared:
        if isinstance(each, MailCreator) and each.creates_mail is not None:
            yield each.creates_mail
    yield from (each.origin for each in everywhere(settings, "multi_recipient") if each.value == "dsn")


def _is_writable_file(path: Path) -> bool:
    return path.is_file() and os.access(path, os.W_OK, effective_ids=os.access in os.supports_effective_ids)


def _unusable(folder: Path) -> str:
    """Return why a folder is unusable; empty if it is writable."""
    if folder.is_dir() and os.access(folder, os.W_OK | os.X_OK, effective_ids=os.access in os.supports_effective_ids):
        return ""
    return "is not a writable folder"
