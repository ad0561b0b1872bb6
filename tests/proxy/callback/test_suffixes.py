"""The registered domain is what the library says of its own list, whatever the name."""

from __future__ import annotations

import pytest
import tldextract

from proxy.callback.limits.suffixes import _rules, organisational


@pytest.fixture(scope="module")
def library() -> tldextract.TLDExtract:
    return tldextract.TLDExtract(cache_dir=None, suffix_list_urls=())


def test_every_rule_means_what_it_means_to_the_library(library: tldextract.TLDExtract) -> None:
    assert len(_rules()) > 5000
    for rule in _rules():
        suffix = rule.replace("*", "c").replace("!", "")
        for name in (f"a.b.{suffix}", f"b.{suffix}", suffix):
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
