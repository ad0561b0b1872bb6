"""The page of a control process, in this process: on a real socket, with a board and a history of a test's own."""

from __future__ import annotations

import socket
import time
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import aiohttp

from proxy.console.commands import all_commands
from proxy.console.served import Served
from proxy.control.asking import Processes
from proxy.control.health import Health
from proxy.control.watched import Watched
from proxy.metrics.board import Board
from proxy.metrics.reading import Totals
from proxy.metrics.table import BEAT, LISTENS, PID, RELOAD_WORKED, WORKER_UP, WORKERS
from proxy.options.core import CoreOptions
from proxy.options.route import Route
from proxy.page.routes import Role
from proxy.page.serving import Page
from tests.support.histories import settings

NAMES = {"listener": ["127.0.0.1:25"], "upstream": ["mail.test:25"], "script": [], "certificate": ["/etc/mx.pem"]}


@dataclass(frozen=True, slots=True)
class OpenPage:
    """A page that is served, and what it reads."""

    page: Page
    board: Board
    own: Board
    address: str
    port: int

    def link(self, role: Role = Role.OPERATE) -> str:
        """Return a link as `ringback page` prints it."""
        return self.page.link(role)

    def show(self, *lines: bytes) -> None:
        """Show lines as if a worker had sent them."""
        self.page.live.take(b"".join(lines))


@asynccontextmanager
async def opened(
    folder: Path, *, host: str = "127.0.0.1", names: dict[str, list[str]] | None = None, ask: Any = None,
    history_on: bool = True, **core: Any,
) -> AsyncIterator[OpenPage]:  # fmt: skip
    """Serve a page."""
    options = CoreOptions(esmtp_listener=(), gateway=Route("192.0.2.25"), hostname="mx.example.com", **core)
    own, board = Board(1, {}), Board(3, names or NAMES)
    counts = own.blocks[0].counts
    counts[WORKERS.base] = counts[LISTENS.base] = counts[RELOAD_WORKED.base] = counts[WORKER_UP.base + 1] = 1
    counts[BEAT.base], board.blocks[1].counts[PID.base] = time.monotonic_ns(), 4711
    watched = Watched(own, [board], board, Totals())
    served = Served(Processes(), options, watched, Health(watched))
    bound = socket.create_server((host, 0))
    bound.setblocking(False)
    page = Page(
        options,
        served.health,
        ask or served.processes.ask,
        all_commands(served),
        [bound],
        settings(folder, on=history_on),
        b"k" * 32,
    )
    await page.start()
    try:
        yield OpenPage(page, board, own, page.addresses[0], bound.getsockname()[1])
    finally:
        await page.stop()


@asynccontextmanager
async def browser(**how: Any) -> AsyncIterator[aiohttp.ClientSession]:
    """Yield a client that keeps cookies, as a browser does, and follows no redirects by itself."""
    jar = aiohttp.CookieJar(unsafe=True)  # cookies of addresses, too
    async with aiohttp.ClientSession(cookie_jar=jar, **how) as session:
        yield session


@asynccontextmanager
async def logged_in(page: OpenPage, role: Role = Role.OPERATE) -> AsyncIterator[aiohttp.ClientSession]:
    """Yield a client that has followed a link."""
    async with browser() as session:
        async with session.get(page.link(role)) as answer:
            assert answer.status == 200, await answer.text()
        yield session


async def text(session: aiohttp.ClientSession, url: str, status: int = 200, **how: Any) -> str:
    """Return what a URL shows."""
    async with session.get(url, allow_redirects=False, **how) as answer:
        assert answer.status == status, (url, answer.status, await answer.text())
        return await answer.text()


HOSTILE: Sequence[str] = (
    "<script>alert(1)</script>",
    '"><img src=x onerror=alert(1)>',
    "' onmouseover='alert(1)",
    "{{7*7}}{%raw%}",
    "\x1b[31mred\x1b[0m\x07",
    "\u202egnp.exe\u2066\u200f",
    "a" + "\u0301" * 30,
    "javascript:alert(1)",
    "\ufeff\u200b\u2028\u2029",
    "w" * 300,
)
"""What a stranger may put where the page shows words: markup, templates, ANSI, bidi, marks, invisible characters."""
