"""Regular expressions mean the same whichever engine runs them: one corpus, both engines, the same matches."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sieve.run.backtracking import SlowPattern, any_pattern, rewritten, slow_pattern
from sieve.run.patterns import Pattern, PatternRefusedError, decoded, encoded, glob_pattern, linear_pattern
from sieve.settings import Limits

PATTERNS = [
    "a",
    "^a",
    "a$",
    "^a$",
    "a.c",
    "a*b",
    "a+?b",
    "(a)(b)?",
    "[a-c]+",
    "[^a-c]+",
    r"[\]a]+",
    "[]a]+",
    "[^]a]+",
    r"\d+",
    r"\D",
    r"\w+",
    r"\W",
    r"\s",
    r"\S+",
    r"\bfoo\b",
    r"\Bo",
    r"[\d.]+",
    r"[\w@]+",
    "[[:alpha:]]+",
    "[[:digit:][:space:]]+",
    "[^[:alnum:]]",
    "a{2}",
    "a{2,}",
    "a{,2}b",
    "a{1,2}",
    "(?i)foo",
    "foo(?i)bar",
    "(?i:foo)BAR",
    "(?s)a.c",
    "(?m)^b$",
    "(?:ab)+",
    "(?P<name>b)",
    "x|y|",
    "(x|y)*",
    r"\x41",
    r"\x{263a}",
    r"\.",
    r"\Q.*\E",
    r"\Qa.b\E+",
    "[a&&b]",
    "[a||b]+",
    "[a~~b]",
    "[[a]",
    r"\z",
    "a$b",
    "[$]",
    "(?i)é",
    "é",
    "[é-ü]",
    "\udcff",
    ".",
    "^.$",
    "(?i)ss",
    "(?i)\u017f",
    "",
    "(?i)[a-z]+",
    r"\pL+",
    r"\p{Greek}",
    r"[\x80-\xff]",
    r"\t",
    r"[\t ]+",
    "a\\\\b",
    "^$",
    "(^a|b$)",
]
TEXTS = [
    "",
    "a",
    "b",
    "ab",
    "aab",
    "aaab",
    "abc",
    "a\nc",
    "a\n",
    "b\na",
    "x\nb\ny",
    "foo",
    "FOO",
    "foobar",
    "fooBAR",
    "FooBar",
    "food",
    "a foo b",
    "12.5",
    "user@host",
    "A",
    "AB\tc",
    "é",
    "É",
    "ü",
    "ß",
    "ss",
    "SS",
    "\u017f",
    "\u212a",
    "k",
    ".*",
    "a.b",
    "a.bb",
    "[a",
    "a]",
    "$",
    "a$b",
    "\u263a",
    "αβγ",
    "\udcff",
    "a\udcff\udc80",
    "\udce9",
    "\u0660\u0661",
    "a\\b",
    "a&&b",
    "~",
    "-",
    "a\x00b",
    "\u00a0",
    "\u2028",
    "x" * 300,
    "the quick brown fox",
]


def both(pattern: str, *, ignore_case: bool = False) -> tuple[Pattern, SlowPattern]:
    return (
        linear_pattern(pattern, ignore_case=ignore_case),
        slow_pattern(pattern, 5.0, "a test", ignore_case=ignore_case),
    )


@pytest.mark.parametrize("ignore_case", [False, True])
@pytest.mark.parametrize("pattern", PATTERNS)
async def test_both_engines_find_the_same(pattern: str, ignore_case: bool) -> None:  # noqa: FBT001
    linear, slow = both(pattern, ignore_case=ignore_case)
    found = [(text, linear.groups(text)) for text in TEXTS]
    assert [(text, await slow.groups(text)) for text in TEXTS] == found


@settings(max_examples=60, deadline=None)
@given(
    pattern=st.text(alphabet="ab.*+?|()[]^$\\dw{1,}é", max_size=8),
    text=st.text(alphabet="ab1 é\n\udcff.", max_size=12),
)
async def test_both_engines_agree_on_any_pattern_that_both_take(pattern: str, text: str) -> None:
    try:
        linear, slow = both(pattern)
    except PatternRefusedError:
        return
    assert (await slow.groups(text) is None) == (linear.groups(text) is None)


@pytest.mark.parametrize(
    ("pattern", "text", "groups"),
    [
        (r"foo(?=bar)", "foobar", ("foo",)),
        (r"(?<!a)b", "cb", ("b",)),
        (r"(\w)\1", "hello", ("ll", "l")),
        (r"(?>a+)b", "aab", ("aab",)),
        (r"a++b", "aab", ("aab",)),
        (r"a\Z", "a\n", ("a",)),
        (r"(?=x)\x{78}", "x", ("x",)),
        (r"(?=\d)\d+", "٣4", ("4",)),
    ],
)
async def test_what_re2_refuses_runs_in_the_other_engine(pattern: str, text: str, groups: tuple[str, ...]) -> None:
    found = any_pattern(pattern, Limits())
    assert isinstance(found, SlowPattern)
    assert await found.groups(text) == groups


def test_a_pattern_longer_than_the_limit_is_refused() -> None:
    with pytest.raises(PatternRefusedError, match=r"^longer than 10 characters$"):
        any_pattern("a" * 11, Limits(pattern=10))


def test_a_pattern_that_no_engine_takes_is_refused_in_the_words_of_re2() -> None:
    with pytest.raises(PatternRefusedError, match=r"^missing \]: \[a$"):
        any_pattern("[a", Limits())


def test_rewriting_keeps_what_stands_in_a_class() -> None:
    assert rewritten(r"[$\d.]\d$") == r"(?-f)[$0-9.][0-9]\Z"


@given(raw=st.binary(max_size=50))
def test_bytes_that_are_no_text_survive_the_way_through_re2(raw: bytes) -> None:
    text = raw.decode("utf-8", "surrogateescape")
    assert decoded(encoded(text)) == text


def test_a_byte_that_is_no_text_is_one_character() -> None:
    assert glob_pattern("a??").found("a\udcff\udc80")
    assert not glob_pattern("a?").found("a\udcff\udc80")


def test_a_glob_keeps_what_its_wildcards_matched() -> None:
    assert glob_pattern("*@*.com").groups("a@b.c.com") == ("a@b.c.com", "a", "b.c")
