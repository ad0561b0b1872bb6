"""A loaded configuration, ready for a worker."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from typing import TypeAlias

from config.diagnostics import Diagnostic
from config.overlay import Change
from config.schema.specs import Schema
from config.settings import Settings
from proxy.checks.places import in_force
from proxy.counting.base import Counting
from proxy.counting.memory import MemoryCounting
from proxy.counting.opening import meanwhile_of, open_counting
from proxy.keeper.counting import KeptCounting
from proxy.keeper.door import Calling
from proxy.keeper.messages import Hello
from proxy.keeper.only import OnlyCounting
from proxy.metrics.book import Names
from proxy.metrics.table import CERTIFICATE, DATASOURCE, LISTENER, SCRIPT, UPSTREAM, ZONE
from proxy.modules.base import CallbackMaker, Prepared, ScriptRunner, ZoneAsker
from proxy.modules.services import Callbacks, NoCallbacks, monitors_of
from proxy.options.core import CoreOptions
from proxy.upstream.routes import Router

Changes: TypeAlias = tuple[Change, ...]


@dataclass(frozen=True, slots=True)
class Origin:
    """Where a configuration comes from."""

    schema: Schema
    change: Callable[[Assembly, Changes], tuple[Assembly, Sequence[Diagnostic]]]
    """Makes the same configuration with settings of the console in place of the present ones."""
    load: Callable[[], tuple[Assembly, Sequence[Diagnostic]]]
    """Loads its file again."""


@dataclass(frozen=True, slots=True)
class Assembly:
    """A configuration that was loaded, checked and compiled. A worker needs nothing else to start."""

    core: CoreOptions
    settings: Settings
    prepared: Sequence[Prepared]
    digest: str = ""
    """Of the configuration's files, for people who compare machines."""
    origin: Origin | None = field(default=None, compare=False, repr=False)
    changes: Changes = ()
    """The settings of the console in it."""
    serial: int = 0
    """When they were made, on the monotonic clock in nanoseconds: a late message must not undo newer ones."""

    @property
    def metric_names(self) -> Names:
        """What has its own metrics."""
        listeners = [f"{each.address}:{each.port}" for each in self.core.esmtp_listener if each.enabled]
        scripts = [name for each in self.prepared if isinstance(each, ScriptRunner) for name in each.script_names]
        zones = [name for each in self.prepared if isinstance(each, ZoneAsker) for name in each.zone_names]
        certificates = [str(each.tls_certificate) for each in in_force(self.settings) if each.tls_certificate]
        page = self.core.web_tls_certificate
        certificates += [str(page)] if page else []
        return {
            LISTENER.name: listeners,
            DATASOURCE.name: [each.name for each in self.core.datasource],
            UPSTREAM.name: list(dict.fromkeys(each.name for each in Router(self.settings).named())),
            SCRIPT.name: list(dict.fromkeys(scripts)),
            ZONE.name: list(dict.fromkeys(zones)),
            CERTIFICATE.name: list(dict.fromkeys(certificates)),
        }

    def changed(self, changes: Sequence[Change], serial: int = 0) -> tuple[Assembly, Sequence[Diagnostic]]:
        """Return the file's configuration with these settings of the console, and the diagnostics of them.

        Raises:
            ConfigurationRejected: a setting is wrong.
        """
        if self.origin is None or tuple(changes) == self.changes:
            return replace(self, serial=serial), ()
        assembly, found = self.origin.change(self, tuple(changes))
        return replace(assembly, serial=serial), found

    @property
    def keeps(self) -> bool:
        """Whether several workers need a keeper."""
        return self.core.processes > 1

    def counting(self, calling: Calling | None = None) -> Counting:
        """Make what a process counts with; with `calling`, the keeper counts."""
        if calling is None:
            return open_counting(self.core)
        hello = Hello(calling.generation, calling.worker, counts=True)

        def asking(meanwhile: MemoryCounting) -> KeptCounting:
            return KeptCounting(calling.outside, hello, meanwhile_of(self.core, "keeper", meanwhile))

        if calling.doors is None:
            return asking(MemoryCounting())
        return OnlyCounting(open_counting(self.core, f"{calling.generation}:{calling.worker}"), asking)

    @property
    def monitors(self) -> list[tuple[int, int]]:
        """The windows of inbound_audit."""
        return monitors_of(self.settings)

    def callbacks(self, upstream_down: Callable[[], bool], calling: Calling | None = None) -> Callbacks:
        """Make the callback service of the last stanza that has one; with `calling`, the keeper asks the exchangers."""
        makers, keeper = self._makers, None if calling is None or calling.doors is not None else calling
        return makers[-1].callbacks(self.core, upstream_down, keeper) if makers else NoCallbacks()

    def govern(self, callbacks: Callbacks) -> None:
        """Give a callback service in use the rules of these options."""
        for each in self._makers[-1:]:
            each.govern(self.core, callbacks)

    @property
    def _makers(self) -> list[CallbackMaker]:
        return [each for each in self.prepared if isinstance(each, CallbackMaker)]
