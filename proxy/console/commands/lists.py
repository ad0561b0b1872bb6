"""Commands about lists: entries that operators add for a time, and lists that scripts have defined."""

from __future__ import annotations

import asyncio
import re
import time
from typing import Any

from proxy.base.log import printable
from proxy.console.errors import Refused, not_a, nothing_is_called, nothing_to_ask
from proxy.console.people import Role
from proxy.console.registry import Call, Command
from proxy.console.results import Result
from proxy.console.served import Served, answers, silent
from proxy.lists.entries import LONGEST_REASON, MOST_ENTRIES, NEVER, Entry, network_of
from proxy.lists.networks import NotANetwork
from proxy.lists.operators import NoRoom, OperatorLists

_TIME = re.compile(r"([1-9][0-9]{0,8})(s|m|h|d|w)?")
_UNITS = {"": 1, "s": 1, "m": 60, "h": 3600, "d": 86400, "w": 604800}
_FOREVER = "forever"
_LOAD_SECONDS = 55.0
"""For a list to be loaded: less than a command may take."""


def commands(served: Served) -> list[Command]:
    """Return the commands."""
    entries, defined = _Entries(served), _Defined(served)
    return [
        Command(
            "list add",
            "Add a network to a list for a time, such as 30m, 1h or 2d, or `forever`. It takes effect "
            "in all workers at once.", entries.add, arguments="NAME NETWORK TIME [REASON…]", role=Role.OPERATE,
        ),
        Command("list show", "List the networks that operators have added.", entries.show, arguments="[NAME]"),
        Command(
            "list remove", "Remove a network that an operator added.", entries.remove, arguments="NAME NETWORK",
            role=Role.OPERATE,
        ),
        Command("cidrdb list", "List the lists that scripts have defined, and when each is loaded next.",
                defined.listed),
        Command(
            "cidrdb reload", "Load a list again now. If that fails, the list stays as it was.", defined.reload,
            arguments="NAME", role=Role.OPERATE,
        ),
    ]  # fmt: skip


class _Entries:
    def __init__(self, served: Served) -> None:
        self._served = served
        self._one_by_one = asyncio.Lock()

    @property
    def _operators(self) -> OperatorLists:
        if self._served.operators is None:
            raise nothing_to_ask(runs=True)
        return self._served.operators

    async def add(self, call: Call) -> Result:
        name, network, time_, *words = call.arguments
        await self._check(name)
        now, seconds = time.time(), _seconds(time_)
        reason = printable(" ".join(words), LONGEST_REASON)
        until = now + seconds if seconds else NEVER
        entry = Entry(name, _network(network), until, reason, printable(call.by.name), now)
        async with self._one_by_one:
            try:
                lost = await asyncio.to_thread(self._operators.add, entry)
            except NoRoom:
                raise Refused(f"the lists have {MOST_ENTRIES} entries already: remove some") from None
        text = f"{entry.network} is in {name}" + (f" for {time_}" if seconds else "")
        note = [f"a restart of the service drops it: {lost}"] if lost else []
        return Result({**_row(entry, now), "kept": not lost}, "\n".join([text, *note]))

    async def show(self, call: Call) -> Result:
        wanted, now = call.arguments[:1], time.time()
        if wanted:
            await self._check(wanted[0])
        found = [each for each in self._operators.entries if not wanted or each.list == wanted[0]]
        rows = [_row(each, now) for each in sorted(found, key=lambda each: (each.list, each.added))]
        return Result(rows, None if rows else "nothing is listed")

    async def remove(self, call: Call) -> Result:
        name, network = call.arguments
        network = _network(network)
        async with self._one_by_one:
            gone = await asyncio.to_thread(self._operators.remove, name, network, printable(call.by.name))
        if gone is None:
            known = sorted(each.network for each in self._operators.entries if each.list == name)
            raise nothing_is_called(f"network in {name}", network, known[:20])
        return Result(_row(gone, time.time()), f"{network} is no longer in {name}")

    async def _check(self, name: str) -> None:
        """Check that the configuration or a script uses a list of this name."""
        told = await self._served.ask("list_names")
        known = sorted({each for answer in answers(told) for each in answer.answer})
        known += sorted({each.list for each in self._operators.entries} - set(known))
        if name not in known:
            error = nothing_is_called("list", name, known)
            raise Refused(f"{error}; name it in Client_Lists or Refuse_Lists")


class _Defined:
    def __init__(self, served: Served) -> None:
        self._served = served

    async def listed(self, _call: Call) -> Result:
        told = await self._served.ask("cidr_lists")
        rows: dict[str, dict[str, Any]] = {}
        for each in answers(told):
            for row in each.answer:
                rows.setdefault(row["name"], row)
        lines = [_line(row) for _, row in sorted(rows.items())]
        return Result([rows[name] for name in sorted(rows)], "\n".join([*lines, *silent(told)]) or "no list is defined")

    async def reload(self, call: Call) -> Result:
        name = call.arguments[0]
        told = await self._served.ask("cidr_reload", {"name": name, "since": time.time()}, seconds=_LOAD_SECONDS)
        found = answers(told)
        networks = max(each.answer["networks"] for each in found)
        return Result({"name": name, "networks": networks}, f"{name} is loaded: {networks} networks")


def _line(row: dict[str, Any]) -> str:
    refresh = "" if row["refresh"] is None else f" [refresh in {row['refresh']} seconds]"
    problem = f" (cannot be loaded: {row['problem']})" if row["problem"] else ""
    return f"{row['name']}{refresh}{problem}"


def _network(text: str) -> str:
    try:
        return network_of(text)[0]
    except NotANetwork:
        raise not_a("a network", text, "write 192.0.2.1, 192.0.2.0/24 or 2001:db8::/32") from None


def _seconds(text: str) -> int:
    """Return a time in seconds; 0 means forever."""
    if text.lower() == _FOREVER:
        return 0
    match = _TIME.fullmatch(text.lower())
    if match is None:
        raise not_a("a time", text, "write 30m, 1h, 2d or forever")
    return int(match[1]) * _UNITS[match[2] or ""]


def _row(entry: Entry, now: float) -> dict[str, Any]:
    left = None if entry.until == NEVER else max(0, round(entry.until - now))
    return {
        "list": entry.list, "network": entry.network, "seconds_left": left, "user": entry.user, "reason": entry.reason,
    }  # fmt: skip
