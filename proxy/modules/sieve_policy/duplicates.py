"""The messages that `duplicate` knows, in a store that all workers share (RFC 7352)."""

from __future__ import annotations

import os
from collections.abc import Mapping
from functools import partial

from proxy.mail.session import Session
from proxy.modules.services import Services
from proxy.modules.sieve_policy.options import SieveOptions
from proxy.options.store import MEMORY, StoreUrl
from proxy.store.base import Store
from proxy.store.opening import open_store

STORE_FILE = "sieve.db"
_PREFIX = "duplicate:"


class Tracking:
    """Finds the store when a script asks for it first."""

    __slots__ = ("_name", "_options", "_services", "_store")

    def __init__(self, name: str, options: SieveOptions, services: Services) -> None:
        """Take the stanza's name: each has its own list."""
        self._name, self._options, self._services = name, options, services
        self._store: Store | None = None

    def key(self, digest: str) -> str:
        """Return the key of an ID in the store."""
        return f"{_PREFIX}{self._name}:{digest}"

    def of(self, session: Session) -> SessionDuplicates:
        """Return the view of a session."""
        return SessionDuplicates(session, self)

    @property
    def store(self) -> Store:
        """The store, opened at its first use."""
        if self._store is None:
            self._store = self._services.stores.of(self._url(), open_store)
        return self._store

    def _url(self) -> StoreUrl:
        if self._options.store is not None:
            return self._options.store
        folder = self._services.settings.state_directory
        if folder.is_dir() and os.access(folder, os.W_OK):
            return StoreUrl("sqlite", path=str(folder / STORE_FILE))
        return MEMORY


class SessionDuplicates:
    """A session's view of what is known."""

    __slots__ = ("_session", "_tracking")

    def __init__(self, session: Session, tracking: Tracking) -> None:
        """Look at a session."""
        self._session, self._tracking = session, tracking

    async def is_known(self, digest: str) -> bool:
        """Tell whether an accepted message had this ID."""
        return await self._tracking.store.get(self._tracking.key(digest)) is not None

    def remember(self, digests: Mapping[str, float]) -> None:
        """Remember IDs once the next hop has accepted the message."""
        transaction = self._session.transaction
        transaction.when_accepted = (*transaction.when_accepted, partial(self._remembered, dict(digests)))

    async def _remembered(self, digests: Mapping[str, float]) -> None:
        for digest, seconds in digests.items():
            await self._tracking.store.put(self._tracking.key(digest), b"", seconds)

    async def renew(self, digest: str, seconds: float) -> None:
        """Keep a known ID for this many seconds from now."""
        await self._tracking.store.put(self._tracking.key(digest), b"", seconds)
