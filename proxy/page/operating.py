"""`Operating`: the few commands that the page gives, carried out and logged like console commands."""

from __future__ import annotations

import shlex

from aiohttp import web

from proxy.console.carrying import Carrying
from proxy.console.errors import Refused
from proxy.console.people import Person
from proxy.console.people import Role as ConsoleRole
from proxy.console.registry import Call, Commands
from proxy.page.guard import form_of

COMMANDS = frozenset({"kill session", "upstreams drain", "upstreams enable"})

_LONGEST_REASON = 200


class Operating:
    """Takes forms. The guard has looked at their Origin, and at the role."""

    def __init__(self, commands: Commands) -> None:
        self._commands = commands

    async def carry_out(self, request: web.Request) -> web.Response:
        """Carry out a command, and lead back to where it came from."""
        form = await form_of(request)
        words, about = str(form.get("command", "")), str(form.get("about", ""))
        if words not in COMMANDS:
            raise web.HTTPForbidden
        carrying = Carrying(self._commands, Person("page", ConsoleRole.OPERATE))
        reason = str(form.get("reason", ""))[:_LONGEST_REASON]
        try:
            found = carrying.found(f"{words} {shlex.quote(about)}", reason)
            await carrying.once(found, Call(found.arguments, carrying.person), reason)
        except Refused as refused:
            raise web.HTTPConflict(text=str(refused)) from None
        return web.Response(status=303, headers={"Location": "/live" if words == "kill session" else "/now"})
