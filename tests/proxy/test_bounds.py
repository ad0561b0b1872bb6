"""docs/authentication.md names the bounds of hostile mail as the code has them."""

from __future__ import annotations

from pathlib import Path

import pytest
import spf

from proxy.arc import chain
from proxy.dkim import canonical, keys, tags, verifying
from proxy.dmarc import author, record, walk
from proxy.dns import answers, resolver, stub
from proxy.mail import authentication_results
from proxy.modules.dnsbl import subjects
from proxy.modules.dnsbl.options import DnsblOptions
from proxy.modules.spf_v1 import evaluation
from sieve.message import urls

PAGE = Path(__file__).parents[2] / "docs/authentication.md"
KIBI, MEBI = 1 << 10, 1 << 20

BOUNDS = {
    "thousands of signatures": f"{verifying.MOST_SIGNATURES} are",
    "long signatures and key records": f"{tags.LONGEST_LIST // KIBI} KiB",
    "RSA keys of 16,384 bits": f"above {keys.MOST_BITS} bits",
    "exponents of 2⁶⁴": {1 << 32: "above 2³²"}[keys.MOST_EXPONENT],
    "large signed messages": f"parts of {canonical.PIECE // KIBI} KiB",
    "SPF records that include each other": f"{spf.MAX_LOOKUP} terms that cause look-ups, {spf.MAX_MX} names of each, "
    f"{spf.MAX_VOID_LOOKUPS} look-ups",
    "long SPF terms": f"{evaluation.LONGEST_TERM} characters",
    "thousands of authors": f"{author.MOST_DOMAINS} domains, {walk.MOST_QUERIES} look-ups",
    "long DMARC records": f"{record.MOST_OCTETS} characters",
    "ARC chains": f"{chain.MOST_SETS} sets, {chain.MOST_OCTETS // KIBI} KiB",
    "`Authentication-Results` with": f"{authentication_results._LONGEST_PREFIX:,} characters",
    "100,000 links": f"{urls.MOST_LINKS:,} links in the first {subjects.MOST_OCTETS // MEBI} MiB, and `max_lookups` "
    f"({DnsblOptions().max_lookups})",
    "address fields of 1 MiB": f"the first {subjects.MOST_ADDRESS_CHARACTERS // KIBI} KiB",
    "names with thousands of records": f"{answers.MOST_RECORDS} records",
    "chains and loops of aliases": f"{stub.MOST_ALIASES} aliases",
    "name servers that are silent": f"{resolver.QUERY_SECONDS:.0f} s for one look-up",
}


@pytest.mark.parametrize(("weapon", "bound"), BOUNDS.items())
def test_the_page_states_the_bound(weapon: str, bound: str) -> None:
    (row,) = [line for line in PAGE.read_text().splitlines() if line.startswith(f"| {weapon}")]
    assert bound in row


def test_the_page_has_no_other_rows() -> None:
    section = PAGE.read_text().partition("## What hostile mail may cost")[2].partition("\n## ")[0]
    assert section.count("\n| ") == len(BOUNDS) + 1
