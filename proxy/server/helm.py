"""The supervisor's side of `proxy.control.steering`: it receives control's requests, and answers when it can."""

from __future__ import annotations

import socket
from collections.abc import Iterator, Sequence
from contextlib import suppress
from functools import partial
from typing import Any, Protocol

from config.diagnostics import Diagnostic, has_errors, render
from proxy.base import log_output
from proxy.base.log import get_logger
from proxy.base.rejected import ConfigurationRejected
from proxy.control.steering import MOST_OCTETS, Asked, Done, Keep, Reload, Try, decode_asked, encode, unpacked
from proxy.keeper.door import Door
from proxy.options.core import CoreOptions
from proxy.server.generation import Generation
from proxy.server.loading import Configuration
from proxy.server.logs import open_log
from proxy.server.noting import differs
from proxy.server.rehearsing import Heed, Work

log = get_logger()

LONGEST_TEXT = 48 * 1024
"""Characters of diagnostics in an answer."""

BUSY = "another configuration is being tried or started: try again in a moment"
REPLACED = "the configuration has been loaded again meanwhile: look at it, and set it again"
STOPPED = "the service is stopping"


class Steered(Protocol):
    """The supervisor, as far as the console steers it."""

    @property
    def current(self) -> Generation[Any]:
        """The present configuration."""
        ...

    @property
    def hindrance(self) -> str:
        """Why nothing can be tried or loaded now; empty if it can."""
        ...

    def hang_up(self) -> None:
        """Load the file again."""
        ...

    def rehearse(self, work: Work, heed: Heed) -> None:
        """Try a configuration in a child."""
        ...


class Helm:
    """Has no thread and no loop: the supervisor's selector says when there is something to hear."""

    def __init__(self, configuration: Configuration[Any]) -> None:
        """Make both sides; control's process keeps `outside` and `heard`."""
        self._configuration = configuration
        self.outside, self.inside = Door()
        self.heard, self._said = socket.socketpair(socket.AF_UNIX, socket.SOCK_DGRAM)
        self._said.setblocking(False)
        self._reloading: list[int] = []
        """The queries that are waiting for the outcome of a reload."""

    def __iter__(self) -> Iterator[socket.socket]:
        """Yield the sockets."""
        yield from (self.outside, self.inside, self.heard, self._said)

    def tell_log(self) -> None:
        """From now on, pass what the supervisor logs to control, for `tail`."""
        log_output.tap(self._tell)

    def log_as(self, core: CoreOptions) -> None:
        """Log as another configuration says, and keep passing it to control."""
        open_log(core, threaded=False)
        self.tell_log()

    def _tell(self, lines: Sequence[bytes]) -> None:
        with suppress(OSError):  # there is no control process, or it is stuck
            for line in lines:
                self._said.send(line)

    def steer(self, server: Steered) -> None:
        """Do what control asks, or begin it."""
        for asked in self._heard():
            if problem := server.hindrance:
                self._answer(asked, error=problem)
            elif isinstance(asked, Reload):
                self._reloading.append(asked.number)
                server.hang_up()
            elif asked.generation != server.current.number:
                self._answer(asked, error=REPLACED)
            elif isinstance(asked, Try):
                self._try(server, asked)
            else:
                self._keep(server, asked)

    def _try(self, server: Steered, asked: Try) -> None:
        def heed(found: Sequence[Diagnostic], problem: str) -> None:
            text = render(found) if found else ""
            if problem or has_errors(found):
                self._answer(asked, error=problem or text)
            else:
                self._answer(asked, told=text)

        assembly, changes = server.current.assembly, unpacked(asked.changes)
        server.rehearse(partial(self._configuration.rehearsed_again, assembly, changes), heed)

    def _keep(self, server: Steered, asked: Keep) -> None:
        generation = server.current
        try:
            generation.assembly, _ = generation.assembly.changed(unpacked(asked.changes), asked.serial)
        except ConfigurationRejected as rejected:
            self._answer(asked, error=render(rejected.diagnostics))
        except Exception as error:  # noqa: BLE001 — a file of a module has changed since; nothing was set yet
            self._answer(asked, error=str(error))
        else:
            differs(len(asked.changes))
            self._answer(asked)

    def reloaded(self, *, error: str = "", told: str = "") -> None:
        """Tell who asked for the reload how it ended."""
        waiting, self._reloading = self._reloading, []
        for number in waiting:
            self._send(Done(number, error[:LONGEST_TEXT], told[:LONGEST_TEXT]))

    def _heard(self) -> Iterator[Asked]:
        while True:
            try:
                octets = self.inside.recv(2 * MOST_OCTETS)
            except OSError:  # nothing more
                return
            if not octets:
                return
            yield decode_asked(octets)

    def _answer(self, asked: Asked, *, error: str = "", told: str = "") -> None:
        self._send(Done(asked.number, error[:LONGEST_TEXT], told[:LONGEST_TEXT]))

    def _send(self, done: Done) -> None:
        try:
            self.inside.send(encode(done))
        except OSError as error:  # control has died, and its replacement does not wait for this
            log.warning("steering_unanswered", reason=str(error))
