"""The module: it counts, and never decides."""

from __future__ import annotations

import re
from collections.abc import Mapping

from config.base.ip import packed_address
from proxy.counting.operations import Add, Lease, Return
from proxy.counting.presence import key_of
from proxy.counting.traffic import CONNECT, RECEPTION, REJECTION, of_script, series_of
from proxy.mail.replies import Reply
from proxy.mail.session import Session
from proxy.mail.validator import Hook, OnError, Uses
from proxy.mail.verdict import PASS, Verdict
from proxy.metrics.deciders import decider_of
from proxy.modules.base import ServedModule
from proxy.modules.inbound_audit.options import SPEC, InboundAuditOptions
from proxy.modules.services import Services
from proxy.smtp.ports import SessionHooks
from sieve.phases import Need, Phase

_OF_NEXT_HOP = frozenset({"", "upstream"})

UNKNOWN_RECIPIENTS = "unknown_recipients"
"""The series, for scripts, of recipients that the next hop does not know."""

_NO_CODE = re.compile(rb"(?![245]\.[0-9]{1,3}\.[0-9])")


def _is_unknown_recipient(reply: Reply) -> bool:
    """Whether the next hop says that an address is bad (RFC 3463, X.1), or 550 without an enhanced code."""
    first = reply.lines[0]
    return reply.permanent and (first.startswith(b"5.1.") or (reply.code == 550 and bool(_NO_CODE.match(first))))


class InboundAudit:
    """Counts for each client. Its only state is which sessions are counted as open."""

    on_error = OnError.ACCEPT
    deadline = 5.0
    uses = Uses()

    def __init__(self, name: str, options: InboundAuditOptions, services: Services) -> None:
        """Count with the worker's counting."""
        self.name = name
        self._counting = services.counting
        self._monitors = [(each.interval, each.number) for each in options.monitors]
        self._everywhere = (True, False) if services.settings.shares_counts else (True,)
        """Whether to count for this machine, and again for all."""
        self._open: dict[Session, tuple[bytes, ...]] = {}

    def hooks(self) -> Mapping[Phase, Hook]:
        """Begin when the client is known: after a proxy's header."""
        return {Phase.ACCEPT: self._begin}

    def needs(self, phase: Phase) -> Need:  # noqa: ARG002 — the same in every phase
        """Need no content."""
        return Need.NOTHING

    def session_hooks(self) -> SessionHooks:
        """Count what is accepted and refused, and the end."""
        return SessionHooks(end=self._end, taken=self._taken, refused=self._refused)

    def _begin(self, session: Session) -> Verdict:
        self._end(session)  # XCLIENT names another client
        address = packed_address(session.client_ip)
        keys = self._open[session] = (key_of(session.local) + address, key_of(None) + address)
        self._counting.tell(Lease([(key, 0) for key in keys]))
        self._add(CONNECT, address)
        return PASS

    def _end(self, session: Session) -> None:
        keys = self._open.pop(session, None)
        if keys is not None:
            self._counting.tell(Return(keys))

    def _taken(self, session: Session) -> None:
        self._add(RECEPTION, packed_address(session.client_ip))

    def _refused(self, session: Session, reply: Reply) -> None:
        decider = decider_of(reply.by)
        if decider is None or decider.is_policy:
            self._add(REJECTION, packed_address(session.client_ip))
        elif reply.by.partition(" ")[0] in _OF_NEXT_HOP and _is_unknown_recipient(reply):
            for interval, number in self._monitors:
                address = packed_address(session.client_ip)
                self._counting.tell(Add(of_script(UNKNOWN_RECIPIENTS), interval, number, address))

    def _add(self, kind: str, address: bytes) -> None:
        for interval, number in self._monitors:
            for here in self._everywhere:
                self._counting.tell(Add(series_of(kind, here=here), interval, number, address, here=here))


INBOUND_AUDIT = ServedModule(SPEC, InboundAudit)
"""Its script functions are in the language's own library, because they are in Momentum's manual."""
