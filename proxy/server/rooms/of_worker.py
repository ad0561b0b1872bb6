"""All that each worker answers. `of_keeper` has what only one process answers."""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol, runtime_checkable

from proxy.counting.base import Counting
from proxy.datasource.sources import Datasources
from proxy.lists.listed import Lists
from proxy.modules.services import Background, Callbacks
from proxy.outbox.store import OutboxStore
from proxy.server.answering import Question
from proxy.server.assembly import Assembly
from proxy.server.rooms import (
    certificates,
    checks,
    datasources,
    explaining,
    greylists,
    lists,
    live,
    outbox,
    overlay,
    process,
    sessions,
    settings,
    upstreams,
)
from proxy.smtp.entrance import Entrance
from proxy.smtp.pipeline import PhasePipeline
from proxy.smtp.ports import Front
from proxy.upstream.pools import Pools
from proxy.upstream.routes import Router


@runtime_checkable
class Includes(Protocol):
    """A module's stanza whose scripts include others."""

    def flush_includes(self) -> int:
        """Read included scripts again at their next use; return how many were known."""
        ...


class Working(Protocol):
    """A worker that has started: `proxy.server.worker.Worker`."""

    assembly: Assembly
    front: Front
    pools: Pools
    pipeline: PhasePipeline
    callbacks: Callbacks
    outbox_store: OutboxStore
    entrances: dict[str, Entrance]
    router: Router
    counting: Counting
    lists: Lists
    datasources: Datasources
    generation: int
    background: Background

    @property
    def deliverer(self) -> outbox.Delivering:
        """What delivers letters."""
        ...

    async def prepare(self, assembly: Assembly) -> Callable[[], None]:
        """Build what a changed configuration needs; return what turns to it."""
        ...


def questions(worker: Working) -> dict[str, Question]:
    """Return the questions to a worker that has started."""
    front = worker.front
    return {
        **process.questions(lambda: len(front.live)),
        **sessions.questions(front),
        **upstreams.questions(worker.pools, front),
        **settings.questions(front, lambda: worker.pipeline, worker.callbacks),
        **outbox.questions(worker.assembly.core.state_directory, worker.outbox_store, worker.deliverer),
        **live.Dialogues(front, worker.pools).questions(),
        **explaining.questions(lambda: explaining.Place(front, worker.entrances, worker.router, worker.pools)),
        **overlay.questions(worker),
        "sieve_flush": lambda _given: _flush(worker),
        **certificates.questions(list(worker.entrances.values())),
        **lists.questions(worker.lists),
        **greylists.questions(lambda: worker.counting, lambda: _greylists(worker)),
        **datasources.questions(worker.datasources),
        **checks.questions(
            lambda: _validators(worker), lambda: worker.assembly.prepared, lambda: worker.background.remembered
        ),
    }


def _greylists(worker: Working) -> list[str]:
    return [each.name for each in worker.assembly.settings.modules if each.type == "greylist"]


def _validators(worker: Working) -> list[object]:
    """Return the validators of new sessions, and of those that began before a setting of the console."""
    pipelines = {id(each): each for each in (worker.pipeline, *[front.pipeline for front in worker.front.in_use])}
    return [one for each in pipelines.values() if isinstance(each, PhasePipeline) for one in each.validators]


def _flush(worker: Working) -> int:
    """Forget the included scripts of the configuration of new sessions."""
    return sum(each.flush_includes() for each in worker.assembly.prepared if isinstance(each, Includes))
