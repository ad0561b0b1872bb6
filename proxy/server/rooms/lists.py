"""Questions about the lists of a worker: list them, and reload one."""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import Any

from proxy.base.log import printable
from proxy.lists.cidr import UnknownList
from proxy.lists.listed import Lists
from proxy.server.answering import Question, Unanswerable


def questions(lists: Lists) -> dict[str, Question]:
    """Return the questions."""

    async def reload(given: Mapping[str, Any]) -> dict[str, Any]:
        name = str(given["name"])
        try:
            problem = await lists.cidr.reload(name, float(given["since"]))
        except UnknownList:
            raise Unanswerable(f'no list is called "{printable(name)}"') from None
        if problem:
            raise Unanswerable(f"it stays as it was: {printable(problem, 500)}")
        table = lists.cidr.get(name).table
        return {"networks": table.networks if table is not None else 0}

    return {
        "list_names": lambda _given: sorted({*lists.declared, *(each.definition.name for each in lists.cidr.every)}),
        "cidr_lists": lambda _given: _rows(lists),
        "cidr_reload": reload,
    }


def _rows(lists: Lists) -> list[dict[str, Any]]:
    now = time.monotonic()
    return [
        {
            "name": each.definition.name,
            "networks": each.table.networks if each.table is not None else None,
            "refresh": None if each.due is None else max(0, round(each.due - now)),
            "problem": printable(each.problem, 500),
        }
        for each in lists.cidr.every
    ]
