"""One listener's entrance: which options apply to which client, and how many connections are open.

Each option falls back from the client's network to the address, the listener, a pathway that one of them names, and the
global scope. Sessions from the same network share one frozen result.
"""

from __future__ import annotations

import copy
import ssl
from collections.abc import Iterator, Mapping
from functools import lru_cache
from typing import Self, cast

from config.base.ip import read_address
from config.scopes.listener import Client, Listener
from config.scopes.places import Setting
from config.settings import Settings
from proxy.base.log import get_logger
from proxy.metrics.book import BOOK
from proxy.metrics.table import COMMANDS, LISTENER, SESSIONS
from proxy.options.inbound import InboundOptions
from proxy.smtp.plan import Looks, Plan
from proxy.smtp.tls import ServerCertificate, certificate_of

log = get_logger()

_CLIENTS_REMEMBERED = 4096

_TERMS = tuple(name for name in InboundOptions.model_fields if name.startswith("tls_"))
"""The options that a certificate and its context depend on."""


class Entrance:
    """A listener of one worker. Its state is owned by the event loop's thread."""

    def __init__(self, listener: Listener, settings: Settings, before: Entrance | None = None) -> None:
        """Take the listener and its configuration; certificates that `before` has for the same options stay in use."""
        self._by_terms: dict[str, ServerCertificate | None] = {} if before is None else dict(before._by_terms)  # noqa: SLF001 — of its own kind
        self._listener = listener
        self._settings = settings
        self._core = cast(InboundOptions, settings.core)
        self._merged: dict[tuple[int, ...], InboundOptions] = {}
        self._remember_clients()
        self._plans: dict[int, Plan] = {}
        self._certificates: dict[int, ServerCertificate | None] = {}
        self.connections = 0
        self.number = BOOK.number(LISTENER, f"{listener.address}:{listener.port}")
        self.commands = COMMANDS.at(self.number, "connect", "2xx") - 2  # a code's first digit is added
        """Where the replies to its clients are counted."""
        self.ended = SESSIONS.table(self.number)
        """Where the ends of its sessions are counted, by why."""
        self.own_options = self._in_force(None)
        """The listener's own options, for any client."""

    def _remember_clients(self) -> None:
        self._of_client = lru_cache(maxsize=_CLIENTS_REMEMBERED)(self._merge)

    def turn_to(self, other: Entrance) -> Self:
        """Serve new sessions as `other` would; return what running ones keep. The count of connections stays."""
        earlier = copy.copy(self)
        earlier._remember_clients()  # noqa: SLF001 — of its own kind
        vars(self).update(vars(other) | {"connections": self.connections})
        return earlier

    def certificate(self, options: InboundOptions) -> ServerCertificate | None:
        """Return the certificate for TLS under these options; None if TLS is not offered.

        It could be used when the configuration was loaded. If it cannot be used now, mail goes without TLS.
        """
        key = id(options)  # these options live as long as we do, so no others get the same id
        if key not in self._certificates:
            terms = repr([getattr(options, name) for name in _TERMS])
            try:
                if terms not in self._by_terms:
                    self._by_terms[terms] = certificate_of(options)
                self._certificates[key] = self._by_terms[terms]
            except (OSError, ssl.SSLError) as error:  # and try again for the next client
                log.error("certificate_unusable", certificate=str(options.tls_certificate), reason=str(error))
                return None
        return self._certificates[key]

    def plan(self, options: InboundOptions, policy: Looks) -> Plan:
        """Return the plan for clients with these options."""
        plan = self._plans.get(id(options))  # as for certificates
        if plan is None:
            plan = self._plans[id(options)] = Plan(options, policy)
        return plan

    def every_options(self) -> Iterator[InboundOptions]:
        """Yield this listener's effective options: the general ones, then each network's own."""
        yield self.own_options
        for peer in self._listener.peers:
            yield self.options(str(peer.network.network_address))

    @property
    def address(self) -> str:
        """The listening address."""
        return str(self._listener)

    @property
    def loaded(self) -> list[ServerCertificate]:
        """The certificates that are loaded, each once."""
        found = {id(each): each for each in self._certificates.values() if each is not None}
        return list(found.values())

    def load_certificates(self) -> None:
        """Load every certificate now, so that no session waits for files."""
        for options in self.every_options():
            self.certificate(options)

    def options(self, client_ip: str) -> InboundOptions:
        """Return the options that apply to a client."""
        return self._of_client(client_ip)

    def _merge(self, client_ip: str) -> InboundOptions:
        return self._in_force(read_address(client_ip))

    def _in_force(self, client: Client | None) -> InboundOptions:
        layers = [layer for layer in self._settings.for_client(self._listener, client).layers if layer]
        if not layers:
            return self._core
        key = tuple(id(layer) for layer in layers)
        found = self._merged.get(key)
        if found is None:
            found = self._merged[key] = self._core.model_copy(update=self._values(layers))
        return found

    def _values(self, layers: list[Mapping[str, Setting]]) -> dict[str, object]:
        """Return the values that the layers set. The first layer wins."""
        known = type(self._core).model_fields
        return {name: each.value for layer in reversed(layers) for name, each in layer.items() if name in known}
