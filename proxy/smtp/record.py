"""The events of mail: what happened to a message, a recipient, or a refused command.

Each says who decided. A reply carries that: its `by` is empty if the next hop or a module's hook made it.
"""

from __future__ import annotations

import re
import time
from bisect import bisect_left
from collections.abc import Iterator, Sequence
from typing import Any, Protocol

from proxy.base.lines import LONGEST_FIELD
from proxy.base.log import Fields, get_logger, printable
from proxy.mail import replies
from proxy.mail.evidence import Result, all_of, in_full, in_short
from proxy.mail.queue_ids import queue_id_of
from proxy.mail.replies import Reply
from proxy.mail.session import Recipient, Session, Transaction
from proxy.metrics.book import BOOK
from proxy.metrics.table import MESSAGE_SECONDS, MESSAGE_SIZE, MESSAGE_TIME, MESSAGES, PHASES, SECONDS, SIZES

log = get_logger()

LONGEST_FOREIGN = 1000
"""Characters of foreign text in a message's event that are not looked at field by field."""

_SHORT = 64
"""If a message's event has no more characters of foreign text, no field can be too long."""

LONGEST_HEAD = 4096
"""Characters of a header section that the history keeps."""

MOST_RECIPIENTS = 10
"""Recipients in a message's event; each has one of its own."""

_ENHANCED = re.compile(r"[245]\.\d{1,3}\.\d{1,3}(?= |$)")
_MESSAGE_ID = re.compile(rb"[ \t\r\n]*([^\r\n]*)")
_MESSAGE_ID_NAME = b"\nmessage-id:"
_PHASES = {
    "CONNECT": "connect", "EHLO": "ehlo", "HELO": "ehlo", "STARTTLS": "starttls", "AUTH": "auth", "XCLIENT": "connect",
    "MAIL": "mailfrom", "RCPT": "rcptto", "DATA": "data", "BDAT": "data", "": "session",
}  # fmt: skip
_OUTCOMES = MESSAGES.table()
_SIZE_SUM, _TIME_SUM = MESSAGE_SIZE.base + len(SIZES) + 1, MESSAGE_TIME.base + len(MESSAGE_SECONDS) + 1
_UPSTREAM = PHASES.at("data", "upstream")
_UPSTREAM_SUM = _UPSTREAM + len(SECONDS) + 1
_NOWHERE: dict[str, Any] = {"taken_by": "", "queue_id": ""}


class Relay(Protocol):
    """A message's way to the next hop: `proxy.smtp.ports.Relay`."""

    @property
    def upstream(self) -> str: ...

    @property
    def taken_by(self) -> str: ...


def message_id_of(head: bytes, lowered: bytes) -> bytes:
    """Return a header section's Message-ID; empty without one. `lowered` is a LF, and the section in lower case."""
    at = lowered.find(_MESSAGE_ID_NAME)
    found = None if at < 0 else _MESSAGE_ID.match(head, at + len(_MESSAGE_ID_NAME) - 1)
    return found[1] if found else b""


def record_headers(session: Session, head: bytes) -> None:
    """Log a header section, for the history."""
    text = printable(head.decode("latin-1"), LONGEST_HEAD)
    log.debug("headers", session=session.id, transaction=session.transaction_id, text=text)


