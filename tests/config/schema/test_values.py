"""The types that options are declared with."""

import pytest

from config.schema.values import DomainPatterns, Endpoint


@pytest.mark.parametrize(
    ("pattern", "domain", "matches"),
    [
        ("example.com", "example.com", True),
        ("Example.COM", "eXample.com", True),
        ("example.com", "example.com.", True),
        ("example.com.", "example.com", True),
        ("example.com", "mail.example.com", False),
        ("example.com", "notexample.com", False),
        ("*.example.com", "mail.example.com", True),
        ("*.example.com", "a.b.example.com", True),
        ("*.example.com", "example.com", False),
        ("*.example.com", "notexample.com", False),
        ("*.example.com", ".example.com", False),
        ("*example.com", "notexample.com", True),
        ("*example.com", "example.com", True),
        ("*example.com", "example.com.test", False),
        ("*", "anything.test", True),
        ("*.com", "example.com", True),
        ("*.com", "com", False),
    ],
)
def test_a_pattern_matches_the_domains_it_names(pattern: str, domain: str, matches: bool) -> None:  # noqa: FBT001  # a table
    assert DomainPatterns([pattern]).matches(domain) is matches


def test_patterns_match_when_any_of_them_does() -> None:
    patterns = DomainPatterns(["example.com", "*.example.net", "*example.org"])
    assert all(patterns.matches(domain) for domain in ("example.com", "a.example.net", "anexample.org"))
    assert not patterns.matches("example.net")
    assert len(patterns) == 3
    assert list(patterns) == ["example.com", "*.example.net", "*example.org"]


def test_no_patterns_match_nothing_and_are_false() -> None:
    assert not DomainPatterns()
    assert not DomainPatterns().matches("example.com")


def test_patterns_are_equal_when_written_alike() -> None:
    assert DomainPatterns(["a"]) == DomainPatterns(["a"])
    assert DomainPatterns(["a"]) != DomainPatterns(["b"])
    assert hash(DomainPatterns(["a"])) == hash(DomainPatterns(["a"]))
    assert repr(DomainPatterns(["a"])) == "DomainPatterns(['a'])"


def test_an_endpoint_is_printed_as_it_is_written() -> None:
    assert str(Endpoint("mx.example.com", 25)) == "mx.example.com:25"
    assert str(Endpoint("::1", 53)) == "[::1]:53"
    assert str(Endpoint("192.0.2.1")) == "192.0.2.1"
