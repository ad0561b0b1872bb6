"""help, and the words for completion."""

from __future__ import annotations

from proxy.console.errors import not_understood
from proxy.console.registry import Call, Command, Commands
from proxy.console.results import Result


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
        width = max(len(each.usage) for each in found) if len(found) > 1 else 0
        text = "\n".join(f"{each.usage:<{width}}  {each.help}" for each in found)
        return Result(rows, text)

    return [Command("help", "Explain all commands, or those that begin so.", show, arguments="[COMMAND…]")]
