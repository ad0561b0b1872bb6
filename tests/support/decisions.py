"""Reads a table of decisions: for each event, what DNS says, what the exchangers do, and the verdict.

The form is described at the head of `tests/spec/callback/decisions.txt`.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from tests.support.exchanger import Act, After, Exchanger, Step, says
from tests.support.nameserver import FAULTS, SILENCES
from tests.support.servers import Zone

HOSTS: Mapping[str, str] = {"a": "127.0.1.1", "b": "127.0.1.2", "c": "127.0.1.3", "d": "127.0.1.4"} | {
    "us": "127.0.1.9",
    "private": "127.0.9.9",
    "six": "::1",
}
"""Where the exchangers of the table stand."""

DEFAULT_DOMAINS = ("one.test", "two.test", "three.test")

DEFAULT_NAMES = (
    "one.test MX 10 a.mx.test",
    "two.test MX 10 a.mx.test",
    "two.test MX 20 b.mx.test",
    "three.test MX 10 a.mx.test",
    "three.test MX 20 b.mx.test",
    "three.test MX 30 c.mx.test",
    *(f"{host}.mx.test A {address}" for host, address in HOSTS.items() if host != "six"),
    "six.mx.test AAAA ::1",
)


@dataclass(slots=True)
class Decision:
    """One row of the table."""

    event: str
    line: int
    names: list[str] = field(default_factory=list)
    """What DNS says beside the names that every row has."""
    acts: dict[str, list[str]] = field(default_factory=dict)
    """Exchanger → what it does."""
    options: list[str] = field(default_factory=list)
    before: list[str] = field(default_factory=list)
    """Addresses that are asked about first."""
    asks: str = ""
    client: str = ""
    """The network on whose behalf."""
    verdict: tuple[str, str] = ("", "")
    flags: frozenset[str] = frozenset()
    """Further findings: `catchall`, `null_refused`, `tls`."""
    heard: dict[str, list[str]] = field(default_factory=dict)
    """Exchanger → every command it is given, over all connections; `nothing` if there is no connection."""

    @property
    def id(self) -> str:
        """The event without blanks, for the test's id."""
        return re.sub(r"\W+", "-", self.event).strip("-")

    @property
    def address(self) -> str:
        """What the verdict is on."""
        hosts = [each for each in self.acts if each in "abc"]
        return self.asks or f"alice@{DEFAULT_DOMAINS[max(0, len(hosts) - 1)]}"

    @property
    def needs_faults(self) -> bool:
        """Whether DNS fails in it, so that no ordinary name server can play it."""
        return any(each in FAULTS for line in self.names for each in line.split())

    @property
    def is_slow(self) -> bool:
        """Whether a server in it is silent."""
        words = [*(each for acts in self.acts.values() for each in acts), *self.names]
        return any(each.split()[-1] in {"silent", "drops", *SILENCES} for each in words)


_KEYS = re.compile(r"dns|option|before|asks|client|verdict|found|hears (\w+)|(\w+) does")


def read(path: Path) -> list[Decision]:
    """Return the rows of a table."""
    rows: list[Decision] = []
    for number, line in enumerate(path.read_text("utf-8").splitlines(), 1):
        if not line.strip() or line.startswith("#"):
            continue
        if not line.startswith(" "):
            rows.append(Decision(line.strip(), number))
            continue
        key, _, value = line.strip().partition(":")
        assert _KEYS.fullmatch(key), f"line {number}: no such key: {key}"
        _take(rows[-1], key, value.strip())
    return rows


def _take(row: Decision, key: str, value: str) -> None:
    first, _, host = key.partition(" ")
    if key.endswith(" does"):
        row.acts[first] = [each.strip() for each in value.split(" | ")]
    elif first == "hears":
        row.heard[host] = [] if value == "nothing" else [each.strip() for each in value.split(" | ")]
    elif key == "verdict":
        status, reason = value.split()
        row.verdict = (status, reason)
    elif key == "found":
        row.flags = frozenset(value.split())
    elif key in {"asks", "client"}:
        setattr(row, key, value)
    else:
        {"dns": row.names, "option": row.options, "before": row.before}[key].append(value)


def zone_of(lines: list[str]) -> Zone:
    """Return a zone of ordinary records."""
    exchangers: dict[str, list[tuple[int, str]]] = {}
    addresses: dict[str, list[str]] = {}
    aliases: dict[str, str] = {}
    texts: dict[str, str] = {}
    for line in lines:
        name, kind, data = line.split(maxsplit=2)
        if kind == "MX":
            preference, host = data.split()
            exchangers.setdefault(name, []).append((int(preference), host))
        elif kind == "CNAME":
            aliases[name] = data
        elif kind == "TXT":
            texts[name] = data
        else:
            addresses.setdefault(name, []).append(data)
    return Zone(addresses, exchangers, aliases, texts=texts)


# ---------------------------------------------------------------- what an exchanger does

WHOLE_HOST = frozenset({"refuses", "drops"})
"""What an exchanger does that never answers: closed port, or lost packets."""

_ACT = re.compile(r"(?P<step>[A-Z]+(?: by)?)(?:<(?P<address>[^>]*)>)? (?P<what>.*)")


class ScriptedExchanger(Exchanger):
    """An exchanger of the table."""

    def __init__(self, address: str, port: int, acts: list[str]) -> None:
        """Read its acts."""
        offered = next((each.split()[1:] for each in acts if each.startswith("offers")), None)
        more = {} if offered is None else {"extensions": tuple(offered)}
        super().__init__(address, port, **more)
        self._sender: str | None = None
        self._acts: dict[tuple[str, str | None], Act] = {}
        for each in acts:
            if each.startswith("offers") or each == "accepts":
                continue
            found = _ACT.fullmatch(each)
            assert found, f"no act: {each}"
            self._acts[found["step"], found["address"]] = _act(found["what"])

    def act_at(self, step: Step, command: str) -> Act:
        """Do what the table says, for this address first."""
        verb = "STARTTLS" if command.upper() == "STARTTLS" else step.name
        address = found[1] if (found := re.search(r"<([^>]*)>", command)) else None
        if step is Step.MAIL:
            self._sender = address
        for key in ((verb, address), (f"{verb} by", self._sender), (verb, None)):
            if key in self._acts:
                return self._acts[key]
        return super().act_at(step, command)


def _act(what: str) -> Act:
    if what == "silent":
        return Act()
    if what in {"closes", "resets"}:
        return Act(after=After.CLOSE if what == "closes" else After.RESET)
    reply, closing, _ = what.partition(" and closes")
    if reply.endswith("…"):  # without its line end
        return Act(reply[:-1].encode(), after=After.CLOSE)
    return says(*reply.split("\\n"), after=After.CLOSE if closing else After.GO_ON)
