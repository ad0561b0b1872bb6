"""The options of smtp_cbv for `ringback probe` and `ringback cache`: from a configuration, or the defaults."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import cast

import typer

from config.diagnostics import Diagnostic
from proxy.base.rejected import ConfigurationRejected
from proxy.cli import exits
from proxy.modules.smtp_cbv.options import SmtpCbvOptions
from proxy.options.core import CoreOptions
from proxy.options.store import MEMORY
from proxy.server.assembly import Assembly

Load = Callable[[Path], tuple[Assembly, Sequence[Diagnostic]]]
"""Loads a configuration. Raises ConfigurationRejected."""


def loaded(config_file: Path, load: Load) -> Assembly:
    """Load a configuration, or print its errors and exit 78."""
    try:
        assembly, _ = load(config_file)
    except ConfigurationRejected as rejected:
        exits.show(rejected.diagnostics)
        raise typer.Exit(exits.CONFIGURATION) from None
    return assembly


def configured(config_file: Path | None, load: Load) -> tuple[SmtpCbvOptions, CoreOptions]:
    """Return smtp_cbv's options and the server's: configured, or the defaults. Print errors and exit 78."""
    if config_file is None:
        return SmtpCbvOptions(store=MEMORY), CoreOptions.model_construct(esmtp_listener=())
    assembly = loaded(config_file, load)
    settings = assembly.settings
    stanzas = [module.options for module in settings.modules if module.type == "smtp_cbv"]
    options = cast(SmtpCbvOptions, stanzas[0]) if stanzas else SmtpCbvOptions()
    return options, assembly.core
