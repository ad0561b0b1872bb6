"""How to ask exchangers: a value made from the module's options."""

from __future__ import annotations

import socket
import ssl
from collections.abc import Mapping
from dataclasses import dataclass, field

from proxy.callback.classify import Classifier
from proxy.callback.verdict import Status


@dataclass(frozen=True, slots=True)
class ProbeSettings:
    """How everybody is asked."""

    helo: str
    port: int = 25
    classifier: Classifier = field(default_factory=Classifier)
    tls: ssl.SSLContext | None = None
    """The TLS context to use if the exchanger offers STARTTLS; None never uses TLS."""
    bind: Mapping[socket.AddressFamily, str] = field(default_factory=dict)
    """Addresses of ours that connections leave from."""
    fallback: str = ""
    """Given in MAIL FROM where the null sender is refused; empty tries no other."""
    null_refused: Status = Status.ERROR
    """What refusing the null sender means, where no other sender is given or it is refused as well."""
    catchall: bool = False
    """Look whether the domain takes any recipient."""
