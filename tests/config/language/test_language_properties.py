"""What holds for every text and every tree: hypothesis looks for the ones for which it does not."""

from collections import Counter
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from config import naming
from config.diagnostics import Source, Span, render
from config.findings import MOST_ERRORS, Findings
from config.language import lexer
from config.language.formatter import Unformattable, comments_of, format_text, format_tree
from config.language.lexer import MOST_TOKENS, ConfigLexer
from config.language.nodes import Attributes, Dictionary, Entry, Include, List, Option, Stanza, String, Tree, Word
from config.language.parser import parse
from config.loader import load
from tests.config.sample_schema import SCHEMA

NOWHERE = Source("nowhere", "")
HERE = Span(NOWHERE, 0, 0)

words = st.text("abcXYZ019_.:*-/@+%~", min_size=1, max_size=12).filter(
    lambda text: "/*" not in text and not text.startswith("//") and text.lower() not in ("include", "readonly_include")
)
raw_strings = st.text(st.characters(codec="utf-8", exclude_characters='"\\', exclude_categories=["Cs"]), max_size=20)
strings = st.one_of(
    raw_strings.filter(lambda raw: "\n" not in raw and "\r" not in raw).map(lambda raw: String(raw, '"', HERE)),
    st.sampled_from([String('say \\"hi\\"', '"', HERE), String("\\d\\.", '"', HERE), String('in "it"', "'", HERE)]),
)
scalars = st.one_of(words.map(lambda text: Word(text, HERE)), strings)
attributes = st.lists(st.tuples(scalars, scalars), min_size=1, max_size=3).map(
    lambda pairs: Attributes(tuple(Entry(key, value, HERE) for key, value in pairs), HERE)
)
values = st.recursive(
    scalars,
    lambda inner: st.one_of(
        st.lists(st.one_of(inner, attributes), max_size=6).map(lambda items: List(tuple(items), HERE)),
        st.lists(st.tuples(scalars, inner), max_size=4).map(
            lambda pairs: Dictionary(tuple(Entry(key, value, HERE) for key, value in pairs), HERE)
        ),
    ),
    max_leaves=20,
)
options = st.tuples(words, values).map(lambda pair: Option(Word(pair[0], HERE), pair[1], HERE))
includes = st.tuples(scalars, st.booleans()).map(lambda pair: Include(pair[0], pair[1], HERE))
heads = st.tuples(words.map(lambda text: Word(text, HERE)), st.lists(scalars, max_size=3)).map(
    lambda parts: (parts[0], *parts[1])
)
statements = st.recursive(
    st.one_of(options, includes),
    lambda inner: st.tuples(heads, st.none() | attributes, st.lists(inner, max_size=4)).map(
        lambda parts: Stanza(parts[0], parts[1], tuple(parts[2]), HERE, HERE)
    ),
    max_leaves=12,
)
trees = st.lists(statements, max_size=5).map(lambda body: Tree(tuple(body), NOWHERE))

PIECES = (
    *"{}()[]<>=;,\"'",
    *("\n", "  ", "\t", "\r\n", "# note\n", "/* note */", "/*", '"text"', '"over\nlines"', "name", "value"),
    *("a = b\n", "x [ k = v ]\n", "y = ( 1 2 )\n", "s {\n", "}\n", "include z\n", "//", "\0", "“", "[::1]:25"),
)
fragments = st.lists(st.sampled_from(PIECES), max_size=40).map("".join)

lines = st.lists(
    st.sampled_from(
        (
            *(
                "a = b\n",
                "x [ k = v ]\n",
                "y = ( 1 2 ) ",
                "s {\n",
                "}\n",
                "t {\n}\n",
                "u { v = 1 } # tail\n",
                "include z\n",
            ),
            *("# note\n", "/* note */", " /* two\nlines */ ", "\n", "\n\n", 'q = "a\nb"\n'),
            *("l = (\n 1 # c\n 2 )\n", "l = ( *:25 <a=b> [ k = ( x /* c */ y ) ] # e\n )\n"),
        )
    ),
    max_size=30,
).map(lambda pieces: "".join(pieces) + "}\n" * ("".join(pieces).count("{") - "".join(pieces).count("}")))


@settings(deadline=None)  # a busy machine is no failure
@given(trees)
def test_a_tree_that_is_written_and_parsed_is_the_same_tree(tree: Tree) -> None:
    findings = Findings()
    assert parse(Source("written", format_tree(tree)), findings) == tree
    assert list(findings) == []


