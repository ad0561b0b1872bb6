"""The registered domain is what the library says of its own list, whatever the name."""

from __future__ import annotations

import random

import pytest
import tldextract

from proxy.callback.limits.suffixes import _rules, organisational


@pytest.fixture(scope="module")
def library() -> tldextract.TLDExtract:
    return tldextract.TLDExtract(cache_dir=None, suffix_list_urls=())


def test_every_rule_means_what_it_means_to_the_library(library: tldextract.TLDExtract) -> None:
    chance = random.Random(1)
    rules = sorted(_rules())
    assert len(rules) > 5000
    for rule in [*chance.sample(rules, 1500), *[each for each in rules if each[0] in "*!"]]:
        for name in (f"a.b.{rule}", f"b.{rule}", rule):
            name = name.replace("*", "c").replace("!", "")
            for written in (name, name.encode("idna").decode()):
                found = library(written)
                if found.suffix:
                    assert organisational(written) == (found.top_domain_under_public_suffix or written), written


@pytest.mark.parametrize(
    ("domain", "registered"),
    [
        ("mail.example.co.uk", "example.co.uk"),
        ("example.co.uk", "example.co.uk"),
        ("co.uk", "co.uk"),
        ("a.b.test", "b.test"),
        ("test", "test"),
        ("user.github.io", "github.io"),
        ("a.b.c.ck", "b.c.ck"),
        ("a.www.ck", "www.ck"),
        ("a.xn--55qx5d.cn", "a.xn--55qx5d.cn"),
        ("b.a.xn--55qx5d.cn", "a.xn--55qx5d.cn"),
        ("a.xn--999999999999999.test", "xn--999999999999999.test"),
        ("[192.0.2.1]", "[192.0.2.1]"),
        ("[ipv6:2001:db8::1]", "[ipv6:2001:db8::1]"),
        ("192.0.2.1", "2.1"),
        ("a..com", ".com"),
        ("", ""),
    ],
)
def test_a_name_has_a_registered_domain(domain: str, registered: str) -> None:
    assert organisational(domain) == registered
