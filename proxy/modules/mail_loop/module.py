"""The module: it looks at the client's address and counts Received fields. Scripts that come after it see both."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import cast

from config.diagnostics import Diagnostic
from config.schema.specs import ModuleSpec
from config.settings import ModuleSettings
from proxy.mail import replies
from proxy.mail.replies import Reply
from proxy.mail.session import Session
from proxy.mail.validator import Hook, OnError, Validator
from proxy.mail.verdict import PASS, Verdict
from proxy.modules.mail_loop.options import PASSES, SPEC, MailLoopOptions
from proxy.modules.services import Services
from sieve.phases import Need, Phase

_DEADLINE_SECONDS = 5.0


class MailLoopModule:
    """Prepares `mail_loop` stanzas."""

    spec: ModuleSpec = SPEC

    def prepare(self, loaded: ModuleSettings, present: frozenset[str]) -> PreparedMailLoop:  # noqa: ARG002 — needs none
        """Take the stanza; its options are checked already."""
        return PreparedMailLoop(loaded)


class PreparedMailLoop:
    """One stanza."""

    def __init__(self, loaded: ModuleSettings) -> None:
        """Keep its options."""
        self.diagnostics: Sequence[Diagnostic] = ()
        self._name, self._passive = loaded.name, loaded.passive
        self._options = cast(MailLoopOptions, loaded.options)

    def validator(self, services: Services) -> Validator | None:  # noqa: ARG002 — it asks nobody
        """Return what counts; a passive module counts nothing."""
        return None if self._passive else MailLoopValidator(self._name, self._options)


class MailLoopValidator:
    """Notes loops in the connection's context, and refuses them unless scripts shall."""

    on_error = OnError.DEFER
    deadline = _DEADLINE_SECONDS

    def __init__(self, name: str, options: MailLoopOptions) -> None:
        """Take the options."""
        self.name = name
        self._options = options

    def hooks(self) -> Mapping[Phase, Hook]:
        """Speak where the client is known, where it can be refused, and where the header section is there."""
        by_address: Mapping[Phase, Hook] = {Phase.CONNECT: self._look, Phase.MAILFROM: self._refuse}
        return {**(by_address if self._options.use_ip else {}), Phase.DATA: self._count}

    def needs(self, phase: Phase) -> Need:
        """Read the header section at DATA."""
        return Need.HEADERS if phase is Phase.DATA else Need.NOTHING

    async def _look(self, session: Session) -> Verdict:
        # A machine that connects to one of its own addresses comes from that address.
        if session.client_ip == session.local[0]:
            session.context["mail_loop_ip"] = "match"
        return PASS

    async def _refuse(self, session: Session) -> Verdict:
        return self._verdict(replies.LOOP_TO_ITSELF) if "mail_loop_ip" in session.context else PASS

    async def _count(self, session: Session) -> Verdict:
        message = session.transaction.message
        found = len(message.header("received")) if message is not None else 0
        session.context.pop("mail_loop_header_count", None)  # of the message before
        most = self._options.max_received_headers
        if not most or found <= most:
            return PASS
        session.context["mail_loop_header_count"] = str(found)
        return self._verdict(replies.LOOP)

    def _verdict(self, refusal: Reply) -> Verdict:
        code = self._options.code
        if code == PASSES:
            return PASS
        enhanced = b"%d%s" % (code // 100, refusal.lines[0][1:])
        return Verdict(replace(refusal, code=code, lines=(enhanced,)))
