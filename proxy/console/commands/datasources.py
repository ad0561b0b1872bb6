"""Commands about datasources: cache statistics, and flushing a cache. The words are Momentum's."""

from __future__ import annotations

from proxy.base.log import printable
from proxy.console.people import Role
from proxy.console.registry import Call, Command
from proxy.console.results import Result
from proxy.console.served import Served, answers, done, sum_of

_LOOKUPS = {"hit": "hits", "miss": "misses", "pending": "pending"}
_DELETIONS = {"manual": "manual", "ttl": "ttl", "lru": "lru"}


def commands(served: Served) -> list[Command]:
    """Return the commands."""
    about = _Datasources(served)
    return [
        Command("ds_core stats", "Print how the datasources' caches are used.", about.stats),
        Command(
            "ds_core flush", "Forget the cached results of a datasource.",
            about.flush, arguments="NAME", role=Role.OPERATE,
        ),
    ]  # fmt: skip


class _Datasources:
    def __init__(self, served: Served) -> None:
        self._served = served

    async def stats(self, _call: Call) -> Result:
        told = await self._served.ask("ds_stats")
        sums: dict[str, dict[str, int]] = {}
        for each in answers(told):
            for name, counts in each.answer.items():
                known = sums.setdefault(name, {})
                for kind, number in counts.items():
                    known[kind] = known.get(kind, 0) + number
        lines = [line for name, counts in sums.items() for line in _shown(name, counts)]
        if not sums:
            lines = ["there are no datasources"]
        return done(told, "\n".join(lines), datasources=sums)

    async def flush(self, call: Call) -> Result:
        name = call.arguments[0]
        told = await self._served.ask("ds_flush", {"name": name})
        count = sum_of(told)
        return done(told, f"flushed {count} entries from cache '{printable(name)}'", flushed=count)


def _shown(name: str, counts: dict[str, int]) -> list[str]:
    return [
        f"{printable(name)}:",
        f"  elements: {counts.get('elements', 0)}",
        f"  lookups: {_shares(counts, _LOOKUPS)}",
        f"  inserts: {counts.get('inserts', 0)}",
        f"  deletions: {_shares(counts, _DELETIONS)}",
        f"  errors: {counts.get('errors', 0)}",
    ]


def _shares(counts: dict[str, int], kinds: dict[str, str]) -> str:
    numbers = {word: counts.get(kind, 0) for word, kind in kinds.items()}
    total = sum(numbers.values())
    shares = [f"{100 * number / total if total else 0:.1f}% {word}" for word, number in numbers.items()]
    return f"{', '.join(shares)}, {total} total"
