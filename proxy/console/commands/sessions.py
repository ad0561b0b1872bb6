"""Commands about sessions: list them, show one, and end some."""

from __future__ import annotations

from typing import Any

from config.base.ip import read_network
from proxy.console.errors import Refused, not_a
from proxy.console.people import Role
from proxy.console.registry import Call, Command
from proxy.console.results import Result
from proxy.console.served import Served, answers, done, silent


def commands(served: Served) -> list[Command]:
    """Return the commands."""
    about = _Sessions(served)
    return [
        Command("list sessions", "List all sessions, or one network's.", about.listed, arguments="[CIDR]"),
        Command("session", "Print everything about a session: phase, variables, the dialogue so far.", about.one,
                arguments="ID"),
        Command(
            "kill session",
            "End a session, or a network's sessions, with 421. If the end of a message was sent to "
            "the next hop, the client gets its reply first.", about.kill, arguments="ID|CIDR", role=Role.OPERATE,
        ),
        Command("show inbound", "List the connections of clients, one per line, as Momentum does.", about.inbound),
    ]  # fmt: skip


class _Sessions:
    def __init__(self, served: Served) -> None:
        self._served = served

    async def _rows(self, network: str) -> tuple[list[dict[str, Any]], list[str]]:
        told = await self._served.ask("sessions", {"network": network})
        found = answers(told)
        rows = [{"worker": each.process.hello.slot, **row} for each in found for row in each.answer["rows"]]
        left_out = sum(each.answer["left_out"] for each in found)
        notes = [f"{left_out} more are left out: name a network"] if left_out else []
        return rows, notes + silent(told)

    async def listed(self, call: Call) -> Result:
        network = _network(call.arguments[0]) if call.arguments else ""
        rows, notes = await self._rows(network)
        value = {"sessions": rows, "notes": notes}
        shown = Result(rows).lines if rows else []
        return Result(value, "\n".join([*shown, f"{len(rows)} sessions", *notes]))

    async def one(self, call: Call) -> Result:
        told = await self._served.ask("session", {"id": call.arguments[0]})
        for each in answers(told):
            if each.answer is not None:
                return Result({"worker": each.process.hello.slot, **each.answer})
        raise Refused("\n".join(["there is no such session now; list sessions has those that run", *silent(told)]))

    async def kill(self, call: Call) -> Result:
        wanted = call.arguments[0]
        if not wanted:
            raise not_a("a session or a network", wanted, "list sessions has those that run")
        network = _network(wanted) if _is_network(wanted) else ""
        told = await self._served.ask("kill", {"network": network} if network else {"id": wanted})
        gone = [row for each in answers(told) for row in each.answer]
        if not gone and not network:
            raise Refused("there is no such session now; list sessions has those that run")
        waiting = [row["id"] for row in gone if row["waits_for_next_hop"]]
        notes = [f"{each} ends when the next hop has answered" for each in waiting]
        text = "\n".join([f"{len(gone)} sessions killed", *notes])
        return done(told, text, killed=[row["id"] for row in gone], waiting=waiting)

    async def inbound(self, _call: Call) -> Result:
        rows, notes = await self._rows("")
        lines = [
            f"{row['worker']} [inbound/esmtp_listener] {'INET6' if row['client'].startswith('[') else 'INET'} "
            f"{row['client']} {row['phase']} (for {row['seconds']:.3f}s)"
            for row in rows
        ]
        return Result(rows, "\n".join([*lines, *notes]))


def _is_network(text: str) -> bool:
    return "." in text or ":" in text or "/" in text


def _network(text: str) -> str:
    try:
        return str(read_network(text))
    except ValueError:
        raise not_a("a network", text, "write an address or a block, such as 192.0.2.0/24") from None
