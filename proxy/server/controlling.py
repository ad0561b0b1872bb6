"""The control process. Like a worker, it takes orders only from its supervisor."""

from __future__ import annotations

import asyncio
from pathlib import Path

from proxy.control.observers import Observers
from proxy.control.service import ControlService
from proxy.history.receiver import Receiver
from proxy.history.settings import HistorySettings
from proxy.server.assembly import Assembly
from proxy.server.birth import Post
from proxy.server.generation import CONTROL
from proxy.server.orders import LISTENING
from proxy.server.process import live, next_order


def be_control(assembly: Assembly, post: Post) -> int:
    """Observe in a process that was just forked, and return its exit status."""
    return live(lambda: _control(assembly, post), assembly.core, post, worker=CONTROL)


async def _control(assembly: Assembly, post: Post) -> None:
    history = Receiver(HistorySettings.of(assembly.core, _secret(assembly)))
    history.reading = observers = Observers(post.rows.inside, history.take)
    service = ControlService([history, observers])
    await service.start()
    await asyncio.get_running_loop().sock_sendall(post.orders, LISTENING)
    if not await next_order(post.orders):  # the supervisor is gone, and its workers finish their sessions
        await observers.deserted.wait()
    await service.stop()


def _secret(assembly: Assembly) -> Path | None:
    """Return the secret that hashes addresses in the callbacks' store, and so in the history."""
    named = [getattr(each.options, "store_secret", None) for each in assembly.settings.modules]
    return next((each for each in named if each is not None), None)
