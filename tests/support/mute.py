"""An address that does not answer, neither yes nor no, as a dead host or a packet filter makes it."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager


@contextmanager
def mute(address: str = "127.0.0.1", port: int = 0) -> Iterator[int]:
    """Yield a port on which nothing answers: the queue of its listener is full, and the kernel drops what comes."""
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    with ExitStack() as stack:
        listener = stack.enter_context(socket.socket(family))
        listener.bind((address, port))
        listener.listen(0)
        for _ in range(3):
            filler = stack.enter_context(socket.socket(family))
            filler.setblocking(False)
            filler.connect_ex(listener.getsockname()[:2])
        yield listener.getsockname()[1]
