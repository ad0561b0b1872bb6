"""The control process. Like a worker, it takes orders only from its supervisor."""

from __future__ import annotations

import asyncio
import os
import secrets
import socket
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from proxy.base import log_output
from proxy.console.commands import all_commands
from proxy.console.desk import Desk
from proxy.console.people import Doorman
from proxy.console.places import places
from proxy.console.registry import Commands
from proxy.console.running import Running
from proxy.console.served import Served, TriesScripts
from proxy.control.asking import Processes
from proxy.control.certificates import Certificates
from proxy.control.health import Health
from proxy.control.observers import Observers
from proxy.control.service import ControlService, Part
from proxy.control.steering import Steering
from proxy.control.watched import Watched
from proxy.history.receiver import Receiver
from proxy.history.settings import HistorySettings
from proxy.keeper.door import Door
from proxy.keeper.messages import Hello
from proxy.lists.operators import Ending, OperatorLists
from proxy.lists.region import SHARED
from proxy.page.command import commands as page_commands
from proxy.server.answering import Answerer
from proxy.server.assembly import Assembly
from proxy.server.birth import Post
from proxy.server.generation import CONTROL
from proxy.server.orders import LISTENING
from proxy.server.process import live, next_order
from proxy.server.rooms import process
from proxy.server.rooms.live import Events
from proxy.server.telling import KEPT

if TYPE_CHECKING:
    from proxy.page.serving import Page


def be_control(assembly: Assembly, watched: Watched, pages: Sequence[socket.socket], post: Post) -> int:
    """Observe in a process that was just forked, and return its exit status."""
    be_less_important()
    return live(lambda: _control(assembly, watched, pages, post), assembly.core, post, worker=CONTROL)


COOKIE_KEY = secrets.token_bytes(32)
"""Signs logins of the page. It is made before control is forked: a login outlives a reload, but not a restart."""

MOST_TOLD, LONGEST_TOLD = 100, 65536
"""Lines of the supervisor that are read together, and octets of each."""

NICENESS = 10
"""If a worker wants the processor too, the control process gets a tenth: after a restart it has a lot to write."""


def be_less_important() -> None:
    """Leave the processor to those that carry mail; a sandbox may forbid even that."""
    with suppress(OSError):
        os.nice(NICENESS)


async def _control(assembly: Assembly, watched: Watched, pages: Sequence[socket.socket], post: Post) -> None:
    made = observing(assembly, watched, pages, post.rows, post.generation, post.steering)
    service = ControlService(made.parts)
    await service.start()
    if made.history.writes:
        log_output.observe(made.history.take_own, KEPT)
    events = Events()
    answerer = Answerer(partial(_to_ourselves, made.processes, post), process.questions(lambda: 0, events))
    answerer.start()
    if post.told is not None:
        _hear(post.told, events.show)
    await asyncio.get_running_loop().sock_sendall(post.orders, LISTENING)
    if not await next_order(post.orders):  # the supervisor is gone, and its workers finish their sessions
        await made.observers.deserted.wait()
    await answerer.close()
    await service.stop()
    await made.processes.close()


def _hear(told: socket.socket, show: Callable[[Sequence[bytes]], None]) -> None:
    """Show viewers what the supervisor logs: it has no loop to answer with."""
    told.setblocking(False)

    def hear() -> None:
        lines: list[bytes] = []
        with suppress(OSError):
            while len(lines) < MOST_TOLD:
                lines.append(told.recv(LONGEST_TOLD))
        show(lines)

    asyncio.get_running_loop().add_reader(told.fileno(), hear)


@dataclass(frozen=True, slots=True)
class Observing:
    """What a control process runs, and its parts in the order in which they start."""

    parts: Sequence[Part]
    processes: Processes
    history: Receiver
    observers: Observers
    page: Page | None


def observing(
    assembly: Assembly,
    watched: Watched,
    sockets: Sequence[socket.socket],
    rows: Door,
    generation: int,
    steering: socket.socket | None = None,
) -> Observing:
    """Make the parts of a control process. `sockets` are for metrics first, then for the page.

    `steering` leads to the supervisor; without one, no setting can be changed.
    """
    processes, health = Processes(generation), Health(watched)
    settings = HistorySettings.of(assembly.core, _secret(assembly))
    count = len(assembly.core.metrics_listener)
    scripts = [each for each in assembly.prepared if isinstance(each, TriesScripts)]
    operators = OperatorLists(SHARED, assembly.core.state_directory)
    served = Served(processes, assembly.core, watched, health, scripts, operators)
    commands = all_commands(served, _running(assembly, processes, generation, steering))
    page = _page(served, commands, sockets[count:], settings) if sockets[count:] else None
    commands.add(*page_commands(page.link if page is not None else None))
    history = Receiver(settings)
    take = history.take if page is None else page.beside(history.take)
    history.reading = observers = Observers(rows.inside, take, processes.meet)
    parts: list[Part] = [
        history,
        observers,
        Certificates(assembly.metric_names["certificate"]),
        Ending(operators),
        *_console(served, commands),
    ]
    if sockets[:count]:
        parts.append(_web(assembly, watched, sockets[:count], health))
    if page is not None:
        parts.append(page)
    return Observing(parts, processes, history, observers, page)


def _page(served: Served, commands: Commands, sockets: Sequence[socket.socket], history: HistorySettings) -> Page:
    from proxy.page.serving import Page  # noqa: PLC0415 - as below

    return Page(served.core, served.health, served.processes.ask, commands, sockets, history, COOKIE_KEY)


def _running(
    assembly: Assembly, processes: Processes, generation: int, steering: socket.socket | None
) -> Running | None:
    origin = assembly.origin
    if origin is None or steering is None:
        return None
    return Running(assembly, origin.schema, generation, Steering(steering), processes, origin.load)


def _to_ourselves(processes: Processes, post: Post) -> socket.socket:
    """Connect this process to itself, so that the console asks it as it asks the others."""
    ours, theirs = socket.socketpair()
    ours.setblocking(False)
    theirs.setblocking(False)
    processes.meet(Hello(post.generation, CONTROL, answers=True), theirs)
    return ours


def _secret(assembly: Assembly) -> Path | None:
    """Return the secret that hashes addresses, in the callbacks' store and in the history."""
    named = [getattr(each.options, "store_secret", None) for each in assembly.settings.modules]
    return next((each for each in named if each is not None), None)


def _web(assembly: Assembly, watched: Watched, pages: Sequence[socket.socket], health: Health) -> Part:
    # aiohttp and prometheus-client cost a quarter of a second and 20 MiB, which no other process needs.
    from proxy.control.exposition import Exposition  # noqa: PLC0415
    from proxy.control.web import Web  # noqa: PLC0415

    core = assembly.core
    hosts = {"localhost", core.hostname, socket.gethostname(), *core.metrics_hosts}
    return Web(pages, Exposition(watched, health, assembly.digest), health, frozenset(each.lower() for each in hosts))


def _console(served: Served, commands: Commands) -> list[Part]:
    """Return the console, unless Control_Listener switches every socket off."""
    core = served.core
    sockets = [each for each in core.control_listener if each.is_socket]
    if sockets and not any(each.enabled for each in sockets):
        return []
    doorman = Doorman.ours(core.authorization, [each.groups for each in core.control_listener if each.groups])
    return [Desk(places(core.state_directory), doorman, commands)]
