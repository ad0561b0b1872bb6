"""Checks a client's credentials: with the next hop, by logging in there, with a file, or with a datasource.

A password is sent to the next hop only over TLS, or over a connection within the machine. A check that fails for
another reason is not a refusal: the client gets 454 and keeps its password.
"""

from __future__ import annotations

import asyncio
import base64
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from config.base.ip import read_address
from proxy.base.log import get_logger, printable
from proxy.datasource.logins import CannotCheck, judge
from proxy.datasource.sources import Datasources
from proxy.dns.resolver import Resolver
from proxy.mail.replies import Reply
from proxy.mail.session import Session
from proxy.options.login_schemes import LoginScheme
from proxy.outgoing.wire import Wire, WireBroken
from proxy.smtp.guesses import MOST_AT_ONCE
from proxy.smtp.passwords import BadPasswordFile, PasswordFile
from proxy.smtp.ports import Credentials, Verification
from proxy.upstream.connect import Connector
from proxy.upstream.failures import RefusedUs, Unreachable
from proxy.upstream.routes import Router

log = get_logger()

VERIFY_SECONDS = 60.0
"""For a whole verification, including the wait in line."""

MOST_ASKED, MOST_HASHED = MOST_AT_ONCE["upstream"], MOST_AT_ONCE["file"]
"""Concurrent verifications: with the next hop, each needs a connection outside the pool; a hash occupies a core."""

LONGEST_COMMAND = 512
"""Longest AUTH line, in bytes, with an initial response; a longer response gets its own line (RFC 4954 section 4)."""

_ACCEPTED = 235
_REFUSED = 535
_CONTINUE = 334


class _Unknown(Exception):
    """The credentials cannot be checked now; the text says why."""


