"""Outbound scopes beside the fallback cases of the specification."""

import re

import pytest

from config.scopes.places import ScopeStep, Setting, searcher
from config.scopes.scopes import Scopes
from tests.config.sample_schema import Core


def domain(name: str) -> tuple[ScopeStep, ...]:
    return (ScopeStep("domain", name),)


def test_without_any_scope_the_global_value_is_in_force() -> None:
    scopes = Scopes(Core(), {}, {})
    assert scopes.eval("Remote_SMTP_Port", domain="example.com") == Setting(25)
    assert scopes.get("remote_smtp_port") is None
    assert scopes.places == ()


def test_an_alias_asks_for_the_option_it_stands_for() -> None:
    scopes = Scopes(Core(max_message_size=5), {}, {})
    assert scopes.eval("message_size").value == 5


def test_an_unknown_option_is_a_key_error() -> None:
    scopes = Scopes(Core(), {}, {})
    with pytest.raises(KeyError):
        scopes.eval("gatewai")
    with pytest.raises(KeyError):
        scopes.get("gatewai")


def test_a_name_between_slashes_is_an_expression_that_is_searched_anywhere_in_any_case() -> None:
    search = searcher("/mail[0-9]/")
    assert search is not None
    assert search("x.MAIL5.example")
    assert not search("mail.example")


def test_a_plain_name_is_no_expression() -> None:
    assert searcher("example.com") is None
    assert searcher("/") is None


def test_an_expression_that_re2_cannot_take_is_left_to_the_backtracking_engine() -> None:
    search = searcher("/^(?!mail)/")
    assert search is not None
    assert search("example.com")
    assert not search("mail.example.com")


def test_an_expression_that_would_backtrack_for_ever_does_not() -> None:
    search = searcher("/^(a+)+$/")
    assert search is not None
    assert not search("a" * 200 + ".example")


def test_an_expression_that_no_engine_takes_is_an_error() -> None:
    with pytest.raises(re.error):
        searcher("/(/")


def test_a_scope_is_printed_as_the_console_names_it() -> None:
    assert str(ScopeStep("domain", "a.example")) == 'domain "a.example"'
    assert str(ScopeStep("esmtp_listener", "")) == "esmtp_listener"


def test_domains_are_asked_in_any_case_and_with_a_final_dot() -> None:
    scopes = Scopes(Core(), {}, {domain("a.example"): {"tls": Setting("required")}})
    assert scopes.eval("tls", domain="A.Example.").value == "required"
    assert scopes.get("tls", domain("A.EXAMPLE")) == Setting("required")
