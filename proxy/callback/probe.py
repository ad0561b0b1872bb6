"""One question to the exchangers of an address: greeting, EHLO, MAIL FROM, RCPT TO, QUIT, each step under its deadline.

A host that cannot be reached or refuses to talk is passed over for the next; the first that answers RCPT TO decides.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass

from proxy.callback.resolve import Candidate
from proxy.callback.verdict import CallbackVerdict, Status, judge_recipient, printable_text
from proxy.replies import Reply
from proxy.wire import Dial, Refused, Wire, WireBroken, dial

CONNECT_SECONDS = 5.0
REPLY_SECONDS = 10.0
QUIT_SECONDS = 1.0

Place = Callable[[str], AbstractAsyncContextManager[None]]
"""Gives a place in line at an address, for as long as the conversation lasts."""


@dataclass(frozen=True, slots=True)
class Question:
    """Whether `address` exists, asked as `sender` (empty: the null sender) by a client named `helo`."""

    address: str
    sender: str
    helo: str
    port: int


async def ask(question: Question, candidates: list[Candidate], place: Place) -> CallbackVerdict:
    """Return the first decisive answer of the candidates, or what the last failure means.

    The caller bounds the whole by its own deadline.
    """
    verdict = CallbackVerdict(Status.TRANSIENT, "connect", "no exchanger could be asked", stage="connect")
    verdicts = []
    for candidate in candidates:
        async with place(candidate.address):
            verdict, decisive = await _ask_one(question, candidate)
        if decisive:
            return verdict
        verdicts.append(verdict)
    # That they refuse to talk to us is an error only where all do; one that may be well in a minute keeps it open.
    return next((each for each in reversed(verdicts) if each.status is Status.TRANSIENT), verdict)


async def _ask_one(question: Question, candidate: Candidate) -> tuple[CallbackVerdict, bool]:
    """Return one exchanger's verdict, and whether it decides the matter."""
    target = Dial(candidate.address, question.port, question.helo, CONNECT_SECONDS, REPLY_SECONDS)

    def found(status: Status, reason: str, stage: str, code: int, text: str) -> CallbackVerdict:
        return CallbackVerdict(
            status, reason, printable_text(text), stage, code, candidate.exchanger, candidate.address
        )

    try:
        wire = await dial(target)
    except Refused as refused:
        permanent = refused.code >= 500  # RFC 5321 section 4.2.1, first digit
        status, reason = (Status.ERROR, "refused_us") if permanent else (Status.TRANSIENT, "busy")
        return found(status, reason, refused.stage, refused.code, refused.text), False
    except (WireBroken, TimeoutError) as error:
        return found(Status.TRANSIENT, "connect", "connect", 0, str(error) or "timeout"), False
    async with _polite(wire):
        try:
            return await _converse(wire, question, found)
        except (WireBroken, TimeoutError) as error:
            return found(Status.TRANSIENT, "timeout", "rcpt", 0, str(error) or "timeout"), False


Found = Callable[[Status, str, str, int, str], CallbackVerdict]


async def _converse(wire: Wire, question: Question, found: Found) -> tuple[CallbackVerdict, bool]:
    utf8 = not (question.address.isascii() and question.sender.isascii())
    if utf8 and "smtputf8" not in wire.extensions:
        return found(Status.FAIL, "no_smtputf8", "ehlo", 0, "the exchanger does not take UTF-8 addresses"), True
    option = " SMTPUTF8" if utf8 else ""
    mail = await wire.ask(f"MAIL FROM:<{question.sender}>{option}\r\n".encode(), REPLY_SECONDS)
    if not mail.accepted:
        return _mail_refused(mail, found)
    rcpt = await wire.ask(f"RCPT TO:<{question.address}>\r\n".encode(), REPLY_SECONDS)
    if rcpt.code == 421:  # RFC 5321 section 3.8: it closes; says nothing of the address
        return found(Status.TRANSIENT, "busy", "rcpt", rcpt.code, rcpt.text), False
    status, reason = judge_recipient(rcpt)
    return found(status, reason, "rcpt", rcpt.code, rcpt.text), True


def _mail_refused(mail: Reply, found: Found) -> tuple[CallbackVerdict, bool]:
    """A refused MAIL FROM is about us: it says nothing of the address."""
    if mail.permanent:
        return found(Status.ERROR, "mail_refused", "mail", mail.code, mail.text), True
    return found(Status.TRANSIENT, "busy", "mail", mail.code, mail.text), False


@asynccontextmanager
async def _polite(wire: Wire) -> AsyncIterator[None]:
    """Say QUIT at the end, except where nobody answers any more or we are cut short."""
    try:
        yield
    except BaseException:
        wire.abort("given up")
        raise
    if wire.broken is None:
        await wire.quit(QUIT_SECONDS)
