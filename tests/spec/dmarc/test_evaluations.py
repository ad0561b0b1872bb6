"""What DMARC says about a message: the table `evaluations.tsv`.

`from` is the body of the From field; `//` parts two fields. `spf` is the domain that passed (`helo NAME` if the sender
was null), or `temperror`; `dkim` lists the domains whose signatures verified. `zone` has what DNS knows, parted by `|`:
`NAME record`, `NAME A`, `NAME NODATA` or `NAME SERVFAIL`; all other names do not exist. `wanted` is the status, the
policy that applies, and the author's domain that decided.
"""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from proxy.dmarc.author import authors
from proxy.dmarc.evaluation import Identifiers, evaluate
from proxy.dns.remembered import Answer

ROWS = [line.split("\t") for line in Path(__file__).with_name("evaluations.tsv").read_text("utf-8").splitlines()[1:]]
MOST_QUESTIONS = 200


class Zone:
    """A name server of one case."""

    def __init__(self, text: str) -> None:
        self.asked: list[str] = []
        self._texts: dict[str, list[str]] = {}
        self._failing: set[str] = set()
        self._names: set[str] = set()
        for part in [] if text == "-" else text.split(" | "):
            name, _, says = part.partition(" ")
            self._failing |= {name} if says == "SERVFAIL" else set()
            if says not in {"A", "NODATA", "SERVFAIL"}:
                self._texts.setdefault(name, []).append(says)
            self._names.add(name)

    async def look_up(self, name: str, kind: str) -> Answer:
        self.asked.append(name)
        if name in self._failing:
            return Answer("SERVFAIL")
        if kind == "TXT" and name in self._texts:
            return Answer("SUCCESS", tuple(self._texts[name]))
        exists = any(each == name or each.endswith(f".{name}") for each in self._names)
        return Answer("SUCCESS" if exists else "NXDOMAIN")


@pytest.mark.parametrize(("case", "field", "spf", "dkim", "zone", "wanted"), ROWS, ids=[row[0] for row in ROWS])
async def test_what_dmarc_says(case: str, field: str, spf: str, dkim: str, zone: str, wanted: str) -> None:
    names = Zone(zone)
    identifiers = Identifiers(
        spf="" if spf == "-" or spf.startswith("temperror ") else spf.removeprefix("helo "),
        dkim=() if dkim == "-" or dkim.startswith("temperror ") else tuple(dkim.split()),
        unclear_spf=_unclear(spf),
        unclear_dkim=(_unclear(dkim),),
    )
    found = await evaluate(authors(field.split(" // ") if field else []), identifiers, names.look_up)
    assert f"{found.status} {found.policy} {found.domain or '-'}" == wanted, case
    assert len(names.asked) < MOST_QUESTIONS


def _unclear(told: str) -> str:
    return told.removeprefix("temperror ") if told.startswith("temperror ") else ""


def test_the_table_is_large_enough_and_each_case_has_a_name() -> None:
    assert len(ROWS) >= 80
    assert len({row[0] for row in ROWS}) == len(ROWS)
    special = r"psd|np\b|t=|authors|From field|clear|error|-labels|null sender"
    assert sum([re.search(special, row[0]) is not None for row in ROWS]) >= 20


async def test_a_walk_asks_at_most_eight_names() -> None:
    names = Zone("-")
    domain = ".".join(f"l{number}" for number in range(60))
    await evaluate(authors([f"a@{domain}"]), Identifiers(), names.look_up)
    walked = names.asked[1:]  # the first question is whether the domain itself has a record
    assert len(walked) == 8
    assert walked[0] == f"_dmarc.{domain}"
    assert walked[1:3] == ["_dmarc." + ".".join(domain.split(".")[-7:]), "_dmarc." + ".".join(domain.split(".")[-6:])]


@pytest.mark.parametrize(
    "field",
    ["(" * 100_000, '"' * 100_000, "a@b.test," * 100_000, "<" * 50_000 + "a@b.test" + ">" * 50_000, "@" * 60_000],
)
def test_a_hostile_from_field_is_bounded(field: str) -> None:
    assert len(authors([field]).domains) <= 10
    assert len(authors([field[:60_000]]).domains) <= 10
