"""What `check` says of included scripts: it reads them, and warns of what a run would refuse."""

from __future__ import annotations

from collections.abc import Mapping
from itertools import pairwise

import pytest

from config.diagnostics import Source
from sieve.compile.compiler import compile_script
from sieve.compile.inclusions import failing_inclusions
from sieve.dialects import DialectName

NEEDS = 'require "include";\n'


def warned(files: Mapping[str, str], dialect: DialectName = "rfc5228") -> list[str]:
    """Return what is said of the first of these scripts."""

    def read(uri: str) -> str:
        if uri not in files:
            raise FileNotFoundError(2, "No such file or directory")
        return files[uri]

    name, text = next(iter(files.items()))
    script = compile_script(Source(name, text), dialect=dialect).script
    assert script is not None
    found = list(failing_inclusions(script, read))
    assert not any(each.is_error for each in found)
    return [f"{each.span}: {each.message.removeprefix('this include fails: ')}" for each in found]


def test_a_script_may_include_others_in_its_folder() -> None:
    assert warned({"d/a.sieve": NEEDS + 'include "b"; include "b";', "d/b.sieve": "discard;"}) == []


def test_a_missing_script_is_said_unless_it_is_optional() -> None:
    """ "MUST generate an error at execution time if an included script does not exist, except …" (RFC 6609, 3.1)."""
    files = {"a.sieve": NEEDS + 'include "b"; include :optional "c"; include :global "d";'}
    assert warned(files) == [
        "a.sieve:2:9: cannot read b.sieve: No such file or directory",
        "a.sieve:2:53: cannot read d.sieve: No such file or directory",
    ]


def test_an_error_in_an_included_script_is_said_with_its_place() -> None:
    files = {"a.sieve": NEEDS + 'include "b";', "b.sieve": NEEDS + 'include "c";', "c.sieve": "\nfrob;"}
    assert warned(files) == ["b.sieve:2:9: c.sieve:2:1: unknown function frob"]


@pytest.mark.parametrize("through", [(), ("b",), ("b", "c")])
def test_a_script_that_includes_itself_is_said(through: tuple[str, ...]) -> None:
    """ "Both direct recursion … and indirect recursion … are prohibited" (RFC 6609, 3.1)."""
    chain = ["a", *through, "a"]
    files = {f"{this}.sieve": f'{NEEDS}include "{following}";' for this, following in pairwise(chain)}
    assert warned(files) == [f"{chain[-2]}.sieve:2:9: a.sieve includes itself"]


def test_once_prevents_the_second_run_of_a_script_so_it_is_no_recursion() -> None:
    assert warned({"a.sieve": NEEDS + 'include "b";', "b.sieve": NEEDS + 'include :once "a";'}) == []


def test_scripts_that_are_nested_too_deeply_are_said_and_no_more_are_read() -> None:
    files = {f"s{at}.sieve": NEEDS + f'include "s{at + 1}";' for at in range(60)}
    assert warned(files) == ["s10.sieve:2:9: scripts are nested more than 10 deep"]


def test_sieve_plus_plus_includes_files_by_their_path() -> None:
    files = {
        "a.siv": 'ec_include "/etc/b.siv"; ec_include ":ds:query"; ec_include "/etc/c.siv";',
        "/etc/b.siv": "nope;",
    }
    assert warned(files, "sieve++") == [
        "a.siv:1:12: /etc/b.siv:1:1: unknown function nope",
        "a.siv:1:37: scripts can only be included from files, not from ':ds:query'",
        "a.siv:1:61: cannot read /etc/c.siv: No such file or directory",
    ]
