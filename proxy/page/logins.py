"""Logging in: one-time links for clients on this machine, and passwords, which clients elsewhere need."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field
from pathlib import Path

from aiohttp import web

from proxy.base.log import get_logger, printable
from proxy.page import errors
from proxy.page.guard import Guard, cookie_name, form_of
from proxy.page.passes import Guesses, Links
from proxy.page.rendering import Rendering
from proxy.page.routes import Role
from proxy.smtp.passwords import PasswordFile

log = get_logger()

LONGEST_FIELD = 1024
"""Octets of a user or a password."""


@dataclass(slots=True)
class Logins:
    """The event loop's thread owns it."""

    guard: Guard
    links: Links
    rendering: Rendering
    passwords: PasswordFile | None
    role: Role
    """What a password gives."""
    _guesses: Guesses = field(default_factory=Guesses)
    _hashing: asyncio.Lock = field(default_factory=asyncio.Lock)
    """One password at a time: each takes 32 MiB and 0.2 s of a core."""

    @classmethod
    def of(cls, guard: Guard, links: Links, rendering: Rendering, file: Path | None, role: str) -> Logins:
        """Read the file of passwords, if there is one.

        Raises:
            OSError, BadPasswordFile: it cannot be used.
        """
        given = Role.called(role) or Role.READ
        return cls(guard, links, rendering, PasswordFile(file) if file is not None else None, given)

    async def form(self, _request: web.Request) -> web.Response:
        """Show how to log in."""
        return self._page("", 200)

    async def follow(self, request: web.Request) -> web.Response:
        """Use a one-time link. A page follows at once: after a redirect, browsers would not send a Strict cookie."""
        if not self.guard.is_near(request.remote):
            return self._page(errors.ELSEWHERE, 403)
        role = self.links.use(request.match_info["secret"])
        if role is None:
            return self._page(errors.LINK_OVER, 403)
        return self._admitted(request, role)

    async def enter(self, request: web.Request) -> web.Response:
        """Log in with a password."""
        client = request.remote or ""
        if self.passwords is None:
            return self._page(errors.NO_PASSWORDS, 403)
        if not self._guesses.may(client):
            return self._page(errors.TOO_MANY_GUESSES, 429)
        form = await form_of(request)
        user, password = str(form.get("user", ""))[:LONGEST_FIELD], str(form.get("password", ""))[:LONGEST_FIELD]
        async with self._hashing:
            known = self._guesses.may(client) and await asyncio.to_thread(self._matches, user, password)
        if not known:
            self._guesses.wrong(client)
            log.warning("page_login_failed", client=client, user=printable(user))
            return self._page(errors.WRONG, 403)
        self._guesses.right(client)
        log.info("page_login", client=client, user=printable(user))
        return self._admitted(request, self.role)

    def _matches(self, user: str, password: str) -> bool:
        if self.passwords is None:
            return False
        try:
            return self.passwords.hash_of(user).matches(password)
        except UnicodeEncodeError:  # a lone surrogate
            return False

    async def leave(self, request: web.Request) -> web.Response:
        """Log out."""
        response = web.Response(status=303, headers={"Location": "/login"})
        response.del_cookie(cookie_name(request), path="/", secure=request.secure, httponly=True, samesite="Strict")
        return response

    def _admitted(self, request: web.Request, role: Role) -> web.Response:
        response = web.Response(text=self.rendering.page("entered.html"), content_type="text/html")
        self.guard.admit(request, response, role)
        return response

    def _page(self, problem: str, status: int) -> web.Response:
        text = self.rendering.page("login.html", problem=problem, passwords=self.passwords is not None)
        return web.Response(text=text, status=status, content_type="text/html")
