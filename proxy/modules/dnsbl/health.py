"""Whether a zone works: its test entries are right (RFC 5782 section 5), looked at when Ringback starts and every hour.

An abandoned list may list the whole world, or nothing. No client is refused before the first check has ended.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from weakref import ref

from proxy.base.log import get_logger, printable
from proxy.base.tasks import TaskOwner, spawn
from proxy.dns.noted import noting
from proxy.dns.remembered import Answer, Remembered
from proxy.modules.dnsbl.codes import octets_of, says_error, says_listed
from proxy.modules.dnsbl.kinds import ADDRESSES
from proxy.modules.dnsbl.zones import Zone

log = get_logger()

CHECK_SECONDS = 3600.0
"""Between two looks at the test entries."""

RETRY_SECONDS = 60.0
"""The same, after one without an answer."""

_OF_ADDRESSES = ("2.0.0.127", "127.0.0.2"), ("1.0.0.127", "127.0.0.1")
"""The entry that must be listed, and the one that must not: as asked, and as the RFC writes it."""

_NO_NAME = ("invalid", "INVALID")


@dataclass(slots=True)
class _State:
    """What is known of a zone."""

    known: asyncio.Event = field(default_factory=asyncio.Event)
    problem: str = ""
    complained: float = float("-inf")


class Health:
    """The state of a stanza's zones, in one worker."""

    def __init__(self, zones: Sequence[Zone], lookups: Remembered, timeout: float, owner: TaskOwner) -> None:
        """`timeout` is for one look at one zone; `owner` has the tasks."""
        self._zones = [zone for zone in zones if zone.options.test]
        self._lookups, self._timeout = lookups, timeout
        self._states = {zone.name: _State() for zone in zones}
        self._owner = owner
        self._started = False

    def start(self) -> None:
        """Look at all zones now, and again every hour."""
        if not self._started:
            self._started = True
            for zone in self._zones:
                spawn(_watch(ref(self), zone), name=f"test {zone.name}", owner=self._owner)

    async def usable(self, zone: Zone) -> bool:
        """Return whether a zone works; wait for the first look at it."""
        if not zone.options.test:
            return True
        self.start()
        state = self._states[zone.name]
        await state.known.wait()
        return not state.problem

    @property
    def off(self) -> dict[str, str]:
        """The zones that are off, and why."""
        return {name: state.problem for name, state in self._states.items() if state.problem}

    async def look(self, zone: Zone) -> bool:
        """Look at a zone's test entries, and switch it on or off; return whether it answered."""
        problem, answered = await self._problem(zone)
        state = self._states[zone.name]
        if problem and problem != state.problem:
            log.warning("dnsbl_zone_off", zone=zone.name, reason=problem)
        elif state.problem and not problem:
            log.info("dnsbl_zone_on", zone=zone.name)
        state.problem = problem
        state.known.set()
        return answered

    async def _problem(self, zone: Zone) -> tuple[str, bool]:
        """Return what is wrong with a zone, or nothing, and whether it answered."""
        checks = set(zone.options.checks)
        pairs = [_OF_ADDRESSES] if checks & ADDRESSES else []
        name = zone.options.test_name
        pairs += [((name, name.upper()), _NO_NAME)] if checks - ADDRESSES else []
        for (listed, listed_name), (free, free_name) in pairs:
            try:
                async with asyncio.timeout(self._timeout):
                    wanted, unwanted = await self._fresh(zone, listed), await self._fresh(zone, free)
            except TimeoutError:
                return "it does not answer", False
            if not (wanted.clear and unwanted.clear):
                return f"it does not answer ({wanted.status if not wanted.clear else unwanted.status})", False
            if _has(wanted, error=True) or _has(unwanted, error=True):
                return f"it refuses to answer: {_shown(wanted, unwanted)}", True
            if not _has(wanted):
                return f"{listed_name} is not listed", True
            if _has(unwanted):
                return f"{free_name} is listed", True
        return "", True

    async def _fresh(self, zone: Zone, question: str) -> Answer:
        name = f"{question}.{zone.name}"
        self._lookups.forget(name, "A", zone.server)
        return await self._lookups.ask(name, "A", zone.server)

    def complain(self, zone: Zone, answer: Answer) -> None:
        """Log, once an hour, that a zone answered with an error."""
        state, now = self._states[zone.name], time.monotonic()
        if now - state.complained >= CHECK_SECONDS:
            state.complained = now
            log.warning("dnsbl_zone_error", zone=zone.name, reason=_shown(answer))


async def _watch(health: ref[Health], zone: Zone) -> None:
    """Look at a zone as long as there is a module that wants to know: the console may make another."""
    noting(None)  # a session may have been the first to ask
    while (watching := health()) is not None:
        answered = await watching.look(zone)
        del watching
        await asyncio.sleep(CHECK_SECONDS if answered else RETRY_SECONDS)


def _has(answer: Answer, *, error: bool = False) -> bool:
    judge = says_error if error else says_listed
    return any(judge(octets) for octets in map(octets_of, answer.records) if octets is not None)


def _shown(*answers: Answer) -> str:
    return " ".join([printable(each) for answer in answers for each in answer.records[:3]])
