"""What is wrong with a configuration beyond its own text: files it names that cannot be used. Part of loading.

Each finding is a diagnostic at the place that names the file, beside those of the language itself.
"""

from __future__ import annotations

import ssl
from collections.abc import Iterator
from typing import cast

from config import Settings
from config.diagnostics import Diagnostic
from proxy.settings import CoreOptions
from proxy.smtp.entrance import Entrance
from proxy.smtp.tls import certificate_of


def outside(settings: Settings) -> Iterator[Diagnostic]:
    """Yield what the world outside the text makes impossible."""
    yield from _certificates(settings)


def _certificates(settings: Settings) -> Iterator[Diagnostic]:
    core = cast(CoreOptions, settings.core)
    seen: set[tuple[object, ...]] = set()
    for options in (core, *(Entrance(listener, settings).own_options for listener in core.esmtp_listener)):
        named = (options.tls_certificate, options.tls_key, options.tls_ciphers)
        if named in seen:
            continue
        seen.add(named)
        try:
            certificate_of(options)
        except (OSError, ssl.SSLError) as error:
            yield Diagnostic(
                f"the TLS certificate cannot be used: {error.strerror or error}",
                settings.core_origin("tls_certificate"),
                hint="TLS_Certificate and TLS_Key name PEM files that belong together",
            )
