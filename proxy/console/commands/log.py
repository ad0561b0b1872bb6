"""Commands about the log."""

from __future__ import annotations

import json

from proxy.console.errors import Refused, wrong_arguments
from proxy.console.people import Role
from proxy.console.registry import Call, Command
from proxy.console.results import Result
from proxy.console.served import Served, answers, silent

_USAGE = "log-level [PART] LEVEL [for N minutes]"
_MOST_MINUTES = 24 * 60
_KEPT = 10


def commands(served: Served) -> list[Command]:
    """Return the commands."""
    about = _Log(served)
    return [
        Command(
            "log-level", "Change the log level of Ringback or a part of it, for a time or until a reload.", about.level,
            arguments="[PART] LEVEL [for] [N] [minutes]", role=Role.OPERATE,
        ),
        Command("paniclog", "Print the last 10 errors and the last 10 warnings of all processes.", about.panic),
    ]  # fmt: skip


class _Log:
    def __init__(self, served: Served) -> None:
        self._served = served

    async def level(self, call: Call) -> Result:
        words = list(call.arguments)
        minutes = _minutes(words)
        if not 1 <= len(words) <= 2:
            raise wrong_arguments(_USAGE)
        room, level = words if len(words) == 2 else ("", words[0])
        wanted = {"room": room, "level": level, "seconds": minutes * 60}
        told = await self._served.change(room, "log_level", wanted, keeps=not minutes)
        until = f" for {minutes} minutes" if minutes else ""
        text = f"{room or 'the log'} is at {level}{until}"
        return Result({"part": room, "level": level, "minutes": minutes}, "\n".join([text, *silent(told)]))

    async def panic(self, _call: Call) -> Result:
        told = await self._served.ask("paniclog")
        # A process has what its parent had logged before it was forked.
        events = [json.loads(line) for line in dict.fromkeys(line for each in answers(told) for line in each.answer)]
        events.sort(key=lambda event: str(event.get("timestamp", "")))
        last = [
            event
            for level in ("error", "warning")
            for event in [each for each in events if each.get("level") == level][-_KEPT:]
        ]
        return Result(last, "\n".join(json.dumps(event) for event in last) or "none")


def _minutes(words: list[str]) -> int:
    """Take `for N minutes` from the end of the words; 0 without it."""
    if "for" not in words:
        return 0
    at = words.index("for")
    number = words[at + 1 : at + 2]
    if not number or not (number[0].isascii() and number[0].isdigit()) or not 1 <= int(number[0]) <= _MOST_MINUTES:
        raise Refused(f"write for 1 to {_MOST_MINUTES} minutes")
    if words[at + 2 :] not in ([], ["minutes"], ["minute"], ["min"]):
        raise wrong_arguments(_USAGE)
    del words[at:]
    return int(number[0])
