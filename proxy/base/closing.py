"""Closing a connection for good, in either role: what the peer does not take in time is dropped.

A transport that is closed sends what it holds first, and a peer that never reads makes that last for ever; so does a
peer that never answers the end of TLS.
"""

from __future__ import annotations

import asyncio

CLOSE_SECONDS = 10.0
"""For the peer to take what was written before a connection was closed."""


def close(transport: asyncio.BaseTransport) -> asyncio.TimerHandle:
    """Close a connection, and abort it in CLOSE_SECONDS; whoever hears that it is lost cancels the handle."""
    transport.close()
    abort = getattr(transport, "abort", transport.close)
    return asyncio.get_running_loop().call_later(CLOSE_SECONDS, abort)
