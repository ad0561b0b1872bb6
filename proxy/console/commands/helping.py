"""help, and the words for completion."""

from __future__ import annotations

from proxy.console.errors import not_understood
from proxy.console.registry import Call, Command, Commands
from proxy.console.results import Result, shown

_WIDTH = 34
"""Width of the column of commands. The help for a longer command begins on the next line."""


def _explained(command: Command) -> str:
    usage = shown(command.usage)
    gap = "  " if len(usage) <= _WIDTH else "\n" + " " * (_WIDTH + 2)
    return f"{usage:<{_WIDTH}}{gap}{command.help}"


def commands(table: Commands) -> list[Command]:
    """Return the commands about commands."""

    async def show(call: Call) -> Result:
        line = " ".join(call.arguments)
        found = table.meant_by(line)
        if not found:
            raise not_understood(line, [])
        rows = [
            {"command": each.usage, "role": each.role.name.lower(), "help": each.help, "changes": each.changes}
            for each in found
        ]
        return Result(rows, "\n".join(_explained(each) for each in found))

    return [
        Command("help", "Explain all commands, or those that begin with these words.", show, arguments="[COMMAND…]")
    ]
