"""The order of module stanzas: who reads what others found must stand behind them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from config.diagnostics import Diagnostic, Severity
from config.settings import Settings

BEFORE: Mapping[str, frozenset[str]] = {
    "dmarc": frozenset({"spf_v1", "dkim_validate", "opendkim", "arc", "openarc", "iprev", "dnsbl"}),
    "smtp_cbv": frozenset({"spf_v1", "dmarc"}),
}
"""A type of module, and those whose results it reads."""


def order(settings: Settings) -> Iterator[Diagnostic]:
    """Yield a warning for each module that stands before one whose results it reads."""
    for number, reader in enumerate(settings.modules):
        if reader.passive or reader.type not in BEFORE:
            continue
        for later in settings.modules[number + 1 :]:
            if later.type in BEFORE[reader.type] and not later.passive:
                yield Diagnostic(
                    f"{reader.type} stands before {later.type}, so it does not know what that finds",
                    reader.span,
                    hint=f"move {reader.type} behind {later.type}",
                    severity=Severity.WARNING,
                )
