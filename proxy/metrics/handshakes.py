"""Counts TLS handshakes of both sides."""

from __future__ import annotations

import asyncio

from proxy.metrics.book import BOOK
from proxy.metrics.metric import OTHER
from proxy.metrics.table import HANDSHAKES, VERSION


def count_handshake(side: str, transport: asyncio.BaseTransport) -> None:
    """Count a handshake that succeeded; nothing if the connection is in the clear."""
    secured = transport.get_extra_info("ssl_object")
    if secured is not None:
        version = secured.version()
        BOOK.counts[HANDSHAKES.at(side, version if version in VERSION.values else OTHER, "ok")] += 1


def count_failure(side: str) -> None:
    """Count a handshake that failed; its version is not known."""
    BOOK.counts[HANDSHAKES.at(side, OTHER, "failed")] += 1
