"""Asks all zones of a stanza at once, within one deadline."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

from proxy.base.tasks import TaskOwner, spawn
from proxy.callback.limits.suffixes import organisational
from proxy.dns.remembered import Remembered
from proxy.metrics.book import BOOK
from proxy.metrics.table import DNSBL_ANSWERS, ZONE
from proxy.modules.dnsbl.codes import octets_of, says_error, says_listed, weight_of
from proxy.modules.dnsbl.health import Health
from proxy.modules.dnsbl.kinds import ADDRESSES, OF_MESSAGE, OF_SESSION, OfMessage, OfSession
from proxy.modules.dnsbl.questions import LONGEST_NAME, is_address, is_name, of_address, of_domain
from proxy.modules.dnsbl.score import Hit
from proxy.modules.dnsbl.zones import Zone

MOST_FORWARD = 4
"""Addresses of a name that are looked up, if a zone wants them."""


class Lists:
    """The zones of one stanza, in one worker."""

    def __init__(self, zones: Sequence[Zone], lookups: Remembered, timeout: float, owner: TaskOwner) -> None:
        """`timeout` is for all zones and one subject; `owner` has the tasks."""
        self.zones, self._lookups, self._timeout = zones, lookups, timeout
        self.health = Health(zones, lookups, timeout, owner)
        self.owner = owner
        self.of_session = {name: kind for name, kind in OF_SESSION.items() if self._checks(name)}
        """The kinds that a zone is asked about."""
        self.of_message = {name: kind for name, kind in OF_MESSAGE.items() if self._checks(name)}
        self._kinds: dict[str, OfSession | OfMessage] = {**self.of_session, **self.of_message}
        if any(set(zone.options.checks) - ADDRESSES for zone in zones):
            organisational("example.com")  # reads the Public Suffix List now, and not while sessions wait
        self._places = {zone.name: DNSBL_ANSWERS.table(BOOK.number(ZONE, zone.name)) for zone in zones}

    def _checks(self, kind: str) -> bool:
        return any(kind in zone.options.checks for zone in self.zones)

    async def look(self, kind: str, subjects: Sequence[str], most: int) -> list[Hit]:
        """Ask every zone of the kind about all subjects; return what is heard in time. `most` limits the questions."""
        wanted = [
            (zone, what, question)
            for zone in self.zones
            if kind in zone.options.checks
            for what in subjects
            for question in _questions(zone, self._kinds[kind], what)
        ]
        hits: list[Hit] = []
        tasks = [
            spawn(self._ask(zone, what, question, hits), name=f"dnsbl {zone.name}", owner=self.owner)
            for zone, what, question in wanted[:most]
        ]
        if tasks:
            _, late = await asyncio.wait(tasks, timeout=self._timeout)
            for task in late:
                task.cancel()
        return hits

    async def _ask(self, zone: Zone, what: str, question: str, hits: list[Hit]) -> None:
        """Ask one zone about one name; add what it lists."""
        counted = "unanswered"
        try:
            if not await self.health.usable(zone):
                counted = "off"
                return
            counted = await self._heard(zone, what, question, hits)
            if zone.options.forward and is_name(what):
                for address in (await self._lookups.ask(what, "A")).records[:MOST_FORWARD]:
                    await self._heard(zone, what, of_address(address), hits)
        finally:
            BOOK.counts[self._places[zone.name][counted]] += 1

    async def _heard(self, zone: Zone, what: str, question: str, hits: list[Hit]) -> str:
        """Ask, and add a listing; return what kind of answer it was."""
        name = f"{question}.{zone.name}"
        if not question or len(name) > LONGEST_NAME:
            return "not_listed"
        answer = await self._lookups.ask(name, "A", zone.server)
        if not answer.clear:
            return "unanswered"
        answers = tuple([each for each in map(octets_of, answer.records) if each is not None])
        if any(says_error(each) for each in answers):
            self.health.complain(zone, answer)
            return "error"
        listed = tuple([each for each in answers if says_listed(each)])
        weight = weight_of(listed, zone.options.codes, zone.options.weight) if listed else None
        if weight is None:
            return "not_listed"
        hits.append(Hit(zone, what, name, listed, weight))
        return "listed"

    async def text_of(self, hit: Hit) -> str:
        """Return the zone's own text about a listing (RFC 5782 section 2.1); empty without one."""
        try:
            async with asyncio.timeout(self._timeout):
                answer = await self._lookups.ask(hit.question, "TXT", hit.zone.server)
        except TimeoutError:
            return ""
        return answer.records[0] if answer.records else ""


def _questions(zone: Zone, kind: OfSession | OfMessage, what: str) -> Sequence[str]:
    """Return what is put in front of the zone: what the kind says, an address backwards, or names."""
    if kind.asked is not None:
        return kind.asked(what) if what else []
    if is_address(what):
        return [of_address(what)] if kind.are_addresses or zone.options.addresses else []
    return of_domain(what, full=zone.options.names == "full")
