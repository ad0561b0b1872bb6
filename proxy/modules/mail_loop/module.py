"""The module: it checks the client's address and counts Received fields. Later scripts see both results."""

from __future__ import annotations

from collections.abc import Mapping

from proxy.mail import replies
from proxy.mail.replies import Reply
from proxy.mail.session import Session
from proxy.mail.validator import Hook, OnError, Uses
from proxy.mail.verdict import PASS, Verdict
from proxy.modules.base import Explained, PlainModule, Verdicts
from proxy.modules.mail_loop.options import SPEC, MailLoopOptions
from proxy.options.codes import PASSES
from sieve.phases import Need, Phase

_DEADLINE_SECONDS = 5.0


class MailLoopValidator:
    """Notes loops in the connection's context, and rejects them unless scripts should decide."""

    on_error = OnError.DEFER
    deadline = _DEADLINE_SECONDS
    uses = Uses(frozenset({"received"}), frozenset({"mail_loop_ip", "mail_loop_header_count"}))

    def __init__(self, name: str, options: MailLoopOptions) -> None:
        """Take the options."""
        self.name = name
        self._options = options

    def hooks(self) -> Mapping[Phase, Hook]:
        """Run when the client is known, when it can be rejected, and when the header section has arrived."""
        by_address: Mapping[Phase, Hook] = {Phase.CONNECT: self._look, Phase.MAILFROM: self._refuse}
        return {**(by_address if self._options.use_ip else {}), Phase.DATA: self._count}

    def needs(self, phase: Phase) -> Need:
        """Read the header section at DATA."""
        return Need.HEADERS if phase is Phase.DATA else Need.NOTHING

    async def explain(self, phase: Phase, session: Session, verdicts: Verdicts) -> Explained:  # noqa: ARG002 — it needs neither
        """Judge as for a client: it looks at nothing but the session."""
        verdict = self._look(session) if phase is Phase.CONNECT else self._refuse(session)
        return Explained("looks whether the client is this machine", verdict)

    def _look(self, session: Session) -> Verdict:
        # A machine that connects to one of its own addresses comes from that address.
        if session.client_ip == session.local[0]:
            session.context["mail_loop_ip"] = "match"
        return PASS

    def _refuse(self, session: Session) -> Verdict:
        return self._verdict(replies.LOOP_TO_ITSELF) if "mail_loop_ip" in session.context else PASS

    def _count(self, session: Session) -> Verdict:
        message = session.transaction.message
        found = len(message.header("received")) if message is not None else 0
        session.context.pop("mail_loop_header_count", None)  # from the previous message
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
        return Verdict(Reply(code, (enhanced,), close=refusal.close, by=refusal.by))


MAIL_LOOP = PlainModule(SPEC, MailLoopValidator)
