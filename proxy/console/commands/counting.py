"""Commands about shared counts: inbound_audit's series, scripts' gauges, and statistics."""

from __future__ import annotations

import csv
import io
from typing import Any

from config.base.ip import packed_address, read_network
from proxy.console.errors import Refused, not_a
from proxy.console.people import Role
from proxy.console.registry import Call, Command
from proxy.console.results import Result
from proxy.console.served import Served, answers
from sieve.functions.audit import monitor_of
from sieve.run.values import ScriptError

_SERIES = 'SERIES "I,N"'

MOST_ROWS = 8000
"""Lines of a file that are loaded together."""


def commands(served: Served) -> list[Command]:
    """Return the commands."""
    about = _Counting(served)
    return [
        Command("counting stats", "Print where counts are kept, how many there are, and whether the store answers.",
                about.stats),
        Command("inbound_audit show ip", "Print what came from an address or network, by monitor and window.",
                about.show, arguments="IP[/MASK]"),
        Command("inbound_audit count_cidr",
            "Add up a network in the windows START to END of a series; 0 is the current window.",
                about.count, arguments=f"IP[/MASK] {_SERIES} START END"),
        Command("inbound_audit add", "Add to an address in the current window of a series.", about.add,
                arguments=f"{_SERIES} IP N", role=Role.OPERATE),
        Command("inbound_audit subtract", "Subtract from an address in the current window of a series.",
                about.subtract, arguments=f"{_SERIES} IP N", role=Role.OPERATE),
        Command("inbound_audit delete_ip", "Forget an address in all windows of a series.", about.delete,
                arguments=f"IP {_SERIES}", role=Role.OPERATE),
        Command("inbound_audit show all",
            "Print what is counted for each address, as CSV. Window 0 is the current one.",
                about.all),
        Command("inbound_audit load",
            "Add the numbers in a file to the current window of a series. Your client reads the file: "
            "each line has an address, a comma and a number.", about.load, arguments=f"{_SERIES} FILE",
                role=Role.OPERATE),
        Command("gauge_cache show", "Print a script's gauge.", about.gauge, arguments="CACHE KEY"),
        Command("gauge_cache add", "Add to a script's gauge.", about.gauge_add, arguments="CACHE KEY N",
                role=Role.OPERATE),
        Command("gauge_cache sub", "Subtract from a script's gauge.", about.gauge_sub, arguments="CACHE KEY N",
                role=Role.OPERATE),
        Command("gauge_cache delete", "Delete a script's gauge.", about.gauge_delete, arguments="CACHE KEY",
                role=Role.OPERATE),
    ]  # fmt: skip


class _Counting:
    def __init__(self, served: Served) -> None:
        self._served = served

    async def _one(self, question: str, given: dict[str, Any] | None = None) -> Any:
        """Return the answer of the process that counts: the newest, if an older one is ending."""
        return answers(await self._served.ask(question, given or {}))[-1].answer

    async def stats(self, _call: Call) -> Result:
        return Result(await self._one("counting_stats"))

    # ------------------------------------------------------------ inbound_audit

    async def show(self, call: Call) -> Result:
        rows = await self._one("audit_ip", _network(call.arguments[0]))
        lines = [f"{row['kind']} {row['interval']}/{row['window']}: {row['count']}" for row in rows]
        return Result(rows, "\n".join(lines) or "inbound_audit has no monitors")

    async def count(self, call: Call) -> Result:
        network, series, monitor, first, last = call.arguments
        given = _network(network) | _series(series, monitor) | {"first": _whole(first), "last": _whole(last)}
        return _number(await self._one("audit_count", given))

    async def add(self, call: Call) -> Result:
        return await self._added(call, 1)

    async def subtract(self, call: Call) -> Result:
        return await self._added(call, -1)

    async def _added(self, call: Call, sign: int) -> Result:
        series, monitor, address, amount = call.arguments
        given = _network(address) | _series(series, monitor) | {"amount": sign * _whole(amount)}
        return _number(await self._one("audit_add", given))

    async def delete(self, call: Call) -> Result:
        address, series, monitor = call.arguments
        gone = await self._one("audit_delete", _network(address) | _series(series, monitor))
        return Result({"deleted": gone}, f"{gone} were counted")

    async def all(self, _call: Call) -> Result:
        found = await self._one("audit_all")
        text = io.StringIO()
        table = csv.writer(text, lineterminator="\n")
        table.writerow(["series", "interval", "window", "address", "count"])
        table.writerows(found["rows"])
        left = found["left_out"]
        return Result(found, text.getvalue() + (f"# {left} more rows do not fit\n" if left else ""))

    async def load(self, call: Call) -> Result:
        series, monitor, file = call.arguments
        rows = _rows(call.texts.get(file), file)
        count = await self._one("audit_load", _series(series, monitor) | {"rows": rows})
        return Result({"loaded": count}, f"loaded {count} addresses into series '{series}'")

    # ------------------------------------------------------------ gauges

    async def gauge(self, call: Call) -> Result:
        return await self._gauge(call, {})

    async def gauge_add(self, call: Call) -> Result:
        return await self._gauge(call, {"change": _whole(call.arguments[2])})

    async def gauge_sub(self, call: Call) -> Result:
        return await self._gauge(call, {"change": -_whole(call.arguments[2])})

    async def _gauge(self, call: Call, given: dict[str, Any]) -> Result:
        cache, key = call.arguments[:2]
        value = await self._one("gauge", {"cache": cache, "key": key, **given})
        if value is None:
            raise not_a("a cache of gauges that exists", cache, "scripts make one with ec_gauge_cache_init")
        return _number(value)

    async def gauge_delete(self, call: Call) -> Result:
        cache, key = call.arguments
        gone = await self._one("gauge", {"cache": cache, "key": key, "forget": True})
        return Result({"deleted": gone}, f"deleted {gone}")


def _number(value: int) -> Result:
    return Result({"value": value}, str(value))


def _network(text: str) -> dict[str, Any]:
    try:
        found = read_network(text)
    except ValueError:
        raise not_a("a network", text, "write 192.0.2.1, 192.0.2.0/24 or 2001:db8::/64") from None
    return {"address": found.network_address.packed.hex(), "mask": found.prefixlen}


def _series(series: str, monitor: str) -> dict[str, Any]:
    try:
        return {"series": series, "monitor": monitor_of(monitor)}
    except ScriptError:
        raise not_a("a monitor", monitor, 'write seconds and windows: "300,6"') from None


def _rows(text: str | None, file: str) -> list[tuple[str, int]]:
    """Return addresses and numbers of a file's lines."""
    if text is None:
        raise Refused(f"{file} was not sent: a file is read by `ringback console`, with your rights")
    rows = []
    for number, line in enumerate(text.splitlines(), 1):
        address, _, amount = line.partition(",")
        if not line.strip() or line.startswith("#"):
            continue
        try:
            rows.append((packed_address(address.strip()).hex(), _whole(amount.strip())))
        except (ValueError, Refused):
            raise not_a("an address and a number", line[:80], f"write 192.0.2.1,5 in line {number}") from None
    if len(rows) > MOST_ROWS:
        raise Refused(f"{file} has {len(rows)} lines, and at most {MOST_ROWS} are loaded at once: split it")
    return rows


def _whole(text: str) -> int:
    if not (text.isascii() and text.isdigit()) or len(text) > 9:
        raise not_a("a number", text, "write digits")
    return int(text)
