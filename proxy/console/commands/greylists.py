"""Commands about greylists."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

from proxy.console.errors import Refused, nothing_to_ask
from proxy.console.people import Role
from proxy.console.registry import Call, Command
from proxy.console.results import Result
from proxy.console.served import Served, answers

_TIMES = ("first", "last", "expires")


def commands(served: Served) -> list[Command]:
    """Return the commands."""
    about = _Greylists(served)
    return [
        Command("greylist show",
            "List the greylisted clients: for how long, and how often each has passed since. CLIENT "
            "is the beginning of a network or of spf:DOMAIN.", about.show, arguments="[CLIENT]"),
        Command(
            "greylist forget", "Forget what the greylists know about a client.", about.forget, arguments="CLIENT",
            role=Role.OPERATE,
        ),
    ]  # fmt: skip


class _Greylists:
    def __init__(self, served: Served) -> None:
        self._served = served

    async def show(self, call: Call) -> Result:
        told = await self._asked("greylist", call.arguments[0] if call.arguments else "")
        rows = told[0]  # each worker says the same
        for row in rows:
            row |= {name: datetime.fromtimestamp(row[name], UTC).isoformat(timespec="seconds") for name in _TIMES}
        return Result(rows, None if rows else "nothing is known")

    async def forget(self, call: Call) -> Result:
        if not call.arguments[0]:
            raise Refused("write the client, as greylist show does")
        gone = max(await self._asked("greylist_forget", call.arguments[0]))  # the first that was asked forgot them
        return Result({"forgotten": gone}, f"forgot {gone} entries")

    async def _asked(self, question: str, client: str) -> list[Any]:
        told = [each.answer for each in answers(await self._served.ask(question, {"client": client}))]
        if not told:
            raise nothing_to_ask(runs=False)
        return told
