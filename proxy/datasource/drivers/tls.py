"""TLS towards databases, by the fields `sslmode` and `sslrootcert` that PostgreSQL's URIs have."""

from __future__ import annotations

import ssl
from collections.abc import Mapping

from proxy.datasource.errors import ServerLost

_CHECKED = frozenset({"verify-ca", "verify-full"})


def context_for(fields: Mapping[str, str]) -> ssl.SSLContext | None:
    """Return the context that a mode demands; None for `disable`, `prefer`, or no mode.

    Raises:
        ServerLost: the authorities cannot be read.
    """
    mode = fields.get("sslmode", "prefer")
    if mode in {"disable", "prefer"}:
        return None
    try:
        context = ssl.create_default_context(cafile=fields.get("sslrootcert"))
    except OSError as error:
        raise ServerLost(f"sslrootcert cannot be read: {error.strerror or error}") from None
    context.check_hostname = mode == "verify-full"
    if mode not in _CHECKED:
        context.verify_mode = ssl.CERT_NONE
    return context
