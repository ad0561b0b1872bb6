"""A handler's hooks: which it has, how each is called, and what happens if one fails."""

from __future__ import annotations

import asyncio
import inspect
import weakref
from collections.abc import Awaitable, Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from aiosmtpd.smtp import MISSING, VALID_AUTHMECH

from proxy.base.log import get_logger
from proxy.mail import replies
from proxy.mail.replies import Reply
from proxy.mail.session import Session
from proxy.modules.python.answers import Malformed, reply_of
from proxy.modules.python.facade import Server
from proxy.modules.python.loading import HandlerUnusable
from proxy.smtp.ports import Client

log = get_logger()

HOOKS = ("HELO", "EHLO", "MAIL", "RCPT", "DATA", "RSET", "NOOP", "VRFY", "AUTH", "STARTTLS", "PROXY", "exception")
"""The hooks that are called, by the name after `handle_`."""

Call = Callable[..., Awaitable[object]]
"""Calls a hook, in the loop or in a thread."""


class Hooks:
    """The hooks of one handler: `named` by command, `mechanisms` of AUTH, and others that are never called."""

    __slots__ = ("ehlo_gets_lines", "handler", "mechanisms", "named", "uncalled")

    def __init__(self, handler: object) -> None:
        """Look for the hooks, as aiosmtpd does.

        Raises:
            HandlerUnusable: a hook cannot be called.
        """
        self.handler = handler
        self.named = {name: hook for name in HOOKS if (hook := _hook(handler, f"handle_{name}")) is not None}
        self.mechanisms = dict(_mechanisms(handler))
        self.uncalled = tuple(
            name for name in dir(handler) if name.startswith("handle_") and name[7:].isupper() and name[7:] not in HOOKS
        )
        self.ehlo_gets_lines = "EHLO" in self.named and _ehlo_gets_lines(self.named["EHLO"])


def _hook(handler: object, name: str) -> Callable[..., Any] | None:
    hook = getattr(handler, name, None)
    if hook is not None and not callable(hook):
        raise HandlerUnusable(f"{name} is not a function", "aiosmtpd's documentation has the hooks' signatures")
    return hook


def _mechanisms(handler: object) -> Iterator[tuple[str, Callable[..., Any]]]:
    """Yield the AUTH mechanisms: `auth_X__Y` is the mechanism X-Y."""
    for attribute in dir(handler):
        if not attribute.startswith("auth_"):
            continue
        hook = _hook(handler, attribute)
        name = getattr(hook, "__auth_mechanism_name__", attribute.removeprefix("auth_").replace("__", "-"))
        if hook is None or not VALID_AUTHMECH.match(name):
            raise HandlerUnusable(f"{attribute} does not name a mechanism", "use capital letters, digits, - and _")
        yield name, hook


def _ehlo_gets_lines(hook: Callable[..., Any]) -> bool:
    """Whether handle_EHLO has the newer signature, with the lines of the reply."""
    count = len(inspect.signature(hook).parameters)
    if count not in {4, 5}:
        hint = "write it as handle_EHLO(self, server, session, envelope, hostname, responses)"
        raise HandlerUnusable(f"handle_EHLO has {count} parameters", hint)
    return count == 5