class CredentialChecker:
    """Implements `proxy.smtp.ports.Authenticator` for one worker; the event loop's thread owns its state."""

    def __init__(
        self,
        router: Router,
        resolver: Resolver,
        datasources: Datasources | None = None,
        schemes: Sequence[LoginScheme] = (),
    ) -> None:
        """Keep what finds the next hop; nothing is connected or read yet."""
        self._resolver = resolver
        self._datasources = datasources or Datasources()
        self.turn_to(router, schemes)
        self._asking = asyncio.Semaphore(MOST_ASKED)
        self._hashing = ThreadPoolExecutor(MOST_HASHED, thread_name_prefix="hashing")
        """Separate threads: work of scripts, files and logs in other threads never delays a login."""
        self._files: dict[tuple[Path, str], PasswordFile] = {}

    def turn_to(self, router: Router, schemes: Sequence[LoginScheme] = ()) -> None:
        """Ask the next hop of a configuration, or a datasource by its schemes."""
        self._schemes = {each.name: each for each in schemes}
        self._upstream = router.default
        self._connector = Connector(router.default, self._resolver)

    async def verify(self, session: Session, credentials: Credentials) -> Verification:
        """Check credentials by the session's current options."""
        options = session.options
        try:
            async with asyncio.timeout(VERIFY_SECONDS):
                if options.authentication == "upstream":
                    return await self._ask_upstream(session, credentials)
                if options.authentication == "datasource":
                    return await self._ask_datasource(session, options.authentication_scheme.lower(), credentials)
                if options.authentication_file is not None:
                    named = options.authentication_file, options.authentication_file_form
                    return await self._look_up(named, credentials)
        except (_Unknown, TimeoutError) as error:
            log.error("credentials_unverified", session=session.id, reason=printable(str(error) or "timeout"))
        return Verification.UNKNOWN

    def close(self) -> None:
        """Start no further hashing; do not wait for a thread that still hashes."""
        self._hashing.shutdown(wait=False, cancel_futures=True)

    # ------------------------------------------------------------ the file

    async def _look_up(self, named: tuple[Path, str], credentials: Credentials) -> Verification:
        def is_right() -> bool:
            file = self._files.get(named) or self._files.setdefault(named, PasswordFile(*named))
            return file.hash_of(credentials.user).matches(credentials.password)

        try:  # the file may be on a mount that hangs
            right = await asyncio.get_running_loop().run_in_executor(self._hashing, is_right)
        except (OSError, BadPasswordFile) as error:
            raise _Unknown(f"the password file cannot be used: {error}") from None
        return Verification.ACCEPTED if right else Verification.REFUSED

    # ------------------------------------------------------------ a datasource

    async def _ask_datasource(self, session: Session, name: str, credentials: Credentials) -> Verification:
        scheme = self._schemes.get(name)
        if scheme is None:
            raise _Unknown(f"no auth_ds stanza declares the scheme {name}")

        async def in_thread(work: Callable[[], bool]) -> bool:
            return await asyncio.get_running_loop().run_in_executor(self._hashing, work)

        try:
            judged = await judge(self._datasources, scheme, credentials.user, credentials.password, in_thread)
        except CannotCheck as error:
            raise _Unknown(str(error)) from None
        if judged.refused_kind:
            user = printable(credentials.user, 64)
            log.warning("password_kind_refused", session=session.id, user=user, reason=judged.refused_kind)
        return Verification.ACCEPTED if judged.is_right else Verification.REFUSED

    # ------------------------------------------------------------ the next hop

    async def _ask_upstream(self, session: Session, credentials: Credentials) -> Verification:
        """Log in there as the client, on a connection used for nothing else."""
        async with self._asking:
            try:
                wire = await self._connector.connect(session)
            except (Unreachable, RefusedUs) as error:
                raise _Unknown(str(error)) from None
            try:
                answer = await self._log_in(wire, credentials)
            except WireBroken as error:
                raise _Unknown(f"lost at AUTH: {error}") from None
            finally:
                wire.write(b"QUIT\r\n")
                wire.close()
        return _verification(answer)

    async def _log_in(self, wire: Wire, credentials: Credentials) -> Reply:
        """Send AUTH PLAIN and return the reply.

        Raises:
            _Unknown: AUTH PLAIN is not offered, or the password would leave the machine unencrypted.
            WireBroken, TimeoutError: the connection broke, or there was no reply.
        """
        if not _is_private(wire):
            raise _Unknown("no TLS: passwords never leave the machine in clear text; set TLS")
        if "PLAIN" not in wire.extensions.get("auth", "").upper().split():
            raise _Unknown("the next hop does not offer AUTH PLAIN")
        seconds = self._upstream.policy.ehlo_timeout
        response = base64.b64encode(f"\0{credentials.user}\0{credentials.password}".encode())
        command = b"AUTH PLAIN %b\r\n" % response
        if len(command) <= LONGEST_COMMAND:
            return await wire.ask(command, seconds)
        challenge = await wire.ask(b"AUTH PLAIN\r\n", seconds)
        return challenge if challenge.code != _CONTINUE else await wire.ask(b"%b\r\n" % response, seconds)


def _is_private(wire: Wire) -> bool:
    """Whether the connection cannot be read by others: TLS, or within the machine."""
    if wire.transport.get_extra_info("ssl_object") is not None:
        return True
    peer = wire.transport.get_extra_info("peername")
    if isinstance(peer, str | bytes):  # a Unix socket's path
        return True
    return read_address(peer[0]).is_loopback


def _verification(answer: Reply) -> Verification:
    """Read the reply to AUTH (RFC 4954 section 6). Other replies are no evidence about the password.

    Raises:
        _Unknown: the reply neither accepts nor rejects the credentials.
    """
    if answer.code == _ACCEPTED:
        return Verification.ACCEPTED
    if answer.code == _REFUSED or (answer.permanent and answer.lines[0].startswith(b"5.7.8")):
        return Verification.REFUSED
    raise _Unknown(f"answered AUTH with {answer.code} {answer.text}")
