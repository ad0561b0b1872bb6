"""What a hook of AUTH returns, in aiosmtpd's older and newer form, and what it means for the session."""

from __future__ import annotations

from collections.abc import Sequence

from aiosmtpd.smtp import MISSING, AuthResult

from proxy.base.log import get_logger, printable
from proxy.mail import replies
from proxy.mail.replies import Reply
from proxy.mail.session import Session
from proxy.modules.python.answers import Malformed, parsed
from proxy.modules.python.facade import Server

log = get_logger()

_AUTHENTICATED, _REJECTED = 235, 535


def answer_of(
    result: object, pushed: Sequence[str], server: Server, session: Session, mechanism: str, *, named: bool
) -> Reply | None:
    """Return the reply to AUTH, and record a login. None: the hook leaves it to the mechanism.

    `named`: the hook is a mechanism, `auth_X`, which decides whatever it returns.

    Raises:
        Malformed: it returned something else.
    """
    attempt = _Attempt(server, session, mechanism)
    if pushed:
        return attempt.after_pushing("\r\n".join(pushed), result)
    if isinstance(result, AuthResult):
        return attempt.of_result(result)
    if not named:
        return attempt.of_status(result)
    if result is MISSING or result is None or result is False:  # the older form
        return attempt.rejected(replies.NOT_AUTHENTICATED)
    return attempt.succeeded(_name_in(result), replies.AUTHENTICATED)


class _Attempt:
    """One client's AUTH."""

    def __init__(self, server: Server, session: Session, mechanism: str) -> None:
        self._server, self._session, self._mechanism = server, session, mechanism

    def after_pushing(self, pushed: str, result: object) -> Reply:
        """Treat pushed lines as a rejection. A hook that pushes and then succeeds contradicts itself."""
        failed = result is MISSING or result is None or result is False
        if failed or (isinstance(result, AuthResult) and not result.success):
            return self.rejected(parsed(pushed))
        raise Malformed(f"a hook of AUTH pushed {pushed!r:.100} and returned {type(result).__name__}")

    def of_result(self, result: AuthResult) -> Reply:
        """Take the newer form."""
        if not result.success:
            return self.rejected(parsed(result.message) if result.message else replies.NOT_AUTHENTICATED)
        self._server.session.auth_data = result.auth_data
        reply = parsed(result.message) if result.message else replies.AUTHENTICATED
        return self.succeeded(_name_in(result.auth_data), reply)

    def of_status(self, status: object) -> Reply | None:
        """Take what handle_AUTH returned: a reply, or that the mechanism decides."""
        if status is MISSING:
            return None
        if not isinstance(status, str | bytes):
            raise Malformed(f"handle_AUTH returns a reply as text, not {type(status).__name__}")
        reply = parsed(status if isinstance(status, str) else status.decode("ascii", "backslashreplace"))
        if reply.code != _AUTHENTICATED:
            return self.rejected(reply)
        shown = self._server.session
        # the property login_data writes a warning to standard error
        return self.succeeded(_name_in(shown.auth_data) or _name_in(shown._login_data), reply)  # noqa: SLF001

    def succeeded(self, name: str, reply: Reply) -> Reply:
        """Record the login."""
        if reply.code != _AUTHENTICATED:
            raise Malformed(f"a login is answered with {_AUTHENTICATED}, not {reply.code}")
        session, shown = self._session, self._server.session
        session.authenticate(name or "unknown")
        shown.authenticated = True
        shown._login_data = name.encode() or None  # type: ignore[assignment]  # noqa: SLF001 — as above
        log.info("authenticated", **_who(session, self._mechanism, session.auth_user))
        return reply

    def rejected(self, reply: Reply) -> Reply:
        """Count a wrong password."""
        if reply.code < 400:
            raise Malformed(f"a hook cannot answer {reply.code} here")
        if reply.code == _REJECTED:
            self._session.failed_authentications += 1
            log.info("authentication_failed", **_who(self._session, self._mechanism, ""))
        return reply


def _who(session: Session, mechanism: str, user: str) -> dict[str, str]:
    return {
        "session": session.id,
        "client": session.client_ip,
        "user": printable(user, 64),
        "mechanism": printable(mechanism, 20),
    }


def _name_in(found: object) -> str:
    """Return the user's name: aiosmtpd's LoginPassword has it as `login`."""
    name = getattr(found, "login", found)
    if isinstance(name, bytes):
        name = name.decode("utf-8", "replace")
    return name if isinstance(name, str) and name.isprintable() else ""
