"""The keeper in its own process. Like a worker, it takes orders only from its supervisor."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from functools import partial

from proxy.counting.memory import MemoryCounting
from proxy.counting.opening import open_counting
from proxy.keeper.door import Doors
from proxy.keeper.messages import Hello
from proxy.keeper.tenure import Tenure
from proxy.keeper.verifying import VerifierMaker, Verifying
from proxy.metrics.book import BOOK
from proxy.metrics.table import TRACKED
from proxy.server.answering import Answerer, through
from proxy.server.assembly import Assembly
from proxy.server.birth import Post
from proxy.server.gc import collect_seldom
from proxy.server.generation import KEEPER
from proxy.server.orders import LISTENING
from proxy.server.process import live, next_order
from proxy.server.rooms import of_keeper, process
from proxy.server.sockets import OWN_FILES, compare_open_files, raise_descriptor_limit


def be_keeper(assembly: Assembly, earlier: Sequence[Assembly], doors: Doors, post: Post) -> int:
    """Be the keeper in a process that was just forked; return its exit status. Workers of `earlier` may ask, too."""
    return live(lambda: _keep(assembly, earlier, doors, post), assembly.core, post, worker=KEEPER)


def _asker(assembly: Assembly, earlier: Sequence[Assembly]) -> Verifying | None:
    """Return what makes callbacks. If a reload has removed them, older workers may still ask."""
    for each in (assembly, *reversed(earlier)):
        makers = [stanza for stanza in each.prepared if isinstance(stanza, VerifierMaker)]
        if makers:
            return makers[-1].verifying(each.core)
    return None


async def _keep(assembly: Assembly, earlier: Sequence[Assembly], doors: Doors, post: Post) -> None:
    """Take over, answer until the supervisor has an order or all workers have ended, and close the store."""
    loop, orders = asyncio.get_running_loop(), post.orders
    verifying = _asker(assembly, earlier)
    verifier = verifying.verifier if verifying is not None else None
    counting = open_counting(assembly.core)
    await counting.start()
    BOOK.sample(partial(_look, counting.local))
    tenure = Tenure(doors, counting, verifier)
    await tenure.begin()
    answers = process.questions(lambda: 0) | of_keeper.questions(counting, verifier, assembly)
    answerer = Answerer(through(post.rows.outside, Hello(post.generation, KEEPER, answers=True)), answers)
    answerer.start()
    compare_open_files((verifier.most_probes if verifier is not None else 0) + OWN_FILES, raise_descriptor_limit())
    collect_seldom(loop)
    await loop.sock_sendall(orders, LISTENING)
    if not await next_order(orders):  # the supervisor is gone, and its workers finish their sessions
        await tenure.deserted.wait()
    await tenure.end()
    await answerer.close()
    if verifying is not None:
        await verifying.close()
    await counting.close()


def _look(counting: MemoryCounting) -> None:
    """Write what is true now into the gauges."""
    BOOK.counts[TRACKED.base] = len(counting.buckets)
