"""The control process. Like a worker, it takes orders only from its supervisor."""

from __future__ import annotations

import asyncio

from proxy.control.observers import Observers
from proxy.control.service import ControlService
from proxy.server.assembly import Assembly
from proxy.server.birth import Post
from proxy.server.generation import CONTROL
from proxy.server.orders import LISTENING
from proxy.server.process import live, next_order


def be_control(assembly: Assembly, post: Post) -> int:
    """Observe in a process that was just forked, and return its exit status."""
    return live(lambda: _control(post), assembly.core, post, worker=CONTROL)


async def _control(post: Post) -> None:
    observers = Observers(post.rows.inside, lambda _sender, _rows: None)
    service = ControlService([observers])
    await service.start()
    await asyncio.get_running_loop().sock_sendall(post.orders, LISTENING)
    if not await next_order(post.orders):  # the supervisor is gone, and its workers finish their sessions
        await observers.deserted.wait()
    await service.stop()
