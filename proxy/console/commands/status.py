"""status: whether the server is ready, as /readyz says it."""

from __future__ import annotations

import time
from typing import Any

from proxy.console.registry import Call, Command
from proxy.console.results import Result
from proxy.console.served import Served


def commands(served: Served) -> list[Command]:
    """Return the command."""

    async def status(_call: Call) -> Result:
        answer = served.health.answer(strict=False)
        return Result(answer, "\n".join(lines(answer)))

    return [Command("status", "Print whether the server is ready, as `ringback status` does.", status)]


def lines(answer: dict[str, Any]) -> list[str]:
    """Return the answer for people."""
    workers, loaded = answer["workers"], answer["configuration"]["loaded"]
    when = time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(loaded))
    state = "ready" if answer["ready"] else "not ready"
    processes = f"{workers['serving']} of {workers['configured']} workers"
    sessions = f"{answer['connections']} connections, {answer['draining']} draining"
    lines = [f"{state}: {processes}, {sessions}; configuration of {when}"]
    lines += [f"problem: {each}" for each in answer["problems"]]
    lines += [f"warning: {each}" for each in answer["doubts"]]
    lines += [f"next hop {each['name']}: {'up' if each['up'] else 'down'}" for each in answer["upstreams"]]
    return lines
