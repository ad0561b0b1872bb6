"""Warns about secret files that other users can access. Options declare them with `option(secret=True)`."""

from __future__ import annotations

import stat
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import cast

from config.diagnostics import Diagnostic, Severity, Span
from config.schema.declared import declared
from config.schema.options import Options
from config.settings import Settings
from proxy.checks.pem import holds_a_key
from proxy.checks.places import everywhere, within
from proxy.options.core import CoreOptions
from proxy.outbox.marks import read_key

_IN_STATE_DIRECTORY = ("letter.key",)
"""Secrets that this server creates itself."""

_READ_BY_OTHERS, _WRITTEN_BY_OTHERS = stat.S_IROTH, stat.S_IWOTH | stat.S_IWGRP


def exposed(settings: Settings) -> Iterator[Diagnostic]:
    """Yield each secret that other users can read or change."""
    seen: set[Path] = set()
    for path, origin in _files(settings):
        if path not in seen:
            seen.add(path)
            yield from _of_file(path, origin)


def _files(settings: Settings) -> Iterator[tuple[Path, Span | None]]:
    """Yield the files with secrets."""
    yield from _declared(settings)
    yield from _with_their_keys(settings)
    folder = cast(CoreOptions, settings.core).state_directory
    for name in _IN_STATE_DIRECTORY:
        yield folder / name, settings.core_origin("state_directory")


def _declared(settings: Settings) -> Iterator[tuple[Path, Span | None]]:
    """Yield the files of secret options, global and of modules."""
    for name in _secret_options(CoreOptions):
        for setting in everywhere(settings, name):
            if isinstance(setting.value, Path):
                yield setting.value, setting.origin
    for module in settings.modules:
        for name in _secret_options(type(module.options)):
            value = getattr(module.options, name)
            if isinstance(value, Path):
                yield value, module.origin(name)


def _secret_options(model: type[Options]) -> list[str]:
    return [each.name for each in declared(model).values() if each.secret]


def _with_their_keys(settings: Settings) -> Iterator[tuple[Path, Span | None]]:
    """Yield the certificate files that also contain their keys."""
    for setting in everywhere(settings, "tls_certificate"):
        if isinstance(setting.value, Path) and holds_a_key(setting.value):
            yield setting.value, setting.origin
    for setting in everywhere(settings, "tls_server_names"):
        for path in cast(Mapping[str, Path], setting.value).values():
            yield path, within(setting.origin, path.name)


def _of_file(path: Path, origin: Span | None) -> Iterator[Diagnostic]:
    try:
        mode = path.stat().st_mode
    except OSError:
        return  # its reader reports this
    if not stat.S_ISREG(mode):
        return
    may = [word for bits, word in ((_READ_BY_OTHERS, "read"), (_WRITTEN_BY_OTHERS, "change")) if mode & bits]
    if may:
        yield Diagnostic(
            f"other users of this machine can {' and '.join(may)} {path}",
            origin,
            hint=f"it contains a secret: chmod o-rwx,g-w {path}",
            severity=Severity.WARNING,
        )


def letter_key(settings: Settings) -> Iterator[Diagnostic]:
    """Yield that Letter_Key is unreadable. If it is not set, the server creates its own key."""
    path = cast(CoreOptions, settings.core).letter_key
    if path is None:
        return
    try:
        read_key(path)
    except (OSError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) else str(error)
        yield Diagnostic(
            f"Letter_Key is unusable: {reason}",
            settings.core_origin("letter_key"),
            hint="`openssl rand -hex 32` prints a key; use the same file on every server of the site",
        )
