"""What a module gives the keeper: the verifier that answers for all workers."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

from proxy.callback.verifier import CallbackVerifier
from proxy.options.core import CoreOptions


@dataclass(frozen=True, slots=True)
class Verifying:
    """A verifier, and what to close after it."""

    verifier: CallbackVerifier
    closing: Sequence[Callable[[], Awaitable[None]]] = ()

    async def close(self) -> None:
        """Cancel what is running, and close store and resolver."""
        await self.verifier.close()
        for close in self.closing:
            await close()


@runtime_checkable
class VerifierMaker(Protocol):
    """A prepared stanza that asks mail exchangers."""

    def verifying(self, settings: CoreOptions) -> Verifying:
        """Make what the keeper answers with."""
        ...
