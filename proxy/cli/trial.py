"""A fake session for `ringback sieve run`, built from command-line options."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable
from dataclasses import replace
from enum import StrEnum
from typing import cast

from config.base.ip import plain_address
from config.scopes.scopes import Scopes
from config.settings import Settings
from proxy.dns.resolver import Resolver
from proxy.mail.message import HeaderSection, Message, StuffedBody, stuffed, unstuffed
from proxy.mail.session import Recipient, Session
from proxy.modules.services import NoCallbacks, Services
from proxy.modules.sieve_policy.effects import SessionControl, path_of
from proxy.modules.sieve_policy.host import SessionHost
from proxy.modules.smtp_cbv.making import callbacks_of
from proxy.modules.smtp_cbv.options import SmtpCbvOptions
from proxy.options.core import CoreOptions
from proxy.options.route import Route
from proxy.smtp.context import path_context
from proxy.store.url import MEMORY
from sieve.host import CallbackAnswer
from sieve.phases import Phase


class Callback(StrEnum):
    """What smtp_callback_verify answers in a trial run; `real` asks the exchanger."""

    PASS = "pass"  # noqa: S105 — a verdict, not a password
    FAIL = "fail"
    TRANSIENT = "transient"
    ERROR = "error"
    REAL = "real"


def trial_session(sender: str, recipients: list[str], client_ip: str, content: bytes | None) -> Session:
    """Return a session with this envelope and message, from a client at `client_ip`."""
    options = CoreOptions(esmtp_listener=(), gateway=Route("192.0.2.25"), hostname="mx.example.com")
    session = Session(asyncio.get_running_loop(), (plain_address(client_ip), 40025), ("192.0.2.2", 25), options)
    session.host_name, session.extended_smtp = "client.example.org", True
    session.context |= {"ehlo_string": session.host_name, "ehlo_domain": session.host_name, "can_relay": "false"}
    transaction = session.transaction
    transaction.begin(path_of(sender), {})
    transaction.context |= path_context("mailfrom", transaction.reverse_path)
    for recipient in recipients:
        transaction.add(Recipient(path_of(recipient)))
        transaction.context |= path_context("rcptto", path_of(recipient))
    if transaction.recipients:
        session.current_recipient = transaction.recipients[-1]
    if content is not None:
        transaction.message = _message(content)
    return session


def _message(content: bytes) -> Message:
    gathered = HeaderSection()
    gathered.feed(stuffed(content))
    head, rest = gathered.part()
    kept = StuffedBody(None)
    kept.write(rest)
    return Message(unstuffed(head), kept)


class TrialControl(SessionControl):
    """A session's control that writes no file."""

    __slots__ = ("_lines",)

    def __init__(self, session: Session, configuration: Settings, lines: list[str]) -> None:
        """Record in `lines` what would be written."""
        super().__init__(session, configuration)
        self._lines = lines

    async def write_line(self, path: str, line: str) -> None:
        """Record the line instead of writing it."""
        self._lines.append(f"(would write to {path}: {line})")


class TrialHost(SessionHost):
    """A script's view of a trial session. Side effects are recorded as lines and not carried out."""

    __slots__ = ("_answer", "_resolver", "lines", "session")

    def __init__(self, session: Session, phase: Phase, answer: Callback) -> None:
        """Answer callbacks as `answer` says."""
        self._resolver = Resolver()
        core = cast(CoreOptions, session.options)
        settings = Settings(core, (), Scopes(core, {}, {}), {})
        super().__init__(session, Services(core, settings, self._resolver), phase)
        self._answer = answer
        self.session = session
        self.lines: list[str] = []

    async def close(self) -> None:
        """Close the callback service, the resolver and the message."""
        if self.session.transaction.message is not None:
            self.session.transaction.message.close()
        await self._services.callbacks.close()
        await self._resolver.close()

    def callback(self, address: str, sender: str | None) -> CallbackAnswer | Awaitable[CallbackAnswer]:
        """Answer as the command line says."""
        if self._answer is not Callback.REAL:
            return CallbackAnswer(self._answer.value, f"answered by --callback {self._answer.value}")
        if isinstance(self._services.callbacks, NoCallbacks):
            callbacks = callbacks_of(SmtpCbvOptions(store=MEMORY), self._services.settings)
            self._services = replace(self._services, callbacks=callbacks)
        return super().callback(address, sender)

    async def tarpit(self, seconds: float) -> None:
        """Record the wait instead of waiting."""
        self.lines.append(f"(would hold the session for {seconds:g} s)")

    def log(self, text: str) -> None:
        """Record a line of ec_log."""
        self.lines.append(text)

    def count(self, counter: str, code: int) -> None:
        """Record an increase of a counter."""
        self.lines.append(f"(counter {counter}, code {code})")

    @property
    def control(self) -> TrialControl:
        """The session and the server, without file writes."""
        return TrialControl(self.session, self._services.configuration, self.lines)

    def script_failed(self, script: str, line: int, reason: str) -> None:
        """Record a run-time error."""
        self.lines.append(f"{script}:{line}: run-time error: {reason}")
