"""The control process. Like a worker, it takes orders only from its supervisor."""

from __future__ import annotations

import asyncio
import os
import socket
from collections.abc import Sequence
from pathlib import Path

from proxy.control.certificates import Certificates
from proxy.control.desk import Desk, places
from proxy.control.health import Health
from proxy.control.observers import Observers
from proxy.control.service import ControlService, Part
from proxy.control.watched import Watched
from proxy.history.receiver import Receiver
from proxy.history.settings import HistorySettings
from proxy.server.assembly import Assembly
from proxy.server.birth import Post
from proxy.server.generation import CONTROL
from proxy.server.orders import LISTENING
from proxy.server.process import live, next_order


def be_control(assembly: Assembly, watched: Watched, pages: Sequence[socket.socket], post: Post) -> int:
    """Observe in a process that was just forked, and return its exit status."""
    os.nice(NICENESS)
    return live(lambda: _control(assembly, watched, pages, post), assembly.core, post, worker=CONTROL)


NICENESS = 10
"""The control process gets a tenth of a processor that a worker wants, too: after a restart it has much to write."""


async def _control(assembly: Assembly, watched: Watched, pages: Sequence[socket.socket], post: Post) -> None:
    history = Receiver(HistorySettings.of(assembly.core, _secret(assembly)))
    history.reading = observers = Observers(post.rows.inside, history.take)
    health = Health(watched)
    parts: list[Part] = [
        history,
        observers,
        Certificates(assembly.metric_names["certificate"]),
        Desk(places(assembly.core.state_directory), health),
    ]
    if pages:
        parts.append(_web(assembly, watched, pages, health))
    service = ControlService(parts)
    await service.start()
    await asyncio.get_running_loop().sock_sendall(post.orders, LISTENING)
    if not await next_order(post.orders):  # the supervisor is gone, and its workers finish their sessions
        await observers.deserted.wait()
    await service.stop()


def _secret(assembly: Assembly) -> Path | None:
    """Return the secret that hashes addresses in the callbacks' store, and so in the history."""
    named = [getattr(each.options, "store_secret", None) for each in assembly.settings.modules]
    return next((each for each in named if each is not None), None)


def _web(assembly: Assembly, watched: Watched, pages: Sequence[socket.socket], health: Health) -> Part:
    # aiohttp and prometheus-client cost a quarter of a second and 20 MiB, which no other process needs.
    from proxy.control.exposition import Exposition  # noqa: PLC0415
    from proxy.control.web import Web  # noqa: PLC0415

    core = assembly.core
    hosts = {"localhost", core.hostname, socket.gethostname(), *core.metrics_hosts}
    return Web(pages, Exposition(watched, health, assembly.digest), health, frozenset(each.lower() for each in hosts))
