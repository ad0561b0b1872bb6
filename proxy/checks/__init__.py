"""What is wrong with a configuration beyond its own text, each finding a diagnostic at its option. Part of loading.

Files that it names and that cannot be used, folders, addresses of this machine, and what opens a door wider than anyone
means to. One module a subject. Nothing is asked of the network here, bound or written.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from config import Settings
from config.diagnostics import Diagnostic
from proxy.checks.access import doors
from proxy.checks.authentication import logins
from proxy.checks.certificates import tls
from proxy.checks.folders import outbox, outbox_wanted, unwritable
from proxy.checks.network import addresses
from proxy.checks.secrets import exposed
from proxy.modules.base import Prepared

__all__ = ["outbox", "outbox_wanted", "outside"]


def outside(settings: Settings, prepared: Iterable[Prepared]) -> Iterator[Diagnostic]:
    """Yield what the world outside the text makes impossible, and what is possible and hardly meant."""
    prepared = tuple(prepared)
    yield from tls(settings)
    yield from logins(settings)
    yield from doors(settings)
    yield from exposed(settings)
    yield from addresses(settings)
    yield from unwritable(settings)
    yield from outbox(settings, prepared)