class Caller:
    """Calls a handler's hooks for the sessions of one worker."""

    def __init__(self, name: str, hooks: Hooks, threads: int) -> None:
        """`name` is the stanza's, for the log. No thread starts before a hook needs one."""
        self.name, self.hooks = name, hooks
        self._threads = ThreadPoolExecutor(threads, thread_name_prefix=f"python-{name}")
        self._servers: weakref.WeakKeyDictionary[Session, Server] = weakref.WeakKeyDictionary()
        """A server that has a client refers to the session: `end` removes it."""
        self.calls: Mapping[str, Call] = {name: self._call_of(hook) for name, hook in hooks.named.items()}
        self.mechanisms: Mapping[str, Call] = {name: self._call_of(hook) for name, hook in hooks.mechanisms.items()}

    def begin(self, session: Session, client: Client) -> None:
        """Make the server that the hooks of a session see."""
        self._servers[session] = Server(self.hooks.handler, session, client)

    def end(self, session: Session) -> None:
        """Forget a session."""
        self._servers.pop(session, None)

    def server(self, session: Session) -> Server:
        """Return the session's server."""
        server = self._servers.get(session)
        if server is None:  # a session without a connection, such as one that only tries a configuration
            server = self._servers[session] = Server(self.hooks.handler, session, None)
        return server

    async def status(self, name: str, session: Session, *arguments: object, sender: bool = True) -> object:
        """Call a hook of the three usual arguments, and others; return what it pushed and returned, as one reply.

        Raises:
            Exception: what the hook raised.
        """
        server = self.server(session)
        server.refresh(session, sender=sender)
        result, pushed = await self.called(
            server, self.calls[name], server, server.session, server.envelope, *arguments
        )
        return _joined(pushed, result) if pushed else result

    async def called(self, server: Server, call: Call, *arguments: object) -> tuple[object, list[str]]:
        """Call a hook; return its result, and the lines that it pushed."""
        pushed: list[str] = []
        server.pushed, server.failure = pushed, None
        try:
            return await call(*arguments), pushed
        finally:
            server.pushed = None

    async def reply(
        self, name: str, session: Session, *arguments: object, sender: bool = True, confirms: bool = False
    ) -> Reply | None:
        """Call a hook and return the reply that it wants, or None if the command passes. A failure is a reply, too."""
        try:
            return reply_of(await self.status(name, session, *arguments, sender=sender), confirms=confirms)
        except Exception as error:  # noqa: BLE001 — `failed` raises what ends the session
            return await self.failed(name, session, error)

    async def failed(self, name: str, session: Session, error: Exception) -> Reply:
        """Log a hook's failure, and return handle_exception's reply, or 451.

        Raises:
            Exception: the session ended while the hook waited for the client.
        """
        if error is self.server(session).failure:
            raise error
        log.error(
            "handler_failed",
            session=session.id,
            validator=self.name,
            hook=name,
            reason=str(error) if isinstance(error, Malformed) else type(error).__name__,
            **({} if isinstance(error, Malformed) else {"exc_info": error}),
        )
        return await self.told(session, error)

    async def told(self, session: Session, error: Exception) -> Reply:
        """Return handle_exception's reply to an exception; 451 without such a hook, or if it fails as well."""
        call = self.calls.get("exception")
        if call is None or isinstance(error, Malformed):
            return replies.INTERNAL
        try:
            result, pushed = await self.called(self.server(session), call, error)
            return reply_of(_joined(pushed, result) if pushed else result) or replies.INTERNAL
        except Exception as another:
            log.error(
                "handler_failed",
                session=session.id,
                validator=self.name,
                hook="exception",
                reason=str(another) if isinstance(another, Malformed) else type(another).__name__,
                exc_info=another,
            )
            return replies.INTERNAL

    def _call_of(self, hook: Callable[..., Any]) -> Call:
        """Return how to call a hook: a coroutine function in the loop, a plain one in a thread."""
        if inspect.iscoroutinefunction(hook):
            return _contained(hook)

        async def call(*arguments: object) -> object:
            loop = asyncio.get_running_loop()
            result = await loop.run_in_executor(self._threads, lambda: _run(hook, arguments))
            return await result if inspect.isawaitable(result) else result

        return _contained(call)


def _run(hook: Callable[..., Any], arguments: tuple[object, ...]) -> object:
    """Call a hook in a thread, whose future can carry an Exception only, and no StopIteration."""
    try:
        return hook(*arguments)
    except StopIteration as stopped:
        raise RuntimeError("a hook raised StopIteration") from stopped


def _contained(call: Call) -> Call:
    """Return a call that cannot end the worker: sys.exit() in a hook is a failure of this hook."""

    async def contained(*arguments: object) -> object:
        try:
            return await call(*arguments)
        except (SystemExit, KeyboardInterrupt) as ended:
            raise RuntimeError(f"a hook raised {type(ended).__name__}") from ended

    return contained


def _joined(pushed: list[str], result: object) -> object:
    """Return one reply: what a hook pushed, then what it returned. A rejection that it pushed is not taken back.

    Raises:
        Malformed: it pushed that the command passes, and returned that it does not.
    """
    if result is None or result is MISSING or isinstance(result, bool):
        return "\r\n".join(pushed)
    if not isinstance(result, str | bytes):
        return result
    text = result.decode("ascii", "backslashreplace") if isinstance(result, bytes) else result
    if text.startswith("250"):
        rejections = [line for line in pushed if not line.startswith("250")]
        return "\r\n".join(rejections) or text
    if any(line.startswith("250") for line in pushed):
        raise Malformed(f"a hook pushed 250 and returned {text!r:.100}")
    return "\r\n".join([*pushed, text])
