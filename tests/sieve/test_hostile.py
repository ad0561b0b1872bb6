"""No script, no message and no header makes anything but diagnostics or a run-time error."""

from __future__ import annotations

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from config.diagnostics import Source, render
from sieve.compile.compiler import compile_script
from sieve.message import mime
from sieve.message.addresses import mailboxes
from sieve.message.disclaimer import with_text
from sieve.message.encoded_words import decoded_words, encoded_words
from sieve.phases import Phase
from sieve.run.cache import ScriptCache
from sieve.settings import Limits, ScriptSettings
from sieve.standard import standard_library
from sieve.syntax.formatting import format_text
from sieve.syntax.lexer import LARGEST_NUMBER
from tests.sieve.plain_host import PlainHost, PlainMessage
from tests.spec.sieve.cases import read_cases

LIBRARY = standard_library()
PIECES = [
    *(case.parts["script"] for case in read_cases()),
    *("{", "}", "(", ")", "[", "]", ",", ";", '"', "text:\n", "\n.\n", "/*", "*/", "#", "$x", "$", ":", ":is", "\\"),
    *(
        "if",
        "elsif",
        "else",
        "not",
        "anyof",
        "allof",
        "${x}",
        "%{i}",
        "%{",
        "-",
        "1.5",
        "9" * 400,
        "\x00",
        "\ud800",
        "é",
    ),
]
scripts = st.one_of(
    st.text(max_size=200),
    st.lists(st.sampled_from(PIECES), max_size=12).map(" ".join),
    st.lists(st.sampled_from([piece for piece in PIECES if len(piece) < 10]), max_size=40).map("".join),
)


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(text=scripts, dialect=st.sampled_from(["sieve++", "rfc5228"]))
@example(text="if " + "not " * 5000 + "true {}", dialect="sieve++")
@example(text="if anyof(" * 5000, dialect="sieve++")
@example(text="if true {" * 5000, dialect="rfc5228")
@example(text="$x" + "[0" * 5000, dialect="sieve++")
@example(text='"' * 5001, dialect="sieve++")
@example(text="$x = $y" + "[0]" * 3000 + ";", dialect="sieve++")
def test_any_text_compiles_or_is_refused_with_diagnostics(text: str, dialect: str) -> None:
    found = compile_script(
        Source("fuzz.siv", text),
        phase=Phase.DATA,
        library=LIBRARY,
        dialect=dialect,  # type: ignore[arg-type]
    )
    assert (found.script is None) == any(each.is_error for each in found.diagnostics)
    assert isinstance(render(found.diagnostics), str)


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(text=st.lists(st.sampled_from([case.parts["script"] for case in read_cases()]), max_size=3).map("\n".join))
def test_formatting_what_is_formatted_changes_nothing(text: str) -> None:
    once, _ = format_text(Source("f.siv", text))
    if once is not None:
        assert format_text(Source("f.siv", once)) == (once, ())


@settings(max_examples=60, deadline=None)
@given(
    raw=st.one_of(
        st.binary(max_size=400),
        st.lists(
            st.sampled_from(
                [
                    b"Content-Type: multipart/mixed; boundary=b\r\n",
                    b"\r\n",
                    b"--b\r\n",
                    b"--b--\r\n",
                    b"--b",
                    b"Content-Type: text/plain",
                    b'; charset="',
                    b"Content-Transfer-Encoding: base64\r\n",
                    b"\xff\xfe",
                    b"=\r\n=ZZ",
                    b"filename*0*=%",
                    b"Content-Disposition: attachment; filename=",
                    b"Content-Type: message/rfc822\r\n",
                    b"Content-Type: multipart/digest; boundary=b; boundary=c (d\r\n",
                    b"Content-Transfer-Encoding: x-base64 (c)\r\n",
                    b"=?utf-8?b?",
                    b"--c\r\n",
                    b"--bc\r\n",
                ]
            ),
            max_size=20,
        ).map(b"".join),
    )
)
def test_any_message_has_a_structure(raw: bytes) -> None:
    found = mime.structure(raw)
    assert found.parts[0].start == 0
    for part in found.every_part():
        assert 0 <= part.start <= part.body <= part.end <= len(part.source)
        assert all(isinstance(text, str) for text in (found.text(part), *found.texts(part)))
        assert all(isinstance(name, str) and name for name in part.file_names)
    assert isinstance(with_text(found, "a", "b").body, bytes)


@settings(max_examples=100, deadline=None)
@given(text=st.text(max_size=200))
@example(text="(" * 5000)
@example(text="<" * 5000)
@example(text='"' + "\\" * 5001)
def test_any_text_has_mailboxes(text: str) -> None:
    assert all(isinstance(address, str) for _, address in mailboxes(text))


