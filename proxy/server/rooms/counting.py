"""Questions about what is counted together. One process answers them: the keeper, or the only worker."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from inspect import isawaitable
from ipaddress import ip_address
from typing import Any, TypeVar

from proxy.base.log import printable
from proxy.counting.base import Counting, CountingUnavailable
from proxy.counting.memory import MemoryCounting
from proxy.counting.operations import Add, Forget, Gauge, Operation, Sum
from proxy.counting.sharing import SharedCounting
from proxy.counting.traffic import CONNECT, RECEPTION, REJECTION, as_given, of_script, series_of
from proxy.options.core import CoreOptions
from proxy.server.answering import Question, Unanswerable

A = TypeVar("A")

_LABELS = {CONNECT: "Connections", RECEPTION: "Receptions", REJECTION: "Rejections"}

_LABELS_OF = {series_of(kind, here=True): label for kind, label in _LABELS.items()}

MOST_ROWS = 8000
"""Rows of an answer, which has at most 1 MiB."""

Monitors = Sequence[tuple[int, int]]


def questions(counting: MemoryCounting | SharedCounting, core: CoreOptions, monitors: Monitors) -> dict[str, Question]:
    """Return the questions; `monitors` belong to inbound_audit."""
    counted = _Counted(counting, monitors)
    return {
        "audit_ip": counted.audit_ip,
        "audit_count": counted.audit_count,
        "audit_add": counted.audit_add,
        "audit_delete": counted.audit_delete,
        "audit_all": lambda _given: _all(counting.local),
        "audit_load": counted.audit_load,
        "gauge": counted.gauge,
        "counting_stats": lambda _given: _stats(counting, core),
    }


class _Counted:
    def __init__(self, counting: Counting, monitors: Monitors) -> None:
        self._counting, self._monitors = counting, monitors

    async def audit_ip(self, given: Mapping[str, Any]) -> list[dict[str, Any]]:
        address, mask = _network(given)
        rows = []
        for kind, label in _LABELS.items():
            for interval, number in self._monitors:
                for window in range(number):
                    series = series_of(kind, here=True)
                    wanted = Sum(series, interval, number, address, mask, window, window, here=True)
                    count = await _asked(self._counting, wanted)
                    rows.append({"kind": label, "interval": interval, "window": window, "count": count})
        return rows

    async def audit_count(self, given: Mapping[str, Any]) -> int:
        wanted = Sum(*_series(given), *_network(given), int(given["first"]), int(given["last"]))
        return await _asked(self._counting, wanted)

    async def audit_add(self, given: Mapping[str, Any]) -> int:
        address, _ = _network(given)
        await _asked(self._counting, Add(*_series(given), address, int(given["amount"])))
        return await _asked(self._counting, Sum(*_series(given), address, 8 * len(address)))

    async def audit_delete(self, given: Mapping[str, Any]) -> int:
        """Forget an address, and return what was counted for it."""
        address, mask = _network(given)
        name, interval, number = _series(given)
        counted = await _asked(self._counting, Sum(name, interval, number, address, mask, 0, number - 1))
        await _asked(self._counting, Forget("series", f"{name}\0{interval},{number}", address, exact=True))
        return counted

    async def audit_load(self, given: Mapping[str, Any]) -> int:
        """Add to many addresses in the current window of a series."""
        name = _series(given)
        for address, amount in given["rows"]:
            self._counting.tell(Add(*name, bytes.fromhex(str(address)), int(amount)))
        return len(given["rows"])

    async def gauge(self, given: Mapping[str, Any]) -> int | None:
        key = str(given["key"]).encode("utf-8", "surrogateescape")
        room = of_script(str(given["cache"]))
        if given.get("forget"):
            return await _asked(self._counting, Forget("gauge", room, key, exact=True))
        return await _asked(self._counting, Gauge(room, key, int(given.get("change", 0))))


def _all(tables: MemoryCounting) -> dict[str, Any]:
    """Return what is counted here for each address, as far as it fits into an answer, and how many rows do not."""
    rows: list[list[str | int]] = []
    left = 0
    for name in sorted(tables.series.names()):
        label = _LABELS_OF.get(name[0]) or as_given(name[0])
        if label is None:
            continue  # of all machines: the store has it
        newest = int(tables.clock() // name[1])
        parts = [(newest - index, address, amount) for (_, index, address), amount, _ in tables.series.parts(name)]
        for window, address, amount in sorted(parts):
            if len(rows) < MOST_ROWS:
                rows.append([printable(label), name[1], window, str(ip_address(address)), amount])
            else:
                left += 1
    return {"rows": rows, "left_out": left}


def _stats(counting: MemoryCounting | SharedCounting, core: CoreOptions) -> dict[str, Any]:
    tables = counting.local
    where = "here"
    if isinstance(counting, SharedCounting):
        where = "alone, because the store does not answer" if counting.is_alone else "with other machines"
    return {
        "store": str(core.script_store or "State_Directory"),
        "counts": where,
        **tables.sizes(),
    }


def _series(given: Mapping[str, Any]) -> tuple[str, int, int]:
    interval, number = given["monitor"]
    return of_script(str(given["series"])), int(interval), int(number)


def _network(given: Mapping[str, Any]) -> tuple[bytes, int]:
    return bytes.fromhex(str(given["address"])), int(given["mask"])


async def _asked(counting: Counting, operation: Operation[A]) -> A:
    try:
        answer = counting.ask(operation)
        return await answer if isawaitable(answer) else answer
    except CountingUnavailable:
        raise Unanswerable("Script_Store does not answer, and On_Store_Error is defer") from None
