"""A worker in its own process."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Sequence

from config.scopes.listener import Listener
from proxy.keeper.door import Calling
from proxy.keeper.messages import Hello
from proxy.keeper.tenure import Tenure
from proxy.server.answering import Answerer, through
from proxy.server.assembly import Assembly
from proxy.server.birth import Post
from proxy.server.gc import collect_seldom
from proxy.server.orders import CUT, DRAIN, LISTENING, SUCCEEDED
from proxy.server.process import live, next_order
from proxy.server.rooms import of_keeper, of_worker
from proxy.server.sockets import raise_descriptor_limit
from proxy.server.worker import Worker


def be_worker(
    number: int,
    assembly: Assembly,
    bound: Sequence[tuple[socket.socket, Listener]],
    post: Post,
    calling: Calling | None = None,
) -> int:
    """Serve in a process that was just forked, and return its exit status."""
    name = number if assembly.core.processes > 1 else None
    hello = Hello(post.generation, number, answers=True)

    def worker() -> Worker:
        return Worker(assembly, calling, post.generation, Tenure)

    return live(lambda: _serve(worker(), bound, post, hello), assembly.core, post, worker=name)


async def _serve(worker: Worker, bound: Sequence[tuple[socket.socket, Listener]], post: Post, hello: Hello) -> None:
    loop, orders = asyncio.get_running_loop(), post.orders
    await worker.start(bound=bound)
    once = of_keeper.questions(worker.counts_itself, worker.callbacks, worker.assembly)
    answerer = Answerer(through(post.rows.outside, hello), of_worker.questions(worker) | once)
    answerer.start()
    worker.compare_open_files(raise_descriptor_limit())
    collect_seldom(loop)
    await loop.sock_sendall(orders, LISTENING)
    order = await next_order(orders) or DRAIN
    await worker.finish(_cut(orders), reloaded=order == SUCCEEDED)
    await answerer.close()


async def _cut(orders: socket.socket) -> None:
    """Return when the supervisor orders a cut; never if the supervisor is gone."""
    if await next_order(orders) != CUT:
        await asyncio.get_running_loop().create_future()
