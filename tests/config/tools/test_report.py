"""Diagnostics: printed, as JSON, capped."""

from config.diagnostics import Diagnostic, Note, Severity, Source, Span, in_order, render
from config.findings import MOST_ERRORS, Findings
from config.tools.report import as_records

SOURCE = Source("site.conf", "one\n\ttwo three\n" + "x" * 300 + "\nlast")


def at(start: int, end: int) -> Span:
    return Span(SOURCE, start, end)


def test_each_diagnostic_is_a_record_with_its_place_and_notes() -> None:
    found = Diagnostic("wrong", at(5, 8), "right", Severity.WARNING, (Note("before", at(0, 3)),))
    assert as_records([found, Diagnostic("no place")]) == [
        {
            "severity": "error",
            "code": None,
            "message": "no place",
            "hint": None,
            "file": None,
            "line": None,
            "column": None,
            "end_line": None,
            "end_column": None,
            "notes": [],
        },
        {
            "severity": "warning",
            "code": None,
            "message": "wrong",
            "hint": "right",
            "file": "site.conf",
            "line": 2,
            "column": 2,
            "end_line": 2,
            "end_column": 5,
            "notes": [
                {"message": "before", "file": "site.conf", "line": 1, "column": 1, "end_line": 1, "end_column": 4}
            ],
        },
    ]


def test_a_tab_before_the_place_keeps_the_caret_under_it() -> None:
    assert render([Diagnostic("wrong", at(9, 14))]) == (
        "site.conf:2:6: error: wrong\n    2 |  two three\n      |      ^~~~~\n"
    )


def test_a_long_line_is_cut_around_the_place() -> None:
    lines = render([Diagnostic("wrong", at(215, 217))]).splitlines()
    assert lines[0] == "site.conf:3:201: error: wrong"
    assert lines[1] == "    3 | ..." + "x" * 120
    assert lines[2] == "      | " + " " * 63 + "^~"


def test_what_an_operator_wrote_cannot_command_the_terminal() -> None:
    found = Diagnostic("`\x1b[31m`", at(0, 3), "\x07")
    assert render([found]) == ("site.conf:1:1: error: `\\x1b[31m`\n    1 | one\n      | ^~~\n  hint: \\x07\n")


def test_they_stand_in_the_order_of_their_places_file_by_file() -> None:
    other = Source("other.conf", "text")
    found = [
        Diagnostic("c", Span(other, 0, 1)),
        Diagnostic("b", at(8, 9)),
        Diagnostic("a", at(1, 2)),
        Diagnostic("first"),
    ]
    assert [each.message for each in in_order(found)] == ["first", "c", "a", "b"]


def test_no_more_than_fifty_are_printed_and_the_others_counted() -> None:
    found = [Diagnostic(str(number), at(0, 1)) for number in range(60)]
    text = render(found)
    assert text.count("error:") == 50
    assert text.endswith("... and 10 more\n")


def test_the_same_mistake_at_the_same_place_is_kept_once() -> None:
    findings = Findings()
    findings.add(Diagnostic("wrong", at(0, 1)))
    findings.add(Diagnostic("wrong", at(0, 2)))
    findings.add(Diagnostic("wrong", at(1, 2)))
    assert [str(found.span) for found in findings] == ["site.conf:1:1", "site.conf:1:2"]
    assert findings.errors == 2


def test_errors_are_capped_and_warnings_beside_them_kept() -> None:
    findings = Findings()
    for number in range(MOST_ERRORS + 5):
        findings.add(Diagnostic(str(number)))
    findings.add(Diagnostic("still", severity=Severity.WARNING))
    assert findings.full
    assert findings.errors == MOST_ERRORS
    assert len(list(findings)) == MOST_ERRORS + 1
