"""The AUTH exchange (RFC 4954): PLAIN (RFC 4616) and LOGIN, from the command's argument to a user and a password.

`state` says whether AUTH is legal now, and `protocol` whether it is offered. An `Authenticator`, which is passed in,
checks the password. No exception, log line or representation contains a password.
"""

from __future__ import annotations

import binascii
from collections.abc import Awaitable, Callable

from proxy.base.log import get_logger, printable
from proxy.mail import replies
from proxy.mail.replies import Reply
from proxy.mail.session import Session
from proxy.metrics.book import BOOK
from proxy.metrics.metric import OTHER
from proxy.metrics.table import AUTHENTICATIONS, MECHANISM
from proxy.smtp.ports import Authenticator, Credentials, Verification

log = get_logger()

MOST_FAILED_AUTHENTICATIONS = 3
"""Rejected passwords after which the session ends."""

Ask = Callable[[Reply], Awaitable[bytes]]
"""Sends a challenge and returns the client's next line with its line break."""


_STATUS = {Verification.ACCEPTED: "pass", Verification.REFUSED: "fail", Verification.UNKNOWN: "error"}
"""The context variable `auth_status`, by Momentum's names."""


class ExchangeFailed(Exception):
    """The exchange gave no credentials. `reply` goes to the client."""

    def __init__(self, reply: Reply) -> None:
        """Keep the reply."""
        super().__init__(reply.text)
        self.reply = reply


async def authenticate(argument: bytes, session: Session, authenticator: Authenticator, ask: Ask) -> Reply:
    """Run the exchange, verify the credentials, and record the result in the session."""
    try:
        credentials = await credentials_of(argument, ask)
    except ExchangeFailed as failed:
        return failed.reply
    found = await authenticator.verify(session, credentials)
    session.context |= {"auth_name": credentials.mechanism, "auth_status": _STATUS[found]}
    if found is Verification.UNKNOWN:
        _count(credentials.mechanism, "unverified")
        return replies.CANNOT_AUTHENTICATE
    who = {
        "session": session.id,
        "client": session.client_ip,
        "user": printable(credentials.user, 64),
        "mechanism": credentials.mechanism,
    }
    if found is not Verification.ACCEPTED:
        session.failed_authentications += 1
        _count(credentials.mechanism, "failed")
        log.info("authentication_failed", **who)
        return replies.NOT_AUTHENTICATED
    session.authenticate(credentials.user)
    _count(credentials.mechanism, "ok")
    log.info("authenticated", **who)
    return replies.AUTHENTICATED


def _count(mechanism: str, result: str) -> None:
    BOOK.counts[AUTHENTICATIONS.at(mechanism if mechanism in MECHANISM.values else OTHER, result)] += 1


async def credentials_of(argument: bytes, ask: Ask) -> Credentials:
    """Run the exchange. AUTH's argument is `mechanism [initial-response]`.

    Raises:
        ExchangeFailed: syntax, an unknown mechanism, or the client gave up.
    """
    mechanism, _, initial = argument.partition(b" ")
    if not mechanism:
        raise ExchangeFailed(replies.AUTH_SYNTAX)
    match mechanism.upper():  # not case-sensitive (RFC 4954 section 4)
        case b"PLAIN":
            return _plain(await _response(initial, replies.NO_CHALLENGE, ask))
        case b"LOGIN":
            user = await _response(initial, replies.ASK_USER, ask)
            return _credentials("LOGIN", user, await _response(b"", replies.ASK_PASSWORD, ask))
    raise ExchangeFailed(replies.UNKNOWN_MECHANISM)


async def _response(initial: bytes, challenge: Reply, ask: Ask) -> bytes:
    """Return the initial response, or, without one, the client's answer to the challenge."""
    if initial:
        return b"" if initial == b"=" else _decoded(initial)  # RFC 4954 section 4: `=` is an empty response
    line = await ask(challenge)
    if not line.endswith(b"\r\n"):
        raise ExchangeFailed(replies.BAD_BASE64)
    answer = line[:-2]
    if answer == b"*":
        raise ExchangeFailed(replies.AUTH_CANCELLED)
    return _decoded(answer)


def _decoded(encoded: bytes) -> bytes:
    try:
        return binascii.a2b_base64(encoded, strict_mode=True)
    except binascii.Error:
        raise ExchangeFailed(replies.BAD_BASE64) from None


def _plain(message: bytes) -> Credentials:
    """Parse `[authzid] NUL authcid NUL passwd` (RFC 4616 section 2). Acting for another user is not allowed."""
    parts = message.split(b"\0")
    if len(parts) != 3:
        raise ExchangeFailed(replies.BAD_RESPONSE)
    identity, user, password = parts
    if identity not in {b"", user}:
        raise ExchangeFailed(replies.NOT_AUTHENTICATED)
    return _credentials("PLAIN", user, password)


def _credentials(mechanism: str, user: bytes, password: bytes) -> Credentials:
    """Return credentials. Both must be non-empty UTF-8 without NUL (RFC 4616 section 2)."""
    if not user or not password or b"\0" in user + password:
        raise ExchangeFailed(replies.BAD_RESPONSE)
    try:
        return Credentials(mechanism, user.decode(), password.decode())
    except UnicodeDecodeError:
        raise ExchangeFailed(replies.BAD_RESPONSE) from None
