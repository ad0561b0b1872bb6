"""Questions about what the checks of mail remember in a worker: keys of DKIM, DNS answers, rules about bounces."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any, Protocol, runtime_checkable

from proxy.dns.remembered import Remembered
from proxy.server.answering import Question


class Keys(Protocol):
    """A cache of keys: `proxy.dkim.keys.KeyCache`."""

    def __len__(self) -> int: ...

    def clear(self) -> None:
        """Forget all keys."""
        ...


@runtime_checkable
class KeepsKeys(Protocol):
    """A validator that looks keys up."""

    keys: Keys


@runtime_checkable
class ReadsAgain(Protocol):
    """A module's stanza with files that it can read again."""

    async def read_again(self) -> tuple[int, str]:
        """Read them; return how many rules hold now, and why they are the old ones."""
        ...


def questions(
    validators: Callable[[], Iterable[object]],
    stanzas: Callable[[], Iterable[object]],
    lookups: Callable[[], Remembered | None],
) -> dict[str, Question]:
    """Return the questions. `validators` returns the validators of new and of running sessions."""

    def caches() -> list[Keys]:
        return list({id(each.keys): each.keys for each in validators() if isinstance(each, KeepsKeys)}.values())

    def flush_keys(_given: Mapping[str, Any]) -> int:
        count = sum(map(len, caches()))
        for each in caches():
            each.clear()
        return count

    def flush_lookups(given: Mapping[str, Any]) -> int:
        known = lookups()
        return 0 if known is None else known.forget_name(str(given["name"]).lower().rstrip("."))

    def lookup(given: Mapping[str, Any]) -> list[str] | None:
        known = lookups()
        found = None if known is None else known.known(str(given["name"]), str(given["type"]).upper())
        return None if found is None else list(found.records) or [found.status]

    async def read_rules(_given: Mapping[str, Any]) -> list[tuple[int, str]]:
        return [await each.read_again() for each in stanzas() if isinstance(each, ReadsAgain)]

    return {
        "keys_flush": flush_keys,
        "keys_stats": lambda _given: {"elements": sum(map(len, caches()))},
        "lookups_flush": flush_lookups,
        "lookups": lookup,
        "lookups_stats": lambda _given: {"elements": len(lookups() or ())},
        "rules_read": read_rules,
    }
