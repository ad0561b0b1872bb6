"""Commands about Ringback's own messages, in the spirit of Momentum's for its queue."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from proxy.console.errors import Refused, nothing_to_ask, wrong_arguments
from proxy.console.people import Role
from proxy.console.registry import Call, Command, options_of
from proxy.console.results import Result
from proxy.console.served import Served

_SECONDS = 30.0


def commands(served: Served) -> list[Command]:
    """Return the commands."""
    about = _Outbox(served)
    return [
        Command("outbox list", "List Ringback's own messages that are waiting.", about.listed),
        Command("outbox show", "Print a message: its deliveries and its header section.",
            about.show, arguments="LETTER"),
        Command(
            "outbox retry", "Deliver a message now, or all of them.", about.retry, arguments="LETTER|all [--dry-run]",
            role=Role.OPERATE,
        ),
        Command(
            "outbox fail", "Give up a message. Its sender gets a report.", about.fail, arguments="LETTER [--dry-run]",
            role=Role.OPERATE,
        ),
    ]  # fmt: skip


class _Outbox:
    def __init__(self, served: Served) -> None:
        self._served = served

    async def _ask(self, question: str, arguments: Mapping[str, Any]) -> Any:
        """Ask one worker: they share the file."""
        workers = [each for each in self._served.processes.known if each.is_worker]
        for worker in workers:
            told = await self._served.processes.ask(question, arguments, to=worker.hello.slot, seconds=_SECONDS)
            for each in told:
                if not each.error:
                    return each.answer
                raise Refused(each.error)
        raise nothing_to_ask(runs=False)

    async def listed(self, _call: Call) -> Result:
        rows = (await self._ask("outbox", {}))["deliveries"]
        return Result(rows, None if rows else "the outbox is empty")

    async def show(self, call: Call) -> Result:
        found = await self._ask("outbox_letter", {"letter": _letter(call.arguments[0])})
        if not found:
            raise Refused(f"there is no letter {call.arguments[0]}; outbox list has those that wait")
        return Result(found, "\n".join([*Result(found["deliveries"]).lines, "", *found["header"]]))

    async def retry(self, call: Call) -> Result:
        options, words = options_of(call.arguments, ("dry-run",))
        if len(words) != 1:
            raise wrong_arguments("outbox retry LETTER|all [--dry-run]")
        letter, dry = 0 if words[0] == "all" else _letter(words[0]), "dry-run" in options
        count = await self._ask("outbox_retry", {"letter": letter, "dry_run": dry})
        return Result(
            {"deliveries": count, "dry_run": dry}, f"{count} deliveries {'would be' if dry else 'are'} tried now"
        )

    async def fail(self, call: Call) -> Result:
        options, words = options_of(call.arguments, ("dry-run",))
        if len(words) != 1:
            raise wrong_arguments("outbox fail LETTER [--dry-run]")
        dry = "dry-run" in options
        count = await self._ask("outbox_fail", {"letter": _letter(words[0]), "dry_run": dry})
        if not count:
            raise Refused(f"letter {words[0]} has no delivery that waits; outbox list has those that do")
        return Result(
            {"deliveries": count, "dry_run": dry}, f"{count} deliveries {'would be' if dry else 'are'} given up"
        )


def _letter(text: str) -> int:
    if not (text.isascii() and text.isdigit()):
        raise Refused(f'"{text}" is not a letter: write its number, as outbox list does')
    return int(text)
