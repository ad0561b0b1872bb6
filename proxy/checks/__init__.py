"""What is wrong with a configuration beyond its own text, each finding a diagnostic at its option. Part of loading.

Files that it names and that cannot be used, folders, addresses of this machine, and what opens a door wider than anyone
means to. One module a subject. Nothing is asked of the network here, bound or written.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from config.diagnostics import Diagnostic
from config.settings import Settings
from proxy.checks.access import doors
from proxy.checks.authentication import logins
from proxy.checks.certificates import tls
from proxy.checks.folders import outbox, outbox_wanted, spool
from proxy.checks.limits import endless
from proxy.checks.network import addresses
from proxy.checks.secrets import exposed, letter_key
from proxy.modules.traits import Diagnosed

__all__ = ["outbox", "outbox_wanted", "outside"]


def outside(settings: Settings, prepared: Iterable[Diagnosed]) -> Iterator[Diagnostic]:
    """Yield what the world outside the text makes impossible, and what is possible and hardly meant."""
    prepared = tuple(prepared)
    found = [*tls(settings), *endless(settings), *logins(settings), *letter_key(settings)]
    yield from found
    known = (*found, *(each for stanza in prepared for each in stanza.diagnostics))
    wrong = [each.span for each in known if each.is_error]
    yield from (each for each in exposed(settings) if each.span not in wrong)  # a file that is wrong is told of once
    yield from doors(settings)
    yield from addresses(settings)
    yield from spool(settings, prepared)
    yield from outbox(settings, prepared)
