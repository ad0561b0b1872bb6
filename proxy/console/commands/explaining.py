"""`explain`: which replies a client would get, from the running configuration and the caches."""

from __future__ import annotations

import asyncio
import ipaddress
from typing import Any

from proxy.console.errors import Refused, not_a, wrong_arguments
from proxy.console.registry import Call, Command, options_of
from proxy.console.results import Result
from proxy.console.served import Served, answers

_KNOWN = ("client", "helo", "from", "rcpt", "listener", "tls", "auth")
_USAGE = "explain client=IP from=ADDRESS rcpt=ADDRESS [helo=NAME] [listener=ADDRESS:PORT] [--tls] [auth=USER]"
_WIDTH = 10


def commands(served: Served) -> list[Command]:
    """Return the command."""
    return [
        Command(
            "explain",
            "Say which replies a client would get and what decides, from what is configured and "
            "cached: no DNS, no probe, no query, no change.", _Explain(served).run, arguments="[NAME=VALUE…]",
        )
    ]  # fmt: skip


class _Explain:
    def __init__(self, served: Served) -> None:
        self._served = served

    async def run(self, call: Call) -> Result:
        given, rest = options_of(call.arguments, _KNOWN)
        if rest or not {"client", "from", "rcpt"} <= given.keys():
            raise wrong_arguments(_USAGE)
        try:
            ipaddress.ip_address(given["client"])
        except ValueError:
            raise not_a("an IP address", given["client"], "write client=192.0.2.7") from None
        wanted: dict[str, Any] = {**given, "user": given.get("auth", ""), "tls": "tls" in given}
        wanted["verdicts"] = await self._cached(given["from"], given["rcpt"])
        told = await self._served.ask("explain", wanted)
        newest = max(each.process.hello.generation for each in told)
        found = [each for each in answers(told) if each.process.hello.generation == newest]
        if not found:
            raise Refused(told[0].error)
        value = {**found[0].answer, "limits": {each.process.name: each.answer["limits"] for each in found}}
        return Result(value, "\n".join(_lines(value)))

    async def _cached(self, *addresses: str) -> dict[str, Any]:
        """Return the verdicts that the keeper has in memory or in its store, by address."""
        asked = sorted({each for each in addresses if each})
        told = await asyncio.gather(*(self._served.processes.ask("cbv_lookup", {"subject": each}) for each in asked))
        found = {}
        for address, each in zip(asked, told, strict=True):
            rows = [row for one in answers(each) for row in one.answer["verdicts"] if row["valid_for_seconds"]]
            if rows:
                found[address] = rows[0]
        return found


def _lines(value: dict[str, Any]) -> list[str]:
    lines = [
        f"{row['phase']:<{_WIDTH}} {row['who']}: " + " → ".join(each for each in (row["says"], row["reply"]) if each)
        for row in value["steps"]
    ]
    for name, rows in value["limits"].items():
        lines += [f"limit      {name}: {row['limit']} {row['most']}, now {row['now']}" for row in rows]
    lines += [f"unknown    {each}" for each in value["unknown"]]
    decided = f" (decided by {value['decided_by']})" if value["decided_by"] else ""
    doubt = ", if what is unknown does not change it" if value["unknown"] else ""
    return [*lines, f"reply      {value['reply'] or 'the greeting'}{decided}{doubt}"]
