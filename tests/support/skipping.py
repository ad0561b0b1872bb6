"""An event loop whose time a test can advance, so that it need not wait for a timeout."""

from __future__ import annotations

import asyncio


class SkippingLoop(asyncio.SelectorEventLoop):
    """The selector loop, with a clock that can be put forward."""

    _skipped = 0.0

    def time(self) -> float:
        """Return the loop's time in seconds."""
        return super().time() + self._skipped

    def skip(self, seconds: float) -> None:
        """Put the clock forward; what is due then is done in the next turn."""
        self._skipped += seconds
