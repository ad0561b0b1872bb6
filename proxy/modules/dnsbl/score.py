"""The listings of a transaction, and their score."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from proxy.modules.dnsbl.codes import Octets
from proxy.modules.dnsbl.zones import Zone


@dataclass(frozen=True, slots=True)
class Hit:
    """A listing."""

    zone: Zone
    what: str
    """The address or name that is listed."""
    question: str
    """The name that was asked."""
    answers: tuple[Octets, ...]
    weight: int

    @property
    def keys(self) -> list[str]:
        """The context variables that count it."""
        options = self.zone.options
        bits = [name for mask, name in options.bits if any(_shares(mask, each) for each in self.answers)]
        return list(dict.fromkeys(bits + [name for octets, name in options.values if octets in self.answers]))

    @property
    def code(self) -> str:
        """The answers, for the log."""
        return " ".join([".".join(map(str, each)) for each in self.answers])


def _shares(mask: Octets, octets: Octets) -> bool:
    return any(one & other for one, other in zip(mask, octets, strict=True))


@dataclass(frozen=True, slots=True)
class Score:
    """What all listings of a transaction come to."""

    hits: tuple[Hit, ...] = ()
    """The listings that count."""
    allowed: tuple[Hit, ...] = ()
    """Those of allow lists."""

    @property
    def total(self) -> int:
        """The sum of the weights. A zone counts once, with its heaviest listing."""
        weights: dict[str, int] = {}
        for each in self.hits:
            known = weights.get(each.zone.name, 0)
            weights[each.zone.name] = each.weight if abs(each.weight) > abs(known) else known
        return sum(weights.values())

    @property
    def heaviest(self) -> Hit:
        """The listing that the client's reply names."""
        return max(self.hits, key=lambda each: each.weight)

    @property
    def keys(self) -> Mapping[str, int]:
        """How often each context variable was hit."""
        counts: dict[str, int] = {}
        for each in self.hits:
            for name in each.keys:
                counts[name] = counts.get(name, 0) + 1
        return counts


def scored(found: Iterable[Hit]) -> Score:
    """Add up listings. If an allow list has the client, zones that honour it do not count."""
    distinct = list({(each.zone.name, each.question): each for each in found}.values())
    allowed = tuple([each for each in distinct if each.zone.options.allow])
    rest = [each for each in distinct if not each.zone.options.allow]
    if allowed:
        rest = [each for each in rest if not each.zone.options.honor_whitelist]
    return Score(tuple(rest), allowed)
