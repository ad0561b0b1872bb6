"""A loaded configuration, ready for a worker."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from config.settings import Settings
from proxy.checks.places import in_force
from proxy.keeper.door import Calling
from proxy.metrics.book import Names
from proxy.metrics.table import CERTIFICATE, LISTENER, SCRIPT, UPSTREAM
from proxy.modules.base import CallbackMaker, Prepared, ScriptRunner
from proxy.modules.services import Callbacks, NoCallbacks
from proxy.options.core import CoreOptions
from proxy.upstream.routes import Router


@dataclass(frozen=True, slots=True)
class Assembly:
    """A configuration that was loaded, checked and compiled. A worker needs nothing else to start."""

    core: CoreOptions
    settings: Settings
    prepared: Sequence[Prepared]
    digest: str = ""
    """Of the configuration's files, for people who compare machines."""

    @property
    def metric_names(self) -> Names:
        """What has metrics of its own."""
        listeners = [f"{each.address}:{each.port}" for each in self.core.esmtp_listener if each.enabled]
        scripts = [name for each in self.prepared if isinstance(each, ScriptRunner) for name in each.script_names]
        certificates = [str(each.tls_certificate) for each in in_force(self.settings) if each.tls_certificate]
        page = self.core.web_tls_certificate
        certificates += [str(page)] if page else []
        return {
            LISTENER.name: listeners,
            UPSTREAM.name: list(dict.fromkeys(each.name for each in Router(self.settings).named())),
            SCRIPT.name: list(dict.fromkeys(scripts)),
            CERTIFICATE.name: list(dict.fromkeys(certificates)),
        }

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
