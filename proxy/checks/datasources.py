"""Checks of datasources: missing packages, and missing files of SQLite. Connects to nothing."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import cast

from config.diagnostics import Diagnostic, Severity
from config.settings import Settings
from proxy.datasource.errors import driver_missing
from proxy.datasource.sources import missing_package
from proxy.options.core import CoreOptions


def databases(settings: Settings) -> Iterator[Diagnostic]:
    """Yield why queries of a datasource will fail. It is no error: mail does not depend on it."""
    core = cast(CoreOptions, settings.core)
    for source in core.datasource:
        for uri in source.uri:
            problem = ""
            if missing_package(uri.driver) is not None:
                problem = str(driver_missing(uri.driver))
            elif uri.driver == "sqlite" and not Path(uri.fields["path"]).is_file():
                problem = f"there is no file {uri.fields['path']}"
            if problem:
                yield Diagnostic(
                    f"queries of the datasource `{source.name}` will fail: {problem}",
                    settings.core_origin("datasource"),
                    severity=Severity.WARNING,
                )
