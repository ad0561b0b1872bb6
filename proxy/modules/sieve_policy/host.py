"""A script's view of a live session: `sieve.Host` over the session, its transaction and the worker's services."""

from __future__ import annotations

import asyncio
from collections.abc import MutableMapping, Sequence

from proxy.log import get_logger, printable
from proxy.modules.base import Services
from proxy.session import MessageHead, Session
from sieve import CallbackAnswer, Phase

log = get_logger()

LONGEST_LOG = 1972
"""Characters of ec_log's text that are written, as in the manual."""

_ONE_RECIPIENT = frozenset({Phase.RCPTTO, Phase.EACH_RCPT})


class SessionHost:
    """One phase of one session. It keeps nothing: the session does."""

    __slots__ = ("_phase", "_services", "_session")

    def __init__(self, session: Session, services: Services, phase: Phase) -> None:
        """Look at the session in a phase."""
        self._session, self._services, self._phase = session, services, phase

    @property
    def sender(self) -> str:
        """The reverse-path, empty for the null sender."""
        return self._session.transaction.reverse_path.text

    @property
    def recipients(self) -> Sequence[str]:
        """The recipient in question, or all accepted so far."""
        current = self._session.current_recipient
        if self._phase in _ONE_RECIPIENT and current is not None:
            return (current.text,)
        return [each.path.text for each in self._session.transaction.recipients]

    @property
    def message(self) -> MessageHead | None:
        """The header section, from the data phase on."""
        return self._session.transaction.head

    @property
    def vctx_conn(self) -> MutableMapping[str, str]:
        """The connection's context."""
        return self._session.context

    @property
    def vctx_mess(self) -> MutableMapping[str, str]:
        """The message's context."""
        return self._session.transaction.context

    async def callback(self, address: str, sender: str | None) -> CallbackAnswer:
        """Ask the verifier; the loader has seen to it that there is one."""
        verifier = self._services.verifier
        if verifier is None:
            return CallbackAnswer("error", "smtp_cbv is not loaded")
        verdict = await verifier.verify(address, sender)
        return CallbackAnswer(verdict.status.value, verdict.message)

    async def tarpit(self, seconds: float) -> None:
        """Hold the session; a client that leaves ends it."""
        await asyncio.sleep(seconds)

    def log(self, text: str) -> None:
        """Write what ec_log says."""
        log.info("script", session=self._session.id, phase=self._phase.value, text=printable(text, LONGEST_LOG))

    def count(self, counter: str, code: int) -> None:
        """Record that a script's action counted."""
        log.info("counter", session=self._session.id, phase=self._phase.value, counter=printable(counter), code=code)

    def script_failed(self, script: str, line: int, reason: str) -> None:
        """Record a run-time error with its place."""
        log.error("script_failed", session=self._session.id, script=script, line=line, reason=printable(reason))
