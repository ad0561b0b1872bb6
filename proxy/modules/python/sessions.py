"""The hooks that belong to no phase: HELO, EHLO, RSET, NOOP, VRFY, AUTH, STARTTLS, PROXY, and exceptions."""

from __future__ import annotations

import asyncio
import ipaddress
from collections.abc import Sequence
from functools import partial
from typing import Any

from aiosmtpd.proxy_protocol import AF, PROTO, V2_CMD, ProxyData
from aiosmtpd.smtp import MISSING, VALID_AUTHMECH

from proxy.base.log import get_logger
from proxy.mail import replies
from proxy.mail.replies import Reply
from proxy.mail.session import Session
from proxy.modules.python.answers import Malformed, reply_of
from proxy.modules.python.facade import Server
from proxy.modules.python.handler import Caller
from proxy.modules.python.mechanisms import answer_of
from proxy.smtp.ports import Proxied, SessionHooks
from sieve.run.patience import within

log = get_logger()

MOST_MECHANISMS = 20
"""Mechanisms of AUTH that a hook can offer."""


def hooks_of(caller: Caller, seconds: float) -> SessionHooks:
    """Return the session's hooks of a handler; those that it does not have stay None."""
    commands = _Commands(caller, seconds)
    named = caller.hooks.named
    return SessionHooks(
        begin=caller.begin,
        end=caller.end,
        helo=commands.helo if "HELO" in named else None,
        ehlo=commands.ehlo if "EHLO" in named else None,
        rset=commands.rset if "RSET" in named else None,
        noop=commands.noop if "NOOP" in named else None,
        vrfy=commands.vrfy if "VRFY" in named else None,
        auth=commands.auth if "AUTH" in named else None,
        mechanisms={name: partial(commands.mechanism, name) for name in caller.mechanisms},
        started_tls=commands.started_tls if "STARTTLS" in named else None,
        proxied=commands.proxied if "PROXY" in named else None,
        failed=commands.failed if "exception" in named else None,
    )


