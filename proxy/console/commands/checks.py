"""Commands about what mail checks cache: keys, and rules from files."""

from __future__ import annotations

from proxy.console.errors import Refused
from proxy.console.people import Role
from proxy.console.registry import Call, Command
from proxy.console.results import Result
from proxy.console.served import Served, answers, done, sum_of

_OF_KEYS = ("dkim", "dkim_sign", "dkim_validate")
"""Momentum's names of the module: here, all of them mean the same cache of keys."""


def commands(served: Served) -> list[Command]:
    """Return the commands."""
    about = _Checks(served)
    flush = [
        Command(f"{name} flush keycache", "Forget the public keys of DKIM and ARC: they are looked up again.",
                about.keys, role=Role.OPERATE)
        for name in _OF_KEYS
    ]  # fmt: skip
    reload = Command(
        "bounce_classifier reload",
        "Read the files of bounce rules again. If one has errors, the old rules stay in use.",
        about.rules, role=Role.OPERATE,
    )  # fmt: skip
    return [*flush, reload]


class _Checks:
    def __init__(self, served: Served) -> None:
        self._served = served

    async def keys(self, _call: Call) -> Result:
        told = await self._served.ask("keys_flush")
        count = sum_of(told)
        return done(told, f"flushed {count} keys", flushed=count)

    async def rules(self, _call: Call) -> Result:
        told = await self._served.ask("rules_read")
        found = answers(told)[0].answer  # each worker reads the same files
        if not found:
            raise Refused("no bounce_classifier is loaded")
        wrong = [reason for _, reason in found if reason]
        if wrong:
            raise Refused(f"the old rules stay: {wrong[0]}")
        count = sum(number for number, _ in found)
        return done(told, f"{count} rules hold", rules=count)
