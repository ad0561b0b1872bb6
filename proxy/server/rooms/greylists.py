"""Questions about greylists: what one worker sees, which is the machine's or the site's."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from proxy.base.log import printable
from proxy.counting.base import Counting, CountingUnavailable, answered
from proxy.counting.operations import Forget, Operation, Show
from proxy.server.answering import Question, Unanswerable

MOST_SHOWN = 1000


def questions(counting: Callable[[], Counting], names: Callable[[], Sequence[str]]) -> dict[str, Question]:
    """Return the questions. `names` returns the names of the stanzas."""

    async def shown(given: Mapping[str, Any]) -> list[dict[str, Any]]:
        rows = []
        for name in names():
            operation = Show("greylist", f"greylist {name}", _prefix(given), MOST_SHOWN)
            for each in await _counted(counting(), operation):
                first, last, passed, expires = each.numbers
                who, _, rest = each.key.decode("utf-8", "backslashreplace").partition(" ")
                sender, _, recipient = rest.partition(" ")
                rows.append({
                    "greylist": name, "client": printable(who), "sender": printable(sender),
                    "recipient": printable(recipient), "first": round(first), "last": round(last),
                    "passed": int(passed), "expires": round(expires),
                })  # fmt: skip
        return rows[:MOST_SHOWN]

    async def forgotten(given: Mapping[str, Any]) -> int:
        kinds = ("greylist", "client")
        found = [
            await _counted(counting(), Forget(kind, f"greylist {name}", _prefix(given)))
            for name in names()
            for kind in kinds
        ]
        return sum(found)

    return {"greylist": shown, "greylist_forget": forgotten}


def _prefix(given: Mapping[str, Any]) -> bytes:
    return str(given.get("client") or "").encode("utf-8", "surrogateescape")


async def _counted(counting: Counting, operation: Operation[Any]) -> Any:
    try:
        return await answered(counting, operation)
    except CountingUnavailable:
        raise Unanswerable("the counts of all workers cannot be reached now: see counting_alone in the log") from None
