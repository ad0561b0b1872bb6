"""`Filter`: which events and dialogue lines a viewer wants."""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

import re2

from config.base.ip import read_address, read_network
from proxy.console.errors import Refused, not_a
from proxy.console.registry import options_of
from proxy.events.table import EVENTS

Network: TypeAlias = ipaddress.IPv4Network | ipaddress.IPv6Network
NAMES = ("client", "sender", "recipient", "event", "verdict", "upstream", "session")
SWITCHES = ("only-new", "only-one", "terse", "json")
USAGE = " ".join([*(f"[{name}=…]" for name in NAMES), *(f"[--{name}]" for name in SWITCHES)])
VERDICTS = ("relayed", "refused", "deferred", "discarded", "lost")


@dataclass(frozen=True, slots=True)
class Filter:
    """What has to fit. An empty one lets everything pass."""

    client: Network | None = None
    sender: Any = None
    recipient: Any = None
    event: frozenset[str] = frozenset()
    verdict: frozenset[str] = frozenset()
    upstream: Any = None
    session: str = ""
    only_new: bool = False
    only_one: bool = False
    terse: bool = False
    as_json: bool = False

    @classmethod
    def of(cls, words: Sequence[str]) -> Filter:
        """Read a command's arguments.

        Raises:
            Refused: one of them is not understood.
        """
        found, rest = options_of(words, (*NAMES, *SWITCHES))
        if rest:
            raise Refused(f"{rest[0]} is not a filter; write {USAGE}")
        return cls(
            client=_network(found["client"]) if "client" in found else None,
            sender=_glob(found.get("sender")),
            recipient=_glob(found.get("recipient")),
            event=_known("event", found.get("event", ""), tuple(EVENTS)),
            verdict=_known("verdict", found.get("verdict", ""), VERDICTS),
            upstream=_glob(found.get("upstream")),
            session=found.get("session", ""),
            only_new="only-new" in found,
            only_one="only-one" in found,
            terse="terse" in found,
            as_json="json" in found,
        )

    def wants(self, row: Mapping[str, Any]) -> bool:
        """Whether an event, or a dialogue line, fits. An event without the field does not match."""
        if self.event and row.get("event") not in self.event:
            return False
        if self.verdict and row.get("disposition") not in self.verdict:
            return False
        if self.session and row.get("session") != self.session:
            return False
        return (
            self._is_from_client(row)
            and _fits(self.sender, row.get("sender"))
            and _fits(self.recipient, row.get("recipient"), row.get("recipients"))
            and _fits(self.upstream, row.get("upstream"), row.get("taken_by"))
        )

    def _is_from_client(self, row: Mapping[str, Any]) -> bool:
        if self.client is None:
            return True
        try:
            return read_address(str(row.get("client", ""))) in self.client
        except ValueError:
            return False


def _network(text: str) -> Network:
    try:
        return read_network(text)
    except ValueError:
        raise not_a("a network", text, "write an address or a block, such as 192.0.2.0/24") from None


_WILDCARDS = {"*": ".*", "?": "."}

_LONGEST_PATTERN = 1000
"""Characters; RE2's memory grows with them."""


def _glob(text: str | None) -> Any:
    """Compile a pattern with * and ?, for RE2. What `fnmatch.translate` writes is for `re` only."""
    if text is None:
        return None
    if len(text) > _LONGEST_PATTERN:
        raise Refused(f"the pattern has {len(text)} characters: write at most {_LONGEST_PATTERN}")
    parts = [_WILDCARDS.get(each) or re2.escape(each) for each in re.sub(r"\*+", "*", text)]
    return re2.compile(f"(?is){''.join(parts)}")


def _fits(pattern: Any, *values: object) -> bool:
    if pattern is None:
        return True
    texts = [each for value in values for each in (value if isinstance(value, list) else [value]) if each is not None]
    return any(pattern.fullmatch(str(each)) is not None for each in texts)


def _known(what: str, text: str, known: Sequence[str]) -> frozenset[str]:
    names = frozenset(each for each in text.split(",") if each)
    for each in sorted(names):
        if each not in known:
            hint = ", ".join(known) if len(known) < 10 else "the events are in docs/events.md"
            raise not_a(f"a known {what}", each, hint)
    return names
