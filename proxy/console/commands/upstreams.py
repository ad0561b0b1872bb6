"""Commands about next hops."""

from __future__ import annotations

from typing import Any

from proxy.console.errors import nothing_is_called
from proxy.console.people import Role
from proxy.console.registry import Call, Command
from proxy.console.results import Result
from proxy.console.served import Served, answers, done, silent

_SUMS = ("in_use", "idle", "waiting")


def commands(served: Served) -> list[Command]:
    """Return the commands."""
    about = _Upstreams(served)
    return [
        Command("upstreams", "List the next hops: health and connections.", about.listed),
        Command(
            "upstreams drain",
            "Send no new transactions to a server. Another server of its route gets them, or clients "
            "get 451. Running transactions end as usual.", about.drain, arguments="NAME", role=Role.OPERATE,
        ),
        Command(
            "upstreams enable", "Send new transactions to a server again.", about.enable, arguments="NAME",
            role=Role.OPERATE,
        ),
        Command("show outbound", "List the connections to next hops, one per line, as Momentum does.", about.outbound),
    ]  # fmt: skip


class _Upstreams:
    def __init__(self, served: Served) -> None:
        self._served = served

    async def _rows(self) -> tuple[list[dict[str, Any]], list[str]]:
        told = await self._served.ask("upstreams")
        rows: dict[str, dict[str, Any]] = {}
        for each in answers(told):
            for row in each.answer:
                known = rows.setdefault(row["name"], {**row, "down": True, **dict.fromkeys(_SUMS, 0)})
                known["down"] = known["down"] and row["down"]
                for name in _SUMS:
                    known[name] += row[name]
        return [_shown(row) for row in rows.values()], silent(told)

    async def listed(self, _call: Call) -> Result:
        rows, notes = await self._rows()
        value = {"upstreams": rows, "silent": notes}
        return Result(value, "\n".join([*Result(rows).lines, *notes]))

    async def drain(self, call: Call) -> Result:
        return await self._switched(call.arguments[0], on=True)

    async def enable(self, call: Call) -> Result:
        return await self._switched(call.arguments[0], on=False)

    async def _switched(self, name: str, *, on: bool) -> Result:
        told = await self._served.ask("upstreams")
        known = {each for told_by in answers(told) for row in told_by.answer for each in (row["name"], *row["servers"])}
        known |= {each for told_by in answers(told) for row in told_by.answer for each in row["drained"]}
        known |= {each.rpartition(":")[0] for each in known if each.count(":") == 1}
        if name not in known:
            raise nothing_is_called("next hop", name, sorted(known))
        told = await self._served.change(name, "drain", {"name": name, "on": on}, keeps=on)
        state = "gets no new transactions" if on else "gets new transactions"
        return done(told, f"{name} {state}", name=name, drained=on)

    async def outbound(self, _call: Call) -> Result:
        told = await self._served.ask("outbound")
        rows = [{"worker": each.process.hello.slot, **row} for each in answers(told) for row in each.answer]
        lines = [
            f"{row['worker']} [outbound/esmtp] {row['upstream']} {row['to'] or row['session']} {row['state']}"
            for row in rows
        ]
        return Result(rows, "\n".join([*lines, *silent(told)]))


def _shown(row: dict[str, Any]) -> dict[str, Any]:
    """Return a row with one word for its state."""
    meant = {row["name"], *row["servers"], *(each.rpartition(":")[0] for each in row["servers"])}
    drained = [each for each in row["drained"] if each in meant]
    others = [each for each in row["servers"] if each not in drained and each.rpartition(":")[0] not in drained]
    everything = row["name"] in drained or not others
    state = "drained" if drained and everything else "down" if row["down"] else "up"
    return {"name": row["name"], "state": state, **{name: row[name] for name in _SUMS}, "drained": drained}