def record_message(session: Session, answer: Reply | None, relay: Relay | None, *, lost_by: str = "client") -> None:
    """Log what happened to a message and its recipients. Without an answer, `lost_by` ended it before."""
    transaction = session.transaction
    transaction.recorded = True
    recipients, now = transaction.recipients, time.time()
    upstream = relay.upstream if relay is not None else ""
    taken = relay is not None and answer is not None and answer.accepted and answer is not replies.DISCARDED
    place = _place(upstream, relay.taken_by if taken and relay is not None else "", answer)
    about = _about(session, transaction)
    fate = _fate(transaction, answer, upstream)
    if answer is None:
        fate["decided_by"] = lost_by
    told = place
    if transaction.evidence or session.evidence:
        results = all_of(session, transaction)
        told = place | _found(transaction, results)
        _record_results(session, results)
    _count(fate["disposition"], transaction.size, now - transaction.created, transaction.upstream_seconds)
    policy, callback, waited = transaction.policy_seconds, transaction.callback_seconds, transaction.upstream_seconds
    first = recipients[0].path.text if recipients else ""
    message_id = transaction.message_id.decode("ascii", "backslashreplace")
    foreign = f"{about['sender']}{about['helo']}{first}{message_id}{fate['reply']}"
    if len(foreign) > LONGEST_FOREIGN or not (foreign.isascii() and foreign.isprintable()):
        first, message_id, fate["reply"] = printable(first), printable(message_id), printable(fate["reply"])
        about = _printable(about)
    log.info(
        "message",
        whole={
            **about,
            "recipients": _some(recipients) if recipients[1:] else [first],
            "recipient_count": len(recipients),
            "message_id": message_id,
            "size": transaction.size,
            **fate,
            **told,
            "client_ms": 10_000 * (now - transaction.created - policy - waited) // 1 / 10,
            # A callback also runs while policy waits for nothing.
            "policy_ms": 10_000 * (policy - callback) // 1 / 10 if policy > callback else 0.0,
            "callback_ms": 10_000 * callback // 1 / 10,
            "upstream_ms": 10_000 * waited // 1 / 10,
        },
    )
    alone = None if recipients[1:] else recipients[0] if recipients else None
    if alone is not None and alone.relayed and (alone.apart is None or alone.refusal is None or answer is None):
        # The history keeps the only recipient of a relayed message with the message.
        kept = fate["disposition"] == "relayed"
        log.info("recipient", whole={**about, "recipient": first, **fate, **place}, observed=not kept)
    else:
        whole = {**about, "recipient": "", **fate, **place}
        ends = _ends(transaction, recipients, (whole, answer), about, upstream)
        log.info_each("recipient", "recipient", len(recipients), ends)


def _found(transaction: Transaction, results: Sequence[Result]) -> Fields:
    """Return what modules found about who sent the message, for its event."""
    found: Fields = {"authentication": in_short(results)}
    return found if transaction.dmarc is None else found | {"dmarc": transaction.dmarc}


def record_evidence(session: Session) -> None:
    """Log what modules found about who sent a message, once."""
    _record_results(session, all_of(session, session.transaction))


def _record_results(session: Session, results: Sequence[Result]) -> None:
    transaction = session.transaction
    if transaction.evidence_told:
        return
    transaction.evidence_told = True
    told = in_full(results)
    log.info("authentication", whole={"session": session.id, "transaction": session.transaction_id, "results": told})


def _count(outcome: str, size: int, seconds: float, upstream: float) -> None:
    """Count a message. `bisect_left` is the border at or above a value, for less than a loop over three of them."""
    counts = BOOK.counts
    counts[_OUTCOMES[outcome]] += 1
    counts[MESSAGE_SIZE.base + bisect_left(SIZES, size)] += 1
    counts[_SIZE_SUM] += size
    counts[MESSAGE_TIME.base + bisect_left(MESSAGE_SECONDS, seconds)] += 1
    counts[_TIME_SUM] += int(seconds * 1_000_000)
    counts[_UPSTREAM + bisect_left(SECONDS, upstream)] += 1
    counts[_UPSTREAM_SUM] += int(upstream * 1_000_000)


def _ends(
    transaction: Transaction,
    recipients: Sequence[Recipient],
    of_message: tuple[Fields, Reply | None],
    about: Fields,
    upstream: str,
) -> Iterator[tuple[Fields, str]]:
    """Yield the end of each recipient: the message's, unless it has its own. The log's thread runs this."""
    whole, answer = of_message
    known: dict[tuple[int, str], Fields] = {}
    for recipient in recipients:
        refusal = None if recipient.apart is None else recipient.refusal
        if recipient.relayed and (refusal is None or answer is None):
            yield whole, recipient.path.text
            continue
        key = id(refusal), recipient.discarded_by
        if key not in known:
            known[key] = _own_end(transaction, recipient, answer, about, upstream)
        yield known[key], recipient.path.text


def _own_end(
    transaction: Transaction, recipient: Recipient, answer: Reply | None, about: Fields, upstream: str
) -> Fields:
    """Return the rest of the event of a recipient whose outcome differs from the message's."""
    if recipient.refusal is not None:
        fate = _fate(transaction, recipient.refusal, upstream)
    else:
        fate = _fate(transaction, answer, upstream)
        if answer is not None and answer.accepted:
            by = recipient.discarded_by or transaction.discarded_by or fate["decided_by"]
            fate |= {"disposition": "discarded", "decided_by": by}
    return {**about, "recipient": "", **fate, **_NOWHERE, "upstream": upstream}


def record_left(session: Session) -> None:
    """Log the recipients of a transaction that ended without a message."""
    transaction = session.transaction
    transaction.recorded = True
    about, fate = _printable(_about(session, transaction)), _fate(transaction, None, "")
    whole, recipients = {**about, "recipient": "", **fate, **_NOWHERE, "upstream": ""}, transaction.recipients
    ends = ((whole, each.path.text) for each in recipients)  # the log's thread reads them
    log.info_each("recipient", "recipient", len(recipients), ends)


