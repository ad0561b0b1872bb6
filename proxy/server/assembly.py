"""A loaded configuration, ready for a worker."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from config.settings import Settings
from proxy.keeper.door import Calling
from proxy.modules.base import CallbackMaker, Prepared
from proxy.modules.services import Callbacks, NoCallbacks
from proxy.options.core import CoreOptions


@dataclass(frozen=True, slots=True)
class Assembly:
    """A configuration that was loaded, checked and compiled. A worker needs nothing else to start."""

    core: CoreOptions
    settings: Settings
    prepared: Sequence[Prepared]

    @property
    def keeps(self) -> bool:
        """Whether several workers need a keeper."""
        return self.core.processes > 1 and bool(self._makers)

    def callbacks(self, upstream_down: Callable[[], bool], calling: Calling | None = None) -> Callbacks:
        """Make the callback service of the last stanza that has one; with `calling`, the keeper asks the exchangers."""
        makers = self._makers
        return makers[-1].callbacks(self.core, upstream_down, calling) if makers else NoCallbacks()

    @property
    def _makers(self) -> list[CallbackMaker]:
        return [each for each in self.prepared if isinstance(each, CallbackMaker)]
