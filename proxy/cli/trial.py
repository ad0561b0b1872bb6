"""A fake session for `ringback sieve run`, built from command-line options."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Mapping
from dataclasses import replace
from enum import StrEnum
from pathlib import Path
from tempfile import TemporaryDirectory

from config.base.ip import plain_address
from config.settings import Settings
from proxy.cli.circumstances import Circumstances, Facts
from proxy.datasource.parameters import Parameters
from proxy.datasource.sources import Datasources as Sources
from proxy.dns.resolver import Resolver
from proxy.lists.listed import Lists
from proxy.lists.region import Region
from proxy.mail.header_section import HeaderSection
from proxy.mail.message import Message
from proxy.mail.session import Recipient, Session
from proxy.mail.stuffing import StuffedBody, stuffed, unstuffed
from proxy.modules.base import Module
from proxy.modules.bounce_classifier.module import BOUNCE_CLASSIFIER, BOUNCE_CLASSIFIER_OVERRIDE
from proxy.modules.dnsbl.module import URL_RIPPER
from proxy.modules.services import NoCallbacks, Services
from proxy.modules.sieve_policy.datasources import ScriptDatasources
from proxy.modules.sieve_policy.effects import SessionControl, path_of
from proxy.modules.sieve_policy.host import SessionHost
from proxy.modules.sieve_policy.lists import rows_of
from proxy.modules.smtp_cbv.making import callbacks_of
from proxy.smtp.access import is_trusted
from proxy.smtp.commands.mail import mail_context
from proxy.smtp.commands.rcpt import recipient_context
from proxy.smtp.dialogue import helo_context
from sieve.host import CallbackAnswer
from sieve.phases import Phase
from sieve.shared import Found


class Callback(StrEnum):
    """What smtp_callback_verify answers in a trial run; `real` asks the exchanger."""

    PASS = "pass"  # noqa: S105 — a verdict, not a password
    FAIL = "fail"
    TRANSIENT = "transient"
    ERROR = "error"
    REAL = "real"


_ENCRYPTION = {
    "tls": "on",
    "tls_cipher": "TLS_AES_256_GCM_SHA384",
    "tls_cipher_algbits": "256",
    "tls_cipher_usebits": "256",
}


def trial_session(facts: Facts, around: Circumstances, content: bytes | None) -> Session:
    """Return a session with these facts and this message."""
    peer = (plain_address(facts.client_ip), 40025)
    session = Session(asyncio.get_running_loop(), peer, around.local, around.options)
    session.can_relay = is_trusted(session)
    session.context["can_relay"] = "true" if session.can_relay else "false"
    if facts.tls:
        session.tls, session.cipher, session.encryption = "TLSv1.3", _ENCRYPTION["tls_cipher"], _ENCRYPTION
        session.context |= _ENCRYPTION
    session.host_name, session.extended_smtp = facts.helo, True
    session.context |= helo_context(facts.helo, extended=True)
    if facts.user:
        session.authenticate(facts.user)
    transaction = session.transaction
    transaction.begin(path_of(facts.sender), {})
    transaction.context |= mail_context(transaction.reverse_path, {})
    for recipient in facts.recipients:
        transaction.add(Recipient(path_of(recipient)))
        transaction.context |= recipient_context(path_of(recipient))
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


class TrialDatasources(ScriptDatasources):
    """Queries databases, and changes nothing."""

    __slots__ = ("_lines",)

    def __init__(self, sources: Sources, lines: list[str]) -> None:
        """Record in `lines` what would be changed."""
        super().__init__(sources)
        self._lines = lines

    async def execute(self, name: str, query: str, parameters: Parameters) -> Found:  # noqa: ARG002 - not done
        """Record the statement instead of running it."""
        self._lines.append(f"(would execute at {name}: {query})")
        return Found()


_FOR_SCRIPTS: Mapping[str, Module] = {
    each.spec.type: each for each in (BOUNCE_CLASSIFIER, BOUNCE_CLASSIFIER_OVERRIDE, URL_RIPPER)
}
"""Modules that give something to the functions of scripts."""


class TrialHost(SessionHost):
    """A script's view of a trial session. Side effects are recorded as lines and not carried out."""

    __slots__ = ("_answer", "_callbacks", "_resolver", "_tables", "lines", "session")

    def __init__(self, session: Session, phase: Phase, answer: Callback, around: Circumstances) -> None:
        """Answer callbacks as `answer` says."""
        self._resolver = Resolver([str(server) for server in around.options.nameservers])
        self._tables = TemporaryDirectory()
        """Of lists: a trial must not change the server's."""
        super().__init__(session, self._trial_services(around), phase)
        self._answer, self._callbacks = answer, around.callbacks
        self.session = session
        self.lines: list[str] = []

    async def close(self) -> None:
        """Close the callback service, the resolver and the message."""
        if self.session.transaction.message is not None:
            self.session.transaction.message.close()
        await self._services.callbacks.close()
        if self._services.lists is not None:
            lists = self._services.lists.cidr.every
            self.lines += [f"(list {each.definition.name}: {each.problem})" for each in lists if each.problem]
            await self._services.lists.close()
        await self._services.background.close()
        await self._services.datasources.close()
        self._tables.cleanup()
        await self._resolver.close()

    def _trial_services(self, around: Circumstances) -> Services:
        sources = Sources(around.options.datasource)
        core, folder = around.options, Path(self._tables.name)
        names = (*core.client_lists, *core.refuse_lists)
        lists = Lists(core.state_directory, Region(), names, rows_of(sources), folder)
        services = Services(core, around.settings, self._resolver, datasources=sources, lists=lists)
        for each in around.settings.modules:
            if each.type in _FOR_SCRIPTS:
                _FOR_SCRIPTS[each.type].prepare(each, frozenset()).validator(services)
        return services

    @property
    def datasources(self) -> TrialDatasources:
        """Databases and directories, which only answer."""
        return TrialDatasources(self._services.datasources, self.lines)

    def callback(self, address: str, sender: str | None) -> CallbackAnswer | Awaitable[CallbackAnswer]:
        """Answer as the command line says."""
        if self._answer is not Callback.REAL:
            return CallbackAnswer(self._answer.value, f"answered by --callback {self._answer.value}")
        if isinstance(self._services.callbacks, NoCallbacks):
            callbacks = callbacks_of(self._callbacks, self._services.settings)
            self._services = replace(self._services, callbacks=callbacks)
        return super().callback(address, sender)

    async def greylisted(self, name: str) -> float:
        """Let the mail pass: a trial does not count as an attempt."""
        self.lines.append(f"(would ask the greylist {name})")
        return 0.0

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
