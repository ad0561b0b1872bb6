"""`Certificates`: checks every hour when the configuration's certificates expire."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

from proxy.base.tasks import TaskOwner, spawn
from proxy.checks.certificates import expires
from proxy.metrics.book import BOOK
from proxy.metrics.table import EXPIRY

EVERY_SECONDS = 3600.0


class Certificates:
    """A part of the control process."""

    name = "certificates"

    def __init__(self, paths: Sequence[str]) -> None:
        """Take the files, as the metric names them."""
        self._paths = paths
        self._owner = TaskOwner("certificates")

    async def start(self) -> None:
        """Look now, and from then on."""
        if self._paths:
            spawn(self._look_on(), name="expiry", owner=self._owner)

    async def stop(self) -> None:
        """Look no more."""
        await self._owner.cancel()

    async def _look_on(self) -> None:
        while True:
            for path in self._paths:
                with suppress(OSError, ssl.SSLError, ValueError):  # the worker that serves it logs the problem
                    ends = await asyncio.to_thread(expires, Path(path))
                    BOOK.counts[EXPIRY.at(BOOK.number(EXPIRY.labels[0], path))] = int(ends)
            await asyncio.sleep(EVERY_SECONDS)