@settings(max_examples=100, deadline=None)
@given(text=st.text(alphabet=st.characters(codec="utf-8"), max_size=100))
def test_encoded_words_give_back_what_was_encoded(text: str) -> None:
    words = encoded_words(text)
    assert all(len(word) <= 75 for word in words.split(" "))
    assert decoded_words(words) == text


async def outcome_of(script: str, message: str, *, limits: Limits | None = None) -> tuple[bool, list[str]]:
    """Run a script on a message; return whether it failed, as one that passes its budget does, and what it did."""
    compiled = compile_script(
        Source("hostile.siv", script),
        phase=Phase.DATA,
        library=LIBRARY,
        settings=ScriptSettings(limits=limits or Limits()),
        includes=ScriptCache(),
    )
    assert compiled.script is not None, render(compiled.diagnostics)
    host = PlainHost(message=PlainMessage(message))
    outcome = await compiled.script.run(host)
    return outcome.failed, host.done


async def test_a_thousand_multiparts_inside_each_other_are_read() -> None:
    heads = "".join(f"Content-Type: multipart/mixed; boundary=b{number}\n\n--b{number}\n" for number in range(1000))
    script = 'if body :contains "needle" { ec_log "found"; }\nif not ec_valid_mime { ec_log "not valid"; }'
    assert await outcome_of(script, heads + "\nneedle\n") == (False, ["log: not valid"])


async def test_a_header_field_of_ten_mebibytes_is_matched() -> None:
    script = 'if header :regex "subject" "a+b$" { ec_log "wrong"; }\nif header :matches "subject" "*b*" { ec_log "x"; }'
    assert await outcome_of(script, "Subject: " + "a" * (10 << 20) + "\n\n") == (False, [])


async def test_addresses_in_a_field_of_ten_mebibytes_are_bounded() -> None:
    failed, done = await outcome_of(
        'if address :count "gt" "to" "1000" { ec_log "many"; }', "To: " + "a@b.example, " * (10 << 16) + "\n\n"
    )
    assert (failed, done) == (False, ["log: many"])


@pytest.mark.parametrize("pattern", ["(a+)+$", "(a|a)*b", "(a|aa)+$", "^(([a-z])+.)+[A-Z]([a-z])+$"])
async def test_a_pattern_made_to_hang_is_linear(pattern: str) -> None:
    script = f'if header :regex "subject" "{pattern}" {{ ec_log "matched"; }}'
    failed, _ = await outcome_of(script, "Subject: " + "a" * 50_000 + "!\n\n")
    assert not failed


async def test_a_pattern_made_to_hang_in_the_slow_engine_is_a_run_time_error() -> None:
    script = 'if header :regex "subject" "(a+)+\\\\1b" { ec_log "matched"; }'
    failed, done = await outcome_of(script, "Subject: " + "a" * 5_000 + "!\n\n", limits=Limits(regex_seconds=0.05))
    assert (failed, done) == (True, ["error: hostile.siv:1: a regular expression ran longer than 0.05 s"])


async def test_a_string_cannot_grow_beyond_its_bound() -> None:
    doubling = '$x = "0123456789";\n' + '$x = "${x}${x}";\n' * 40
    assert await outcome_of(doubling, "A: b\n\n", limits=Limits(string=1 << 16)) == (
        True,
        ["error: hostile.siv:14: a string is longer than 65536 characters"],
    )


async def test_a_list_cannot_grow_beyond_its_bound() -> None:
    script = '$x = split "," "a,b,c,d";\nec_log "${x}";'
    assert await outcome_of(script, "A: b\n\n", limits=Limits(list=3)) == (
        True,
        ["error: hostile.siv:1: a list has more than 3 elements"],
    )


async def test_steps_are_bounded() -> None:
    assert await outcome_of('ec_log "a";\n' * 5, "A: b\n\n", limits=Limits(steps=4)) == (
        True,
        ["error: hostile.siv:1: the script ran more than 4 statements"],
    )


async def test_a_spent_budget_ends_the_script_even_in_the_mode_continue() -> None:
    script = 'ec_error_mode "continue";\nif true { ec_log "a"; ec_log "b"; ec_log "c"; }\nec_log "after";'
    assert await outcome_of(script, "A: b\n\n", limits=Limits(steps=4)) == (
        True,
        ["error: hostile.siv:2: the script ran more than 4 statements"],
    )


def test_a_script_longer_than_the_limit_is_refused_unread() -> None:
    found = compile_script("keep;" * 220_000)
    assert [each.message for each in found.diagnostics] == ["the script is longer than 1048576 characters"]