class _Commands:
    """Calls the handler for one command, each under the deadline."""

    def __init__(self, caller: Caller, seconds: float) -> None:
        self._caller, self._seconds = caller, seconds

    async def _reply(self, name: str, session: Session, *arguments: object, confirms: bool = False) -> Reply | None:
        try:
            return await within(self._seconds, self._caller.reply(name, session, *arguments, confirms=confirms))
        except TimeoutError as error:
            return await self._late(name, session, error)

    async def _late(self, name: str, session: Session, error: TimeoutError) -> Reply:
        log.error(
            "validator_failed", session=session.id, validator=self._caller.name, phase=name, reason="deadline passed",
            exc_info=error,
        )  # fmt: skip
        return replies.INTERNAL

    async def helo(self, session: Session, name: str) -> Reply | None:
        return await self._reply("HELO", session, name)

    async def ehlo(self, session: Session, name: str, lines: Sequence[str]) -> Reply | Sequence[str]:
        """Return a rejection, or the lines of the reply that the hook keeps."""
        caller = self._caller
        if not caller.hooks.ehlo_gets_lines:
            return await self._reply("EHLO", session, name) or lines
        offered = [f"250{' ' if line is lines[-1] else '-'}{line}" for line in lines]
        try:
            returned = await within(self._seconds, caller.status("EHLO", session, name, list(offered)))
            if isinstance(returned, str | bytes) or returned is MISSING:
                return reply_of(returned) or lines
            return kept(lines, returned)
        except TimeoutError as error:
            return await self._late("EHLO", session, error)
        except Exception as error:  # noqa: BLE001 — `failed` raises what ends the session
            return await caller.failed("EHLO", session, error)

    async def rset(self, session: Session) -> Reply | None:
        return await self._reply("RSET", session, confirms=True)

    async def noop(self, session: Session, argument: str) -> Reply | None:
        return await self._reply("NOOP", session, argument, confirms=True)

    async def vrfy(self, session: Session, address: str) -> Reply | None:
        try:
            status = await within(self._seconds, self._caller.status("VRFY", session, address))
            return reply_of(status, confirms=True, passes="")  # no next hop is asked, so a 250 is the hook's, too
        except TimeoutError as error:
            return await self._late("VRFY", session, error)
        except Exception as error:  # noqa: BLE001 — `failed` raises what ends the session
            return await self._caller.failed("VRFY", session, error)

    async def auth(self, session: Session, words: list[str]) -> Reply | None:
        return await self._authenticated("AUTH", session, words)

    async def mechanism(self, name: str, session: Session, words: list[str]) -> Reply | None:
        return await self._authenticated(name, session, words)

    async def _authenticated(self, name: str, session: Session, words: list[str]) -> Reply | None:
        """Run a hook of AUTH, and record what it decided. Its challenges are under the session's own deadlines."""
        caller = self._caller
        server = caller.server(session)
        server.refresh(session)
        server.may_challenge = True
        try:
            async with asyncio.timeout(self._seconds) as server.limit:
                result, pushed = await self._asked(name, server, words)
            return answer_of(result, pushed, server, session, words[0].upper(), named=name != "AUTH")
        except TimeoutError as error:
            return await self._late(name, session, error)
        except Exception as error:  # noqa: BLE001 — `failed` raises what ends the session
            return await caller.failed(name, session, error)
        finally:
            server.may_challenge, server.limit = False, None

    async def _asked(self, name: str, server: Server, words: list[str]) -> tuple[object, list[str]]:
        caller = self._caller
        if name != "AUTH":
            return await caller.called(server, caller.mechanisms[name], server, words)
        result, pushed = await caller.called(
            server, caller.calls["AUTH"], server, server.session, server.envelope, words
        )
        if pushed and isinstance(result, str):
            return "\r\n".join([*pushed, result]), []
        return result, pushed

    async def started_tls(self, session: Session) -> bool:
        return await self._agrees("STARTTLS", session)

    async def proxied(self, session: Session, header: Proxied) -> bool:
        data = _proxy_data(header)
        self._caller.server(session).session.proxy_data = data
        return await self._agrees("PROXY", session, data)

    async def _agrees(self, name: str, session: Session, *arguments: object) -> bool:
        try:
            return bool(await within(self._seconds, self._caller.status(name, session, *arguments)))
        except TimeoutError as error:
            await self._late(name, session, error)
        except Exception as error:  # noqa: BLE001 — `failed` raises what ends the session
            await self._caller.failed(name, session, error)
        return False

    async def failed(self, session: Session, error: Exception) -> Reply:
        """Return handle_exception's reply to a failure of Ringback's own; it has been logged."""
        try:
            return await within(self._seconds, self._caller.told(session, error))
        except TimeoutError as late:
            return await self._late("exception", session, late)


def kept(lines: Sequence[str], returned: object) -> Reply | list[str]:
    """Return the lines of ours that a hook kept, or its rejection. It may add mechanisms of AUTH, and nothing else.

    Raises:
        Malformed: it returned something else.
    """
    if not isinstance(returned, list | tuple) or not all(isinstance(line, str) for line in returned):
        raise Malformed(f"handle_EHLO returns the lines of the reply, not {returned!r:.100}")
    if not returned or not all(line.startswith("250") for line in returned):
        rejection = reply_of("\r\n".join(returned))
        if rejection is None:
            raise Malformed(f"no reply: {returned!r:.100}")
        return rejection
    words = {line[4:].split()[0].upper(): line[4:].upper().split() for line in returned if line[4:].strip()}
    mechanisms = [word for word in words.get("AUTH", ())[1:] if VALID_AUTHMECH.match(word)][:MOST_MECHANISMS]
    name, *offered = lines
    others = [line for line in offered if _keyword(line) in words and _keyword(line) != "AUTH"]
    return [name, *others, *([" ".join(["AUTH", *mechanisms])] if mechanisms else [])]


def _keyword(line: str) -> str:
    return line.split(maxsplit=1)[0].upper()


def _proxy_data(header: Proxied) -> Any:
    """Return a PROXY header as aiosmtpd would have parsed it."""
    data: Any = ProxyData(version=header.version)  # its attributes are declared to attrs alone
    data.command, data.family, data.protocol = V2_CMD.LOCAL, AF.UNSPEC, PROTO.UNSPEC
    if header.client is not None and header.local is not None:
        data.src_addr, data.src_port = ipaddress.ip_address(header.client[0]), header.client[1]
        data.dst_addr, data.dst_port = ipaddress.ip_address(header.local[0]), header.local[1]
        data.command, data.protocol = V2_CMD.PROXY, PROTO.STREAM
        data.family = AF.INET if data.src_addr.version == 4 else AF.INET6
    return data
