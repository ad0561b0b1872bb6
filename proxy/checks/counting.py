"""Checks that machines really share what they are meant to share."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import cast

from config.diagnostics import Diagnostic, Severity
from config.settings import Settings
from proxy.modules.traits import CallsFunctions, Diagnosed
from proxy.options.core import CoreOptions

_SHARED = "ec_shared_throttle_"
_HINT = (
    'set Script_Store to the Redis of all machines, such as "redis://redis.example.com:6379/0"; one machine needs none'
)


def counting(settings: Settings, prepared: Iterable[Diagnosed]) -> Iterator[Diagnostic]:
    """Yield that scripts or a `Cluster` of Momentum share counts, and nothing shares them here."""
    core = cast(CoreOptions, settings.core)
    if core.shares_counts:
        return
    kinds = sorted({each.kind for each in core.cluster})
    if kinds:
        yield Diagnostic(
            f"Cluster replicates {', '.join(kinds)}, and Script_Store shares nothing with other machines",
            settings.core_origin("cluster"),
            _HINT,
            Severity.WARNING,
        )
    elif any(isinstance(each, CallsFunctions) and _any_shared(each.calls) for each in prepared):
        yield Diagnostic(
            "scripts use shared throttles, and Script_Store shares nothing with other machines",
            settings.core_origin("script_store"),
            _HINT,
            Severity.WARNING,
        )


def _any_shared(calls: Iterable[str]) -> bool:
    return any(each.startswith(_SHARED) for each in calls)
