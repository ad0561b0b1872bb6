"""The console's command `page`: a one-time link, for people who may use the console's socket."""

from __future__ import annotations

from collections.abc import Callable

from proxy.console.errors import Refused, not_authorized
from proxy.console.people import Role as ConsoleRole
from proxy.console.registry import Call, Command
from proxy.console.results import Result
from proxy.page.errors import NO_LISTENER, no_role
from proxy.page.routes import Role


def commands(link: Callable[[Role], str] | None) -> list[Command]:
    """Return the command; without `link`, the page is not served."""

    async def run(call: Call) -> Result:
        word = call.arguments[0] if call.arguments else Role.READ_MAIL.word
        role = Role.called(word)
        if role is None:
            raise Refused(no_role(word))
        if role is Role.OPERATE and not call.by.may("upstreams drain NAME", ConsoleRole.OPERATE):
            raise not_authorized()
        if link is None:
            raise Refused(NO_LISTENER)
        made = link(role)
        return Result({"link": made}, made)

    told = "Print a link to the page, which works once. Roles are read, read_mail and operate."
    return [Command("page", told, run, arguments="[ROLE]")]
