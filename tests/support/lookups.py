"""A resolver of plain values for checks of mail, and a session to check."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence

from proxy.dns.remembered import Remembered
from proxy.mail.address import path_of
from proxy.mail.message import Message
from proxy.mail.session import Recipient, Session
from proxy.mail.stuffing import StuffedBody, stuffed
from proxy.mail.validator import Validator
from proxy.mail.verdict import Verdict, decided
from sieve.phases import Phase
from tests.support.worker import core

CLIENT = "192.0.2.1"

Records = Mapping[tuple[str, str], Sequence[str] | str]
"""Records by name and type; a text in their place is a status, such as `SERVFAIL` or `SILENT`."""


class Zonefile:
    """Answers from records. A name that is in none does not exist; `SILENT` never answers."""

    def __init__(self, records: Records | None = None) -> None:
        self.records = dict(records or {})
        self.asked: list[tuple[str, str]] = []

    async def lookup(self, name: str, record_type: str, server: str | None = None) -> tuple[str, list[str]]:
        del server
        self.asked.append((name, record_type))
        found = self.records.get((name, record_type))
        if found == "SILENT":
            await asyncio.Event().wait()
        if isinstance(found, str):
            return found, []
        if found is None:
            return ("SUCCESS" if any(each == name for each, _ in self.records) else "NXDOMAIN"), []
        return "SUCCESS", list(found)

    @property
    def lookups(self) -> Remembered:
        """Look names up here, with a memory."""
        return Remembered(self)


def working(*zones: str) -> dict[tuple[str, str], Sequence[str] | str]:
    """Return the test entries of zones that work (RFC 5782 section 5)."""
    listed = ["127.0.0.2"]
    return {(f"{name}.{zone}", "A"): listed for zone in zones for name in ("2.0.0.127", "test")}


def stranger(
    *recipients: str, client: str = CLIENT, helo: str = "mail.sender.test", sender: str = "a@sender.test"
) -> Session:
    """Return the session of an unknown client."""
    session = Session(asyncio.get_running_loop(), (client, 40025), ("192.0.2.25", 25), core())
    session.host_name, session.extended_smtp = helo, True
    session.transaction.begin(path_of(sender), {})
    for each in recipients:
        session.current_recipient = Recipient(path_of(each))
        session.transaction.add(session.current_recipient)
    return session


def has_message(session: Session, content: bytes) -> Session:
    """Give the session's transaction a message."""
    head, _, body = content.partition(b"\r\n\r\n")
    kept = StuffedBody(None)
    kept.write(b"\r\n" + stuffed(body))
    session.transaction.message = Message(head + b"\r\n", kept)
    return session


async def asked(validator: Validator, session: Session, *phases: Phase) -> Verdict:
    """Ask a validator in these phases; return the last verdict."""
    verdict = Verdict()
    hooks = validator.hooks()
    for phase in phases:
        if phase in hooks:
            verdict = await decided(hooks[phase](session))
    return verdict
