"""The server, session and envelope that a handler sees, made only if a handler is loaded.

They are aiosmtpd's in name and shape. Ringback's own records are the truth: before each hook, the session and the
envelope are filled from them, and what a hook changes there changes nothing else. Attributes that a hook adds stay for
the session, or for the transaction.
"""

from __future__ import annotations

import asyncio
import re
import weakref
from base64 import b64decode, b64encode
from binascii import Error as NotBase64
from collections.abc import Mapping

from aiosmtpd.smtp import MISSING, Envelope
from aiosmtpd.smtp import Session as AiosmtpdSession

from proxy.mail.session import Path, Session, Transaction
from proxy.modules.python.answers import Malformed
from proxy.smtp.ports import Client

_PUSHED = re.compile(r"[2-5][0-5][0-9][ -][\t -~]{0,506}")


class Server:
    """What a hook gets as `server`: aiosmtpd's `SMTP`, as far as handlers use it."""

    def __init__(self, handler: object, session: Session, client: Client | None) -> None:
        """Represent one session."""
        self.event_handler = handler
        self.loop: asyncio.AbstractEventLoop = session.loop
        self.session = AiosmtpdSession(session.loop)
        self.envelope = Envelope()
        self.failure: Exception | None = None
        """What ended a `push` or a challenge: the session's business, not the handler's mistake."""
        self.pushed: list[str] | None = None
        """The lines that the running hook has pushed; None if none runs."""
        self.may_challenge = False
        """Whether the running hook may send challenges of AUTH."""
        self.limit: asyncio.Timeout | None = None
        """The time limit of a hook that may."""
        self._own = weakref.ref(session)
        self._client = client
        self._transaction: Transaction | None = None

    @property
    def hostname(self) -> str:
        """Our name towards this client."""
        session = self._own()
        return "" if session is None else session.options.hostname

    @property
    def transport(self) -> asyncio.BaseTransport | None:
        """The connection, for `get_extra_info`; None after its end."""
        return None if self._client is None else self._client.transport

    def refresh(self, session: Session, *, sender: bool = True) -> None:
        """Fill session and envelope from our records; without the sender while a hook still judges it."""
        shown = self.session
        shown.peer = session.peer_address  # type: ignore[assignment]  # aiosmtpd says str, and sets the pair
        shown.ssl, shown.host_name, shown.extended_smtp = session.ssl, session.host_name, session.extended_smtp
        if shown.authenticated != session.authenticated:
            shown.authenticated = session.authenticated
            shown.auth_data = None
            shown._login_data = session.auth_user.encode() or None  # type: ignore[assignment]  # noqa: SLF001 — the property warns on standard error
        transaction, envelope = session.transaction, self.envelope
        if transaction is not self._transaction:
            self._transaction, envelope = transaction, Envelope()
            self.envelope = envelope
        if not sender:
            return
        envelope.mail_from = written(transaction.reverse_path) if transaction.mail_from is not None else None
        envelope.mail_options = options_of(transaction.parameters)
        envelope.smtp_utf8 = transaction.smtp_utf8
        envelope.rcpt_tos = [each.path.text for each in transaction.recipients]
        envelope.rcpt_options = [word for each in transaction.recipients for word in options_of(each.parameters)]

    def forget(self) -> None:
        """Let the envelope and its content go. A hook that continues in the background may keep it."""
        self.envelope, self._transaction = Envelope(), None

    async def push(self, status: str | bytes) -> None:
        """Take a part of the reply. Ringback sends it with what the hook returns, so that each command gets one reply.

        A challenge of AUTH (334) is sent at once.

        Raises:
            ConnectionResetError: no hook of this session runs.
            Malformed: this is not a line of a reply.
        """
        if self.pushed is None:
            raise ConnectionResetError("no command waits for a reply")
        text = status.decode("ascii", "backslashreplace") if isinstance(status, bytes) else status
        lines = text.removesuffix("\r\n").split("\r\n")
        for line in lines:
            if not _PUSHED.fullmatch(line):
                raise Malformed(f"push takes lines of replies, not {line!r:.100}")
        if self.may_challenge and lines[-1].startswith("334 "):
            self._send(f"{lines[-1]}\r\n".encode())
        else:
            self.pushed += lines

    async def challenge_auth(
        self,
        challenge: str | bytes,
        encode_to_b64: bool = True,  # noqa: FBT001, FBT002 — aiosmtpd's signature
        log_client_response: bool = False,  # noqa: ARG002, FBT001, FBT002 — as above; a response is never logged
    ) -> object:
        """Send a challenge of AUTH (RFC 4954); return the client's decoded response, or MISSING if it gave none.

        Raises:
            ConnectionResetError: no hook of AUTH runs.
        """
        if self.pushed is None or not self.may_challenge:
            raise ConnectionResetError("only a hook of AUTH can ask the client")
        octets = challenge.encode() if isinstance(challenge, str) else challenge
        self._send(b"334 " + (b64encode(octets) if encode_to_b64 else octets) + b"\r\n")
        try:
            line = (await self._client_line()).strip()
        except Exception as error:
            self.failure = error
            raise
        if line == b"*":
            await self.push("501 5.7.0 Authentication cancelled")
            return MISSING
        try:
            return b64decode(line, validate=True)
        except NotBase64:
            await self.push("501 5.5.2 Cannot decode base64")
            return MISSING

    async def _client_line(self) -> bytes:
        """Wait for the client under the session's own deadline. The hook's deadline does not run during that time."""
        client, limit = self._connected(), self.limit
        if limit is None:
            return await client.next_line()
        left = (limit.when() or 0.0) - self.loop.time()
        limit.reschedule(None)
        try:
            return await client.next_line()
        finally:
            limit.reschedule(self.loop.time() + left)

    def _connected(self) -> Client:
        if self._client is None:
            raise ConnectionResetError("the session has no client")
        return self._client

    def _send(self, octets: bytes) -> None:
        try:
            self._connected().send(octets)
        except Exception as error:
            self.failure = error
            raise


def written(path: Path) -> str:
    """Return an address as aiosmtpd hands it to hooks."""
    return path.text or "<>"


def options_of(parameters: Mapping[str, str | None]) -> list[str]:
    """Return the parameters of MAIL or RCPT as aiosmtpd hands them to hooks."""
    return [(name if value is None else f"{name}={value}").upper() for name, value in parameters.items()]
