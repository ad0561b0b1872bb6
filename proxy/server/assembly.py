"""A loaded configuration, ready for a worker."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from config.settings import Settings
from proxy.modules.base import CallbackMaker, Prepared
from proxy.modules.services import Callbacks, NoCallbacks
from proxy.options.core import CoreOptions


@dataclass(frozen=True, slots=True)
class Assembly:
    """A configuration that was loaded, checked and compiled. A worker needs nothing else to start."""

    core: CoreOptions
    settings: Settings
    prepared: Sequence[Prepared]

    def callbacks(self, upstream_down: Callable[[], bool]) -> Callbacks:
        """Make the callback service of the last stanza that has one."""
        makers = [each for each in self.prepared if isinstance(each, CallbackMaker)]
        return makers[-1].callbacks(self.core, upstream_down) if makers else NoCallbacks()
