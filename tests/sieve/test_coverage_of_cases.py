"""Every function runs in a readable case of its own."""

from __future__ import annotations

import pytest

from config.diagnostics import Source
from sieve.rfc5228.library import standard_sieve
from sieve.standard import standard_library
from sieve.syntax.lexer import ScriptLexer, TokenKind
from tests.spec.sieve.cases import read_cases

CASES = read_cases()
WORDS = {
    dialect: {
        token.value
        for case in CASES
        if "outcome" in case.parts and case.session.get("dialect", "sieve++") == dialect
        for part, text in case.parts.items()
        if part.startswith(("script", "file"))
        for token in ScriptLexer(Source(part, text)).run().tokens
        if token.kind is TokenKind.WORD
    }
    for dialect in ("sieve++", "rfc5228")
}


def test_there_are_more_than_250_cases() -> None:
    assert len(CASES) > 250


def test_no_two_cases_have_the_same_title() -> None:
    titles = [str(case) for case in CASES]
    assert len(titles) == len(set(titles))


@pytest.mark.parametrize("name", sorted(function.name for function in standard_library()))
def test_a_function_runs_in_a_case(name: str) -> None:
    assert name in WORDS["sieve++"]


@pytest.mark.parametrize("name", sorted(function.name for function in standard_sieve()))
def test_a_command_of_standard_sieve_runs_in_a_case(name: str) -> None:
    assert name in WORDS["rfc5228"]


def test_a_function_that_names_a_datasource_says_by_which_of_its_parameters() -> None:
    named = {function.name: function.datasource for function in standard_library() if function.datasource}
    assert named.keys() == {"ds_fetch", "ds_fetch_flat", "ds_fetch_hash", "ds_execute", "define_cidr"}
    for function in standard_library():
        assert function.datasource in {"", *(each.name for each in function.parameters)}