def record_recipient(session: Session, argument: bytes, reply: Reply, upstream: str) -> None:
    """Log a recipient that was refused at RCPT, for whatever reason."""
    transaction, about = session.transaction, _printable(_about(session, session.transaction))
    if transaction.evidence:
        record_evidence(session)
    fate = _fate(transaction, reply, upstream, phase="rcptto")
    current = session.current_recipient
    known = current is not None and current.path.given == argument
    text = printable(current.path.text if known and current is not None else _address(argument))
    log.info("recipient", whole={**about, "recipient": text, **fate, **_NOWHERE, "upstream": upstream})


def record_refused(session: Session, command: str, argument: bytes, reply: Reply) -> None:
    """Log a refused command that is neither RCPT nor a message."""
    about = _printable(_about(session, session.transaction))
    del about["sender"]
    if session.transaction.evidence:
        record_evidence(session)
    fate = _fate(session.transaction, reply, "", phase=_PHASES.get(command, command.lower()[:20]))
    said = "" if command == "AUTH" else printable(argument)  # it may hold a password
    fate["phase"] = printable(fate["phase"])
    log.info("refused", **about, command=printable(command, 64), argument=said, **fate)


def _about(session: Session, transaction: Transaction) -> Fields:
    """Return what all events of a transaction have."""
    return {
        "session": session.id,
        "transaction": session.transaction_id,
        "client": session.peer_address[0],
        "helo": session.host_name or "",
        "tls": session.tls,
        "cipher": session.cipher,
        "user": session.auth_user,
        "sender": transaction.reverse_path.text,
    }


def _printable(about: Fields) -> Fields:
    said = f"{about['sender']}{about['helo']}{about['user']}"
    if len(said) <= _SHORT and said.isascii() and said.isprintable():
        return about
    foreign = {"sender": printable(about["sender"]), "helo": printable(about["helo"], 64)}
    return about | foreign | {"user": printable(about["user"], 64)}


def _fate(transaction: Transaction, answer: Reply | None, upstream: str, *, phase: str = "") -> Fields:
    """Return how it ended, who decided, and the reply as sent."""
    phase = phase or transaction.judged or "data"
    if answer is None:
        ended: Fields = {"phase": phase, "disposition": "lost", "decided_by": "client"}
        return ended | {"code": 0, "enhanced": "", "reply": ""}
    by = answer.by
    if not by or by == "upstream":
        by = f"upstream {upstream}" if upstream else "handler"
    text = answer.text
    enhanced = _ENHANCED.match(text)
    fate: Fields = {
        "phase": phase,
        "disposition": "relayed",
        "decided_by": by,
        "code": answer.code,
        "enhanced": enhanced[0] if enhanced else "",
        "reply": f"{answer.code} {text}",
    }
    if answer is replies.DISCARDED:
        fate |= {"disposition": "discarded", "decided_by": transaction.discarded_by or "policy"}
    elif not answer.accepted:
        fate["disposition"] = "refused" if answer.permanent else "deferred"
        said = f"{by}{fate['reply']}"
        if len(said) > LONGEST_FIELD or not (said.isascii() and said.isprintable()):
            fate["decided_by"], fate["reply"] = printable(by), printable(fate["reply"])
        fate |= _callback(transaction, by)
    return fate


def _callback(transaction: Transaction, by: str) -> Fields:
    """Return what a callback found, if a script or module may have decided by it."""
    found = transaction.callback
    if found is None or str(found.status) == "pass" or not by.startswith(("script ", "smtp_cbv")):
        return {}
    return {
        "callback_status": str(found.status),
        "callback_reason": found.reason,
        "callback_text": printable(found.message),
    }


def _place(upstream: str, taken_by: str, answer: Reply | None) -> Fields:
    """Return who has the message, and under which name."""
    queue_id = queue_id_of(answer.lines[0]) if taken_by and answer is not None else ""
    return {"upstream": upstream, "taken_by": taken_by, "queue_id": queue_id}


def _some(recipients: list[Recipient]) -> list[str]:
    return [printable(each.path.text) for each in recipients[:MOST_RECIPIENTS]]


def _address(argument: bytes) -> bytes:
    """Return the path in RCPT's argument, as far as it has the form of one."""
    path = argument.partition(b":")[2].strip() or argument
    return path.partition(b">")[0].removeprefix(b"<") if path.startswith(b"<") else path