@pytest.mark.parametrize("text", ["; ", "stop true;\n", "stop\n", "if true; { }\n"])
def test_reading_ends_after_a_hundred_mistakes(text: str) -> None:
    found = [each.message for each in compile_script(text * 300).diagnostics]
    assert found.index("too many errors; the rest was not read") <= 101
    assert len(found) <= 105


def test_the_largest_number_is_that_of_64_bits() -> None:
    assert LARGEST_NUMBER == 9_223_372_036_854_775_807


EVERY_READ = """
$a = ec_header_get "subject"; $b = address :domain "from"; $c = envelope "to";
$d = "%{rfc2822:headers}%{rfc2822:body,3}%{rfc2822:text}%{rfc2822:part,2}%{rfc2822:text,1,2}";
$e = ec_get_message_size; $f = ec_rfc2047_encode_addresses "${a}"; $g = ec_rfc2047_encode_header "${a}";
$h = ec_base64_decode "${a}"; $i = qp_encode "${a}"; $j = split "," "${a}"; $k = reverse $j; $l = ec_tolower "${a}";
($m) = ec_pcre_match "${a}" "(.)\\\\s"; $n = $j[0]; $o = $j[-1]; $p = hash_create; hash_set $p "${a}" $j; hash_dump $p;
if anyof (header :matches "subject" "*a*", header :regex "subject" "^\\\\W+$", header :count "gt" "to" "0",
          header :value "gt" :comparator "i;ascii-numeric" "subject" "5", address :contains :detail "from" "x",
          body :contains "a", body :raw :binary :offset 2 :contains "00", body :content "text/html" :matches "*<*",
          ec_mime_parts :contains "filename" "exe", ec_valid_mime, size :over 5, exists ["a", "b"],
          is_valid_ip $a, is_rfc821_ip "${a}") { ec_log "${b}${c}${d}${e}${f}${g}${h}${i}${k}${l}${m}${n}${o}"; }
ec_header_add "X-A" "${a}"; ec_header_prefix "Subject" "${a}"; ec_inc_counter "x"; disclaimer_add $p;
ec_disconnect; ec_action 550 "${a} %{rfc2822:body}";
"""


@settings(max_examples=120, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(
    subject=st.text(alphabet=st.characters(exclude_categories=["Cs"]), max_size=80),
    sender=st.text(max_size=60),
    rest=st.binary(max_size=200),
)
@example(subject="=?utf-8?b?////?= =?x-none?q?=ZZ?= \r\nBcc: x", sender='<<(("', rest=b"\xff\x00--\r\n")
async def test_no_message_makes_a_script_do_more_than_fail(subject: str, sender: str, rest: bytes) -> None:
    compiled = compile_script(Source("every.siv", EVERY_READ), phase=Phase.DATA, library=LIBRARY)
    assert compiled.script is not None, render(compiled.diagnostics)
    wire = f"From: {sender}\r\nSubject: {subject}\r\n".encode("utf-8", "replace") + rest
    host = PlainHost(message=PlainMessage(f"From: {sender}\nSubject: {subject}\n\nx", wire))
    outcome = await compiled.script.run(host)
    assert (outcome.code, outcome.failed) == (550, False)
    assert outcome.text.isprintable() or not set(outcome.text) & set("\r\n\x00")


broken = st.text(alphabet="ab\r\n\x00\x0b\x0c\x1c\x85\u2028\u2029: ", min_size=1, max_size=20)


@settings(max_examples=100, deadline=None)
@given(value=broken)
@example(value="x\r\n250 ok")
async def test_no_value_brings_a_line_break_into_a_reply_a_header_or_a_log_line(value: str) -> None:
    text = """$v = vctx_mess_get "evil"; ec_log "${v}"; ec_log $v; ec_header_add "X-A" "${v}"; ec_header_add "X-B" $v;
ec_log "%{vctx_mess:evil}"; hash_dump $h; ec_trace_context; ec_inc_counter $v;
ec_error_mode "continue"; $n = ec_add $v 1;
ec_rewrite_mailfrom $v; ec_action 550 "%{evil} ${v}" "${n}${v}";"""
    compiled = compile_script(
        Source("evil.siv", '$h = hash_create; hash_set $h "%{evil}" "%{evil}";' + text),
        phase=Phase.DATA,
        library=LIBRARY,
    )
    assert compiled.script is not None, render(compiled.diagnostics)
    host = PlainHost(message=PlainMessage("Subject: x\n\n"), vctx_mess={"evil": value})
    outcome = await compiled.script.run(host)
    assert not outcome.failed
    for line in [*host.done, outcome.text]:
        assert len(line.splitlines()) <= 1, line
