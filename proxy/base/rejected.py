"""The exception that loading raises for a configuration with errors."""

from __future__ import annotations

from collections.abc import Sequence

from config.diagnostics import Diagnostic


class ConfigurationRejected(Exception):
    """The configuration or a script that it names has errors."""

    def __init__(self, diagnostics: Sequence[Diagnostic]) -> None:
        """Keep all diagnostics, warnings included."""
        super().__init__(f"{sum(each.is_error for each in diagnostics)} errors in the configuration")
        self.diagnostics = tuple(diagnostics)