@settings(deadline=None)  # a busy machine is no failure
@given(trees)
def test_what_is_formatted_is_not_changed_by_formatting_it_again(tree: Tree) -> None:
    text = format_tree(tree)
    assert format_text(text) == text


@settings(max_examples=300, deadline=None)
@given(fragments | lines)
def test_formatting_any_text_without_mistakes_keeps_its_meaning_and_every_comment(text: str) -> None:
    try:
        formatted = format_text(text)
    except Unformattable:
        return
    before, after = Source("before", text), Source("after", formatted)
    assert parse(after, Findings()) == parse(before, Findings())
    assert Counter(each.text for each in comments_of(after)) == Counter(each.text for each in comments_of(before))
    assert format_text(formatted) == formatted


@settings(max_examples=300, deadline=None)
@given(fragments)
def test_any_text_gives_a_tree_and_diagnostics_that_can_be_printed(text: str) -> None:
    findings = Findings()
    parse(Source("any", text), findings)
    render(list(findings))
    assert findings.errors <= MOST_ERRORS


@settings(max_examples=200, deadline=None)
@given(st.binary(max_size=200))
def test_any_bytes_give_diagnostics_and_no_exception(tmp_path_factory: pytest.TempPathFactory, content: bytes) -> None:
    path = tmp_path_factory.getbasetemp() / "any.conf"
    path.write_bytes(content)
    loaded = load(path, SCHEMA)
    render(loaded.diagnostics)
    assert (loaded.settings is None) == any(found.is_error for found in loaded.diagnostics)


HOSTILE = {
    "opening_brackets": "[",
    "lists_in_lists": "a = (",
    "stanzas_in_stanzas": "a {",
    "closing_braces": "}",
    "empty_dictionaries": "[]",
    "quotes": '"\n',
    "escaped_quotes": '"\\"\n',
    "unclosed_lists": "x = (\n",
    "unclosed_dictionaries": "x = [\n",
    "comments_that_open_only": "/*",
    "zeros": "\0",
    "zeros_behind_comments": "\0#\n",
    "typographic_quotes": "“",
    "signs": "=",
    "attributes": "<",
    "addresses": "[:",
    "statements": "a=b\n",
    "words": "a ",
    "one_word": "a",
    "commas": ",",
}


@pytest.mark.parametrize("piece", HOSTILE.values(), ids=HOSTILE)
def test_a_hostile_mebibyte_gives_an_error_and_is_read_no_further_than_its_cap(
    piece: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    scanned = 0
    scan = ConfigLexer._scan

    def counted(self: ConfigLexer) -> object:
        nonlocal scanned
        scanned += 1
        return scan(self)

    monkeypatch.setattr(ConfigLexer, "_scan", counted)
    path = tmp_path / "hostile.conf"
    path.write_text(piece * (1_048_576 // len(piece)), encoding="utf-8")
    loaded = load(path, SCHEMA)
    assert loaded.settings is None
    assert sum(found.is_error for found in loaded.diagnostics) <= MOST_ERRORS
    assert scanned <= 2 * MOST_TOKENS + 100


def test_a_text_of_too_many_words_is_read_up_to_the_cap(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lexer, "MOST_TOKENS", 5)
    findings = Findings()
    tree = parse(Source("long", "a = b\nc = d\ne = f\n"), findings)
    assert len(tree.statements) == 1
    assert render(list(findings)) == (
        "long:2:5: error: this file has more than 5 words and signs; the rest is not read\n"
        "    2 | c = d\n"
        "      |     ^\n"
    )


def test_after_the_last_error_that_is_kept_nothing_more_is_looked_up(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    looked_up = 0

    def counted(*_: object) -> None:
        nonlocal looked_up
        looked_up += 1

    monkeypatch.setattr(naming, "closest", counted)
    path = tmp_path / "main.conf"
    path.write_text("unheard_of = 1\n" * 1000, encoding="utf-8")
    assert len(load(path, SCHEMA).diagnostics) == MOST_ERRORS
    assert looked_up == MOST_ERRORS


def test_a_bracket_that_is_left_open_costs_no_second_reading_at_each_level(monkeypatch: pytest.MonkeyPatch) -> None:
    scanned = 0
    scan = ConfigLexer._scan

    def counted(self: ConfigLexer) -> object:
        nonlocal scanned
        scanned += 1
        return scan(self)

    monkeypatch.setattr(ConfigLexer, "_scan", counted)
    text = "a = [ k = v\n" * 30 + "c = d\n" * 3000
    findings = Findings()
    parse(Source("deep", text), findings)
    assert findings.errors > 0
    assert scanned < 3 * len(text.split())
