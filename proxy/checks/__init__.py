"""Checks of a configuration against this machine, run when it is loaded. Each problem is a diagnostic at its option.

The checks cover unusable files and folders, this machine's addresses, and settings that grant too much access, in one
module per subject. They make no network requests, bind no listeners and write no files.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from config.diagnostics import Diagnostic
from config.settings import Settings
from proxy.checks.access import doors
from proxy.checks.authentication import logins, schemes
from proxy.checks.certificates import tls
from proxy.checks.counting import counting
from proxy.checks.datasources import datasources
from proxy.checks.folders import log, outbox, outbox_wanted, spool
from proxy.checks.limits import endless, shared
from proxy.checks.network import addresses
from proxy.checks.order import names, order
from proxy.checks.places import once
from proxy.checks.secrets import exposed, letter_key
from proxy.modules.traits import Diagnosed, LooksOutside

__all__ = ["outbox", "outbox_wanted", "outside"]


def outside(settings: Settings, prepared: Iterable[Diagnosed]) -> Iterator[Diagnostic]:
    """Yield settings that cannot work on this machine, and settings that were probably not intended."""
    prepared = tuple(prepared)
    early = [*tls(settings), *endless(settings), *logins(settings), *schemes(settings), *letter_key(settings)]
    yield from early
    known = (*early, *(diagnostic for stanza in prepared for diagnostic in stanza.diagnostics))
    wrong = [diagnostic.span for diagnostic in known if diagnostic.is_error]
    # report a bad file only once
    yield from (diagnostic for diagnostic in exposed(settings) if diagnostic.span not in wrong)
    yield from doors(settings)
    yield from addresses(settings)
    yield from order(settings)
    yield from names(settings)
    yield from once(shared(settings))
    yield from counting(settings, prepared)
    yield from datasources(settings, prepared)
    for stanza in prepared:
        if isinstance(stanza, LooksOutside):
            yield from stanza.outside()
    yield from spool(settings, prepared)
    yield from outbox(settings, prepared)
    yield from log(settings)
