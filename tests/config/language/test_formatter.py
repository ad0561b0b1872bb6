"""The canonical layout, and where comments go."""

from textwrap import dedent

import pytest

from config.language.formatter import Unformattable, format_text


def formatted(text: str) -> str:
    return format_text(dedent(text).lstrip("\n"))


def expected(text: str) -> str:
    return dedent(text).lstrip("\n")


def test_one_statement_stands_on_a_line_and_each_level_is_two_blanks_deeper() -> None:
    assert formatted(
        """
        Hostname=a   TLS  =  no
        Binding_Group   g{Binding "b"<duravip="enabled">{
        Gateway="x"}}
        """
    ) == expected(
        """
        Hostname = a
        TLS = no
        Binding_Group g {
          Binding "b" <duravip="enabled"> {
            Gateway = "x"
          }
        }
        """
    )


def test_a_dictionary_without_equals_gets_it_and_commas_of_lists_go() -> None:
    assert format_text("map [ a = b, c [ d = e ] ]\nl = (a, b ,c)\n") == (
        "map = [ a = b c = [ d = e ] ]\nl = ( a b c )\n"
    )


def test_what_does_not_fit_a_line_stands_an_item_a_line() -> None:
    networks = " ".join(f"192.0.2.{number}/32" for number in range(8))
    lines = format_text(f"Relay_Hosts = ( {networks} )\n").splitlines()
    assert lines[0] == "Relay_Hosts = ("
    assert lines[1:-1] == [f"  192.0.2.{number}/32" for number in range(8)]
    assert lines[-1] == ")"


def test_a_bracket_that_was_opened_over_lines_stays_so() -> None:
    assert format_text("l = (\na b )\n") == "l = (\n  a\n  b\n)\n"
    assert format_text("l = ( a\nb )\n") == "l = ( a b )\n"
    assert format_text("l = ( x [\na = b ] )\n") == "l = (\n  x [\n    a = b\n  ]\n)\n"


def test_what_belongs_to_an_address_stays_on_its_line() -> None:
    assert formatted(
        """
        ESMTP_Listener = (
        *:25,200~20   <status="enabled"   file_mode=0660> [ 10.0.0.0/8 = ( XCLIENT
           personality [ idle_time = 5 ] continue ) ]
        127.0.0.1:26 )
        """
    ) == expected(
        """
        ESMTP_Listener = (
          *:25,200~20 <status="enabled" file_mode=0660> [
            10.0.0.0/8 = ( XCLIENT personality [ idle_time = 5 ] continue )
          ]
          127.0.0.1:26
        )
        """
    )


def test_blank_lines_between_statements_are_kept_one_at_most() -> None:
    assert format_text("\n\na = 1\n\n\n\nb = 2\nc = 3\n\n\ns {\n\n  d = 4\n\n}\n\n\n") == (
        "a = 1\n\nb = 2\nc = 3\n\ns {\n  d = 4\n}\n"
    )


def test_every_comment_is_kept_before_or_behind_what_it_was_written_to() -> None:
    assert formatted(
        """
        # the first
        a = 1 # behind
        /* over
             lines */
        s { # behind the brace
              # inside
            b = 2
            # at the end
        } /* behind the end */
        l = ( # behind the bracket
          x # behind an item
          # before an item
          y
          # before the bracket
        )
        c /* between */ = 3
        # the last"""
    ) == expected(
        """
        # the first
        a = 1  # behind
        /* over
             lines */
        s {  # behind the brace
          # inside
          b = 2
          # at the end
        }  /* behind the end */
        l = (  # behind the bracket
          x  # behind an item
          # before an item
          y
          # before the bracket
        )
        /* between */
        c = 3
        # the last
        """
    )


def test_a_comment_behind_several_statements_belongs_to_the_last() -> None:
    assert format_text("a = 1 b = 2 # c\n") == "a = 1\nb = 2  # c\n"


def test_strings_are_kept_to_the_letter() -> None:
    text = 'a = "one\n   two \\" \\d"\nb = \'single\'\n'
    assert format_text(text) == text


def test_an_empty_stanza_stays_on_its_line() -> None:
    assert format_text("s\n{\n}\n") == "s { }\n"


def test_an_empty_text_stays_empty() -> None:
    assert format_text("") == ""
    assert format_text("\n \n") == ""


def test_windows_line_ends_become_plain_ones() -> None:
    assert format_text("a = 1 # x\r\nb = 2\r\n") == "a = 1  # x\nb = 2\n"


def test_a_text_with_mistakes_is_refused_with_its_diagnostics() -> None:
    with pytest.raises(Unformattable) as refused:
        format_text("a =\nb = ( 1\n", "site.conf")
    assert [(str(found.span), found.message) for found in refused.value.diagnostics] == [
        ("site.conf:1:1", "`a` has no value"),
        ("site.conf:2:5", "this list is never closed"),
    ]
