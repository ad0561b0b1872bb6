"""The public test suites of SPF, as pyspf's source distribution has them, and a name server that serves their zones."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import dns.flags
import dns.message
import dns.name
import dns.rcode
import dns.rdata
import dns.rdataclass
import dns.rdatatype
import dns.rrset
import pytest
from ruamel.yaml import YAML

from tests.support.nameserver import ScriptedNameserver
from tests.support.required import REQUIRE_REAL

FOLDER = "RINGBACK_PYSPF"
"""The environment variable that names the unpacked source distribution; `.ci/run` sets it."""

SUITES = {"rfc7208-tests.yml": 203, "rfc4408-tests.yml": 191, "test.yml": 16}
"""The suites, and how many cases each has: 410. The other 18 that pyspf counts are examples of its own functions."""

_MODES_OF_PYSPF = {"default-modifier": "neutral", "default-modifier-harsh": "neutral"}
"""Cases in which pyspf is more lenient or harsher than RFC 7208, and what the RFC says (section 6): a modifier that it
does not know is ignored."""

Labels = tuple[bytes, ...]
Zone = Mapping[Labels, list[tuple[str, Any]]]


@dataclass(frozen=True)
class Case:
    """One test of a suite."""

    name: str
    zone: Zone
    client_ip: str
    sender: str
    helo: str
    results: tuple[str, ...]
    explanation: str | None


def folder() -> Path:
    return Path(os.environ.get(FOLDER, "build/unpacked/pyspf")) / "test"


def need_suites() -> None:
    """Skip the test if the suites are missing, or fail where everything is demanded."""
    if not (folder() / "rfc7208-tests.yml").exists():
        if os.environ.get(REQUIRE_REAL) == "1":
            pytest.fail(f"the SPF test suite is not in {folder()}, and {REQUIRE_REAL}=1 demands it", pytrace=False)
        pytest.skip(f"the SPF test suite is not in {folder()}")


@cache
def cases(suite: str) -> list[Case]:
    return list(_read(folder() / suite))


def _read(path: Path) -> Iterator[Case]:
    reader = YAML(typ="safe", pure=True)
    reader.version = (1, 1)
    for scenario in reader.load_all(path.read_bytes()):
        zone = {_labels(name): list(_records(records)) for name, records in scenario["zonedata"].items()}
        for name, test in scenario["tests"].items():
            result = _MODES_OF_PYSPF.get(name, test["result"])
            yield Case(
                f"{path.stem}: {name}", zone, test["host"], str(test["mailfrom"]), str(test["helo"]),
                tuple(result) if isinstance(result, list) else (result,), test.get("explanation"),
            )  # fmt: skip


def _labels(name: str) -> Labels:
    return tuple(label.encode() for label in name.lower().rstrip(".").split("."))


def _records(records: list[Any]) -> Iterator[tuple[str, Any]]:
    """Yield type and data. A record of type SPF also replaces a missing TXT one."""
    has_txt = any(isinstance(each, dict) and "TXT" in each for each in records)
    for each in records:
        if each == "TIMEOUT":
            yield "ANY", "TIMEOUT"
            continue
        for kind, data in each.items():
            if data != "NONE":
                yield kind, data
                if kind == "SPF" and not has_txt:
                    yield "TXT", data


class ZoneServer(ScriptedNameserver):
    """Serves the zone of a case. What the suite calls a time-out is SERVFAIL, so that no test waits.

    The lives are 0, because c-ares remembers answers.
    """

    def __init__(self) -> None:
        super().__init__([])
        self.zone: Zone = {}

    def answer(self, octets: bytes, *, tcp: bool) -> bytes | None:
        query = dns.message.from_wire(octets)
        response = dns.message.make_response(query)
        response.flags |= dns.flags.RA | dns.flags.AA
        question = query.question[0]
        self._find(response, question.name, dns.rdatatype.to_text(question.rdtype))
        wire = response.to_wire(max_size=65535)
        if len(wire) > 1200 and not tcp:
            response.answer.clear()
            response.flags |= dns.flags.TC
            wire = response.to_wire()
        return wire

    def _find(self, response: dns.message.Message, name: dns.name.Name, kind: str) -> None:
        for _ in range(16):
            labels = tuple(label.lower() for label in name.labels[:-1])
            records = self.zone.get(labels)
            if records is None:
                response.set_rcode(dns.rcode.SERVFAIL if labels[:1] == (b"error",) else dns.rcode.NXDOMAIN)
                return
            found = [data for each, data in records if each == kind]
            timeouts = [each for each, data in records if data == "TIMEOUT" and each in {kind, "ANY"}]
            if (timeouts and not found[:1]) or "TIMEOUT" in found:
                response.set_rcode(dns.rcode.SERVFAIL)
                return
            if found:
                response.answer.append(dns.rrset.from_rdata_list(name, 0, [_rdata(kind, each) for each in found]))
                return
            alias = next((data for each, data in records if each == "CNAME"), None)
            if alias is None:
                return
            target = _name(alias)
            response.answer.append(dns.rrset.from_rdata_list(name, 0, [_rdata("CNAME", alias)]))
            name = target


def _name(text: str) -> dns.name.Name:
    return dns.name.Name([*(label.encode() for label in text.rstrip(".").split(".") if label), b""])


def _rdata(kind: str, data: Any) -> dns.rdata.Rdata:
    group, rdtype = dns.rdataclass.IN, dns.rdatatype.from_text(kind)
    if kind in {"TXT", "SPF"}:
        strings = [data] if isinstance(data, str) else data
        wire = b"".join(bytes([len(each.encode())]) + each.encode() for each in strings)
        if not wire:
            return dns.rdata.GenericRdata(group, rdtype, wire)
        return dns.rdata.from_wire(group, rdtype, wire, 0, len(wire))
    if kind == "MX":
        wire = int(data[0]).to_bytes(2, "big") + _name(str(data[1])).to_wire()
        return dns.rdata.from_wire(group, rdtype, wire, 0, len(wire))
    if kind in {"CNAME", "PTR"}:
        wire = _name(str(data)).to_wire()
        return dns.rdata.from_wire(group, rdtype, wire, 0, len(wire))
    return dns.rdata.from_text(group, rdtype, str(data))
