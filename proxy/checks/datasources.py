"""Checks that the datasources that scripts and modules name are declared."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import cast

from config.diagnostics import Diagnostic, Severity
from config.errors import closest
from config.settings import Settings
from proxy.modules.traits import AsksDatasources, Diagnosed, NeedsDatasources
from proxy.options.core import CoreOptions


def datasources(settings: Settings, prepared: Iterable[Diagnosed]) -> Iterator[Diagnostic]:
    """Yield the names that no stanza declares. In a script it is a warning: its other branches may work."""
    known = [each.name for each in cast(CoreOptions, settings.core).datasource]
    for stanza in prepared:
        for name, span in stanza.datasources if isinstance(stanza, AsksDatasources) else ():
            if name not in known:
                yield Diagnostic(
                    f"there is no datasource `{name}`: the call will be a run-time error",
                    span,
                    _hint(name, known),
                    Severity.WARNING,
                )
        for name, span in stanza.needed if isinstance(stanza, NeedsDatasources) else ():
            if name not in known:
                yield Diagnostic(f"there is no datasource `{name}`", span, _hint(name, known))


def _hint(name: str, known: list[str]) -> str:
    close = closest(name, known)
    if close is not None:
        return f"did you mean {close}?"
    return f"the datasources are: {', '.join(known)}" if known else f'write Datasource "{name}" {{ uri = "…" }}'
