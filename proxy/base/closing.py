"""Close a connection with a time limit, in either role: data that the peer does not take in time is dropped.

A closed transport first sends what it still holds. A peer that never reads, or never answers the TLS close, would keep
it open forever.
"""

from __future__ import annotations

import asyncio

CLOSE_SECONDS = 10.0
"""Time for the peer to take what was written before the close."""


def close(transport: asyncio.BaseTransport) -> asyncio.TimerHandle:
    """Close a connection, and abort it after CLOSE_SECONDS. Cancel the handle when the connection is lost."""
    transport.close()
    abort = getattr(transport, "abort", transport.close)
    return asyncio.get_running_loop().call_later(CLOSE_SECONDS, abort)
