"""Commands about scripts, and about what certificates are loaded."""

from __future__ import annotations

from config.diagnostics import has_errors, render
from proxy.console.errors import Refused, not_a
from proxy.console.people import Role
from proxy.console.registry import Call, Command
from proxy.console.results import Result
from proxy.console.served import Served, answers, done, sum_of
from sieve.phases import Phase


def commands(served: Served) -> list[Command]:
    """Return the commands."""
    about = _Scripts(served)
    return [
        Command("sieve test", "Compile a script for a phase, and print its errors. The script does not run.",
                about.test, arguments="PHASE TEXT…"),
        Command(
            "sieve flush", "Read included scripts again when they are next used. Other scripts are read at a reload.",
            about.flush, arguments="[cache]", role=Role.OPERATE,
        ),
        Command("tls show cache", "List the certificates that are loaded.", about.certificates),
    ]  # fmt: skip


class _Scripts:
    def __init__(self, served: Served) -> None:
        self._served = served

    async def test(self, call: Call) -> Result:
        phase, *words = call.arguments
        phase = phase.removesuffix("_phase")
        known = [each.value for each in Phase]
        if phase not in known:
            raise not_a("a phase", phase, f"write one of {', '.join(known)}")
        if not self._served.scripts:
            raise Refused("no sieve stanza is loaded")
        text = " ".join(call.texts.get(word, word) for word in words)
        found = self._served.scripts[0].tried(phase, text)
        value = {"errors": has_errors(found), "diagnostics": [str(each) for each in found]}
        return Result(value, render(found) or "Success")

    async def flush(self, _call: Call) -> Result:
        told = await self._served.ask("sieve_flush")
        count = sum_of(told)
        return done(told, f"flushed {count} entries from the script cache", flushed=count)

    async def certificates(self, _call: Call) -> Result:
        told = await self._served.ask("certificates")
        rows = [{"worker": each.process.hello.slot, **row} for each in answers(told) for row in each.answer]
        return Result(rows, None if rows else "no certificate is loaded")
