"""Commands about callbacks, their cache, and DNS answers."""

from __future__ import annotations

from typing import Any

from proxy.console.errors import Refused
from proxy.console.people import Role
from proxy.console.registry import Call, Command
from proxy.console.results import Result
from proxy.console.served import Served, added, answers, done, sum_of
from proxy.control.asking import Told

_FORGET_SECONDS = 20.0

_CACHES = (
    ("cbv_stats", "callbacks"), ("cbv_front", "callbacks in workers"), ("dns_stats", "dns"),
    ("lookups_stats", "dns of checks"), ("keys_stats", "keys of checks"),
)  # fmt: skip
"""Question → the caches that it is about."""


def commands(served: Served) -> list[Command]:
    """Return the commands."""
    about = _Callbacks(served)
    return [
        Command("smtp_cbv lookup", "Print what is cached about an address, or about a domain itself.", about.lookup,
                arguments="ADDRESS|DOMAIN"),
        Command(
            "smtp_cbv forget", "Delete what is cached about an address, a domain with its addresses, or, with --all, "
            "everything; `ringback cache purge` does the same.", about.forget, arguments="ADDRESS|DOMAIN|--all",
            role=Role.OPERATE,
        ),
        Command("smtp_cbv stats", "Print what the callbacks keep in memory, and what they do now.", about.stats),
        Command("smtp_cbv in flight", "List the probes that are in progress.", about.in_flight),
        Command("smtp_cbv breakers", "List the exchangers that rejected us and are not probed for now.",
            about.breakers),
        Command("smtp_cbv storms", "List the domains that are being forged now.", about.storms),
        Command("cache stats", "Print how full the caches are.", about.caches),
        Command("dns_cache lookup", "Print a cached answer about an exchanger, or one that a check "
                "of mail got; TYPE is MX, A, TXT or PTR.", about.dns_lookup,
                arguments="NAME TYPE"),
        Command("dns_cache stats", "Print how full the DNS cache is.", about.dns_stats),
        Command("dns flush", "Forget the cached DNS answers, or those about a name.", about.dns_flush,
                arguments="[NAME]", role=Role.OPERATE),
    ]  # fmt: skip


class _Callbacks:
    def __init__(self, served: Served) -> None:
        self._served = served

    async def lookup(self, call: Call) -> Result:
        subject = call.arguments[0]
        told = answers(await self._served.ask("cbv_lookup", {"subject": subject}))
        rows = [row for each in told for row in each.answer["verdicts"]]
        facts = sorted({fact for each in told for fact in each.answer["facts"]})
        lines = [
            f"{subject}: {row['status']} ({row['reason']}) {row['exchanger']} {row['code'] or ''} {row['text']}\n"
            f"  found {row['found_seconds_ago']} s ago, "
            + (f"valid for {row['valid_for_seconds']} s more" if row["valid_for_seconds"] else "expired")
            for row in rows
        ]
        lines += [f"{subject}: {fact}" for fact in facts]
        value = {"subject": subject, "verdicts": rows, "facts": facts}
        return Result(value, "\n".join(lines) or f"{subject}: nothing is cached")

    async def forget(self, call: Call) -> Result:
        subject = call.arguments[0]
        if subject.startswith("--") and subject != "--all":
            raise Refused("write an address, a domain, or --all")
        wanted = {"subject": "" if subject == "--all" else subject}
        told = await self._served.ask("cbv_forget", wanted, seconds=_FORGET_SECONDS)
        gone = sum_of(told)
        return done(told, f"{gone} record{'' if gone == 1 else 's'} removed", removed=gone)

    async def stats(self, _call: Call) -> Result:
        told = await self._served.ask("cbv_stats")
        return Result(added(told))

    async def caches(self, _call: Call) -> Result:
        processes = self._served.processes
        rows = []
        for question, name in _CACHES:
            for each in answers(await processes.ask(question)):
                found = each.answer if isinstance(each.answer, dict) else {"elements": each.answer}
                elements = found.get("elements", found.get("verdicts_in_memory"))
                rows.append(
                    {
                        "cache": name, "process": each.process.name, "elements": elements,
                        "octets": found.get("octets_in_memory"), "stored": found.get("verdicts_stored"),
                    }
                )  # fmt: skip
        return Result(rows)

    async def in_flight(self, _call: Call) -> Result:
        return await self._rows("cbv_in_flight")

    async def breakers(self, _call: Call) -> Result:
        return await self._rows("cbv_breakers")

    async def storms(self, _call: Call) -> Result:
        return await self._rows("cbv_storms")

    async def _rows(self, question: str) -> Result:
        rows = [row for each in answers(await self._served.ask(question)) for row in each.answer]
        return Result(rows, None if rows else "none")

    async def dns_lookup(self, call: Call) -> Result:
        name, kind = call.arguments
        found = await self._of_both("dns_lookup", "lookups", {"name": name, "type": kind})
        known = next((each.answer for each in found if each.answer is not None), None)
        lines = [f"{name} {kind.upper()} {each}" for each in known or []]
        return Result(
            {"name": name, "type": kind.upper(), "records": known}, "\n".join(lines) or "Cached result not found"
        )

    async def _of_both(self, of_callbacks: str, of_checks: str, given: dict[str, Any]) -> list[Told]:
        """Ask the process that makes callbacks, and the workers: their checks of mail have caches of their own."""
        try:
            found = await self._served.ask(of_callbacks, given)
        except Refused:  # no callbacks are loaded
            found = []
        return answers([*found, *await self._served.ask(of_checks, given)])

    async def dns_stats(self, _call: Call) -> Result:
        return Result(added(await self._of_both("dns_stats", "lookups_stats", {})))

    async def dns_flush(self, call: Call) -> Result:
        name = {"name": call.arguments[0] if call.arguments else ""}
        gone = sum(each.answer for each in await self._of_both("dns_flush", "lookups_flush", name))
        return Result({"flushed": gone}, f"flushed {gone} entries from the DNS cache")
