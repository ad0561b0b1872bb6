"""A script as the server uses it: what it needs, what it changes, when it waits, how it is cancelled and bounded."""

from __future__ import annotations

import asyncio
import re
from importlib import resources
from pathlib import Path

import pytest

from config.diagnostics import Source, render
from sieve.compile.compiler import Compiled, compile_script
from sieve.compile.tracing import Seen
from sieve.host import CallbackAnswer
from sieve.phases import Effect, Need, Phase
from sieve.reference import explain, markdown
from sieve.run.cache import ScriptCache
from sieve.run.runtime import Outcome, Script
from sieve.run.values import ScriptError
from sieve.settings import Limits, ScriptSettings
from sieve.standard import standard_library
from sieve.syntax.formatting import format_text
from tests.sieve.plain_host import PlainHost, PlainMessage

LIBRARY = standard_library()


def compiled(text: str, phase: Phase = Phase.DATA, **options: object) -> Compiled:
    return compile_script(
        Source("test.siv", text),
        phase=phase,
        library=LIBRARY,
        modules=frozenset({"smtp_cbv"}),
        **options,  # type: ignore[arg-type]
    )


def script(text: str, phase: Phase = Phase.DATA, **options: object) -> Script:
    found = compiled(text, phase, **options)
    assert found.script is not None, render(found.diagnostics)
    return found.script


@pytest.mark.parametrize(
    "server",
    [
        pytest.param("ns.example", id="name"),
        pytest.param("192.0.2.256", id="number_above_255"),
        pytest.param("192.0.2.1:0", id="port_0"),
        pytest.param("192.0.2.1:99999", id="port_99999"),
        pytest.param("192.0.2.1:domain", id="port_by_name"),
        pytest.param("[192.0.2.1", id="open_bracket"),
        pytest.param("192.0.2.01", id="leading_zero"),
        pytest.param("", id="empty"),
    ],
)
def test_a_name_server_that_is_no_ip_address_is_found_at_load(server: str) -> None:
    (found,) = compiled(f'$x = ec_dns_lookup "a.example" "a" "{server}"; ec_log "${{x}}";').diagnostics
    assert found.message == (
        f"ec_dns_lookup: server: {server!r} is not an IP address; write 192.0.2.1, 192.0.2.1:53 or [2001:db8::1]:53"
    )


@pytest.mark.parametrize(
    ("text", "needs"),
    [
        ('ec_log "x";', Need.NOTHING),
        ('if envelope "from" "x" { keep; }', Need.NOTHING),
        ('if header "subject" "x" { keep; }', Need.HEADERS),
        ('if address "from" "x" { keep; }', Need.HEADERS),
        ('ec_header_add "X" "y";', Need.HEADERS),
        ("if size :over 10 { keep; }", Need.BODY),
        ('if body :contains "x" { keep; }', Need.BODY),
        ('if header "subject" "x" { if body "x" "y" { keep; } }', Need.HEADERS | Need.BODY),
        ('ec_log "%{rfc2822:body}";', Need.BODY),
        ('ec_log "%{rfc822:date}";', Need.NOTHING),
        ('ec_include "/x.siv";', Need.HEADERS | Need.BODY),
    ],
)
def test_a_script_says_what_content_it_needs(text: str, needs: Need) -> None:
    assert compiled(text.replace('"x" "y"', '"y"')).script is not None
    assert script(text.replace('"x" "y"', '"y"')).needs == needs


def test_a_script_that_includes_needs_no_content_where_there_is_none() -> None:
    assert script('ec_include "/x.siv";', Phase.MAILFROM).needs == Need.NOTHING


@pytest.mark.parametrize(
    ("text", "effects"),
    [
        ('ec_log "x";', {Effect.NONE}),
        ('ec_header_add "X" "y";', {Effect.MESSAGE}),
        ('redirect "a@b.example";', {Effect.RECIPIENT}),
        ('ec_include "/x.siv";', {Effect.NONE, Effect.MESSAGE, Effect.RECIPIENT}),
    ],
)
def test_a_script_says_what_it_changes(text: str, effects: set[Effect]) -> None:
    assert script(text).effects == effects


@pytest.mark.parametrize(
    ("text", "waits"),
    [
        ('$x = envelope "from"; if ec_test "${x}" "a" { ec_action 550 "no"; }', False),
        ('if header :regex "subject" "^a" { keep; }', False),
        ('ec_log "%{i} %{p}";', True),
        ("if true { if false { ec_tarpit 1; } }", True),
        ('if not anyof (false, ec_test "%{p}" "x") { keep; }', True),
        ('$x = ["%{p}"];', True),
        ('$l = ["a"]; $x = $l["%{p}"];', True),
        ('$p = "a"; if ec_test :regex "a" $p { keep; }', True),
    ],
)
def test_a_script_waits_only_where_something_in_it_does(text: str, waits: bool) -> None:  # noqa: FBT001
    assert script(text).is_async is waits


def test_a_script_says_what_it_calls() -> None:
    text = 'if header "subject" "x" { ec_action 550 "no"; } $x = ec_tolower "A"; ec_log "${x}";'
    assert script(text).calls == {"header", "ec_action", "ec_tolower", "ec_log"}


async def test_the_outcome_of_a_script_that_does_nothing_is_250_and_no_text() -> None:
    assert await script("").run(PlainHost()) == Outcome(
        code=250, text="", close=False, discard=False, ended=False, failed=False, variables={}, actions=()
    )


async def test_the_outcome_names_the_actions_and_variables() -> None:
    found = await script('$x = "1"; ec_log "${x}"; ec_disconnect; ec_action 421 "bye";').run(PlainHost())
    assert (found.actions, dict(found.variables)) == (("ec_log", "ec_disconnect", "ec_action"), {"x": "1"})


@pytest.mark.parametrize(
    ("text", "done"),
    [("ec_log 1;", "log: 1"), ("ec_log 1.5;", "log: 1.5"), ('ec_header_add "X-A" 2;', "add header: X-A: 2")],
    ids=["log", "fraction", "header"],
)
async def test_a_number_where_text_is_wanted_is_its_digits(text: str, done: str) -> None:
    script = compiled(text).script
    assert script is not None
    host = PlainHost(message=PlainMessage("Subject: x\n\n"))
    assert not (await script.run(host)).failed
    assert host.done == [done]


class Held(PlainHost):
    """A host whose callback never ends."""

    def __init__(self) -> None:
        super().__init__()
        self.waits = asyncio.Event()

    async def callback(self, address: str, sender: str | None) -> CallbackAnswer:
        self.waits.set()
        await asyncio.Event().wait()
        return CallbackAnswer("pass", f"{address} {sender}")


ASKING = 'ec_error_mode "continue";\nif true {\n($rv) = smtp_callback_verify "a@b.example"; }\nec_log "${rv}";'


async def test_cancelling_a_session_cancels_its_script() -> None:
    host = Held()
    async with asyncio.TaskGroup() as group:
        task = group.create_task(script(ASKING, Phase.MAILFROM).run(host))
        await host.waits.wait()
        task.cancel()
    assert task.cancelled()
    assert host.done == []


async def test_a_script_that_runs_past_its_deadline_fails_with_the_line_it_was_at() -> None:
    host = Held()
    limits = ScriptSettings(limits=Limits(seconds=0.01))
    outcome = await script(ASKING, Phase.MAILFROM, settings=limits).run(host)
    assert (outcome.failed, outcome.code, outcome.text) == (True, 451, "")
    assert host.done == ["error: test.siv:3: the script ran longer than 0.01 s"]


async def test_a_timeout_inside_a_function_is_the_functions_error_and_not_the_scripts_deadline() -> None:
    class Slow(PlainHost):
        async def tarpit(self, seconds: float) -> None:
            raise TimeoutError(seconds)

    host = Slow()
    await script("ec_tarpit 5;").run(host)
    assert host.done[-1] == "error: test.siv:1: TimeoutError: 5"


async def test_a_script_that_does_not_wait_is_bounded_by_the_clock_too() -> None:
    host = PlainHost()
    limits = ScriptSettings(limits=Limits(seconds=-1))
    outcome = await script('ec_log "a";\nec_log "b";', settings=limits).run(host)
    assert outcome.failed
    assert host.done == ["error: test.siv:1: the script ran longer than -1 s"]


async def test_one_script_serves_many_sessions_at_once() -> None:
    shared = script('$x = envelope "from"; ec_tarpit 1; ec_action 550 "${x}";', Phase.MAILFROM)
    hosts = [PlainHost(sender=f"{number}@a.example") for number in range(20)]
    outcomes = await asyncio.gather(*(shared.run(host) for host in hosts))
    assert [outcome.text for outcome in outcomes] == [host.sender for host in hosts]


async def test_a_traced_script_tells_each_statement_call_test_and_value() -> None:
    seen: list[tuple[object, ...]] = []
    traced = script('$x = ec_tolower "A";\nif ec_test "${x}" "a" {\nec_action 550 "no";\n}', traced=True)
    await traced.run(
        PlainHost(), lambda event: seen.append((event.seen, event.place.line, event.text, event.arguments, event.value))
    )
    assert seen == [
        (Seen.STATEMENT, 1, '$x = ec_tolower "A"', (), None),
        (Seen.CALL, 1, "ec_tolower", ("A",), "a"),
        (Seen.SET, 1, "x", (), "a"),
        (Seen.STATEMENT, 2, 'if ec_test "${x}" "a" {', (), None),
        (Seen.CALL, 2, "ec_test", ("a",), "a"),
        (Seen.TEST, 2, 'ec_test "${x}" "a"', (), True),
        (Seen.STATEMENT, 3, 'ec_action 550 "no"', (), None),
        (Seen.CALL, 3, "ec_action", (550, "no"), None),
    ]


# ---------------------------------------------------------------- the cache of included scripts


async def test_an_included_script_is_read_once_while_it_lives() -> None:
    read: list[str] = []
    now = [0.0]

    async def source(uri: str, _arguments: tuple[str, ...]) -> str:
        read.append(uri)
        return 'ec_log "in";'

    cache = ScriptCache(source, life=60, clock=lambda: now[0])
    including = script('ec_include "/a.siv";', includes=cache)
    for _ in range(3):
        await including.run(PlainHost())
    assert read == ["/a.siv"]
    now[0] = 61.0
    await including.run(PlainHost())
    assert read == ["/a.siv"] * 2


async def test_the_arguments_of_an_include_reach_the_storage() -> None:
    asked: list[tuple[str, tuple[str, ...]]] = []

    async def source(uri: str, arguments: tuple[str, ...]) -> str:
        asked.append((uri, arguments))
        return "stop;"

    await script('ec_include ":db:select" ["1", "2"];', includes=ScriptCache(source)).run(PlainHost())
    assert asked == [(":db:select", ("1", "2"))]


async def test_scripts_are_read_from_files(tmp_path: Path) -> None:
    (tmp_path / "a.siv").write_text('ec_log "from a file";', encoding="utf-8")
    host = PlainHost()
    await script(f'ec_include "{tmp_path}/a.siv";', includes=ScriptCache()).run(host)
    assert host.done == ["log: from a file"]


async def test_another_storage_than_files_is_refused() -> None:
    host = PlainHost()
    await script('ec_include ":datasource:x:select";', includes=ScriptCache()).run(host)
    assert host.done == ["error: test.siv:1: scripts can only be included from files, not from ':datasource:x:select'"]


async def test_without_a_cache_nothing_is_included() -> None:
    host = PlainHost()
    await script('ec_include "/a.siv";').run(host)
    assert host.done == ["error: test.siv:1: no scripts can be included here"]


def test_a_reason_is_kept() -> None:
    assert ScriptError("because").reason == "because"


# ---------------------------------------------------------------- tools


def test_a_script_is_laid_out_with_its_comments_kept() -> None:
    text = """# head
if   anyof(true,false)   {  ec_log "x" ;   # trailing
keep;} elsif not true{ /* multi
 line */ stop;}else{stop;}



$x=["a" ,"b",
"c"]; $y = $x [0];
ec_action 550 text:
hello
.
"c"; ec_action 550 text:
x
.
;
($a,$b)=envelope :domain "from";
# last"""
    assert format_text(Source("f.siv", text)) == (
        """# head
if anyof (true, false) {
  ec_log "x";  # trailing
  keep;
} elsif not true {  /* multi
 line */
  stop;
} else {
  stop;
}

$x = ["a", "b",
    "c"];
$y = $x[0];
ec_action 550 text:
hello
.
    "c";
ec_action 550 text:
x
.
;
($a, $b) = envelope :domain "from";
# last
""",
        (),
    )


def test_a_script_with_mistakes_of_form_is_not_laid_out() -> None:
    text, diagnostics = format_text(Source("f.siv", "keep"))
    assert text is None
    assert [each.message for each in diagnostics] == ["expected ; after keep"]


def test_explain_gives_the_manual_entry() -> None:
    assert (
        explain("SMTP_Callback_Verify", LIBRARY)
        == """smtp_callback_verify { email-address } [ sender-address ]

Ask the mail exchanger of an address whether it accepts mail for the address.

Returns `[status, message]`. The status is `pass`, `fail`, `transient` or `error`; the message is the exchanger's
full reply. A sender address replaces the configured probe sender. For an empty or malformed address the status is
`error`, so that bounces, whose sender is empty, stay deliverable.

Is        a value, also usable as a test
Legal in  mailfrom, rcptto
Module    smtp_cbv
"""
    )


def test_explain_knows_what_the_manual_has_and_ringback_has_not() -> None:
    assert explain("ec_url_ripper", LIBRARY) == (
        "ec_url_ripper\n\nA Momentum function that Ringback does not have yet.\n\nLegal in  data\n"
    )


def test_explain_knows_nothing_of_other_names() -> None:
    assert explain("frobnicate", LIBRARY) is None


def test_the_reference_has_an_entry_for_every_function() -> None:
    text = markdown(LIBRARY)
    assert [f"## {function.name}\n" in text for function in LIBRARY] == [True] * len(LIBRARY.functions)
    assert "- `ec_url_ripper` (data)" in text


def test_every_function_is_documented() -> None:
    assert [function.name for function in LIBRARY if not function.documentation] == []


GUIDE = resources.files("sieve").joinpath("pages/language.md").read_text(encoding="utf-8")


@pytest.mark.parametrize("example", re.findall(r"^```sieve\n(.*?)^```", GUIDE, re.MULTILINE | re.DOTALL))
def test_an_example_of_the_guide_compiles_without_a_word(example: str) -> None:
    phase = Phase.MAILFROM if "smtp_callback_verify" in example else Phase.DATA
    found = compiled(example, phase)
    assert [each.message for each in found.diagnostics] == []
    assert found.script is not None


async def test_a_text_compiles_as_standard_sieve() -> None:
    found = compile_script('if header :contains "subject" "MONEY" { discard; }', dialect="rfc5228")
    assert found.script is not None
    outcome = await found.script.run(PlainHost(message=PlainMessage("Subject: money\n\n")))
    assert outcome.discard


async def test_a_hold_longer_than_the_deadline_leaves_time_for_what_follows() -> None:
    host = PlainHost()
    limits = ScriptSettings(limits=Limits(seconds=60))
    outcome = await script('ec_tarpit 120; ec_action 451 "later";', settings=limits).run(host)
    held = float(host.done[1].removeprefix("tarpit: ").removesuffix(" s"))
    assert 0 < held <= 59
    assert (outcome.code, outcome.failed) == (451, False)


async def test_a_host_that_fails_when_a_standard_script_ends_fails_the_script() -> None:
    class Stubborn(PlainHost):
        def redirect(self, address: str) -> None:
            raise RuntimeError(address)

    found = compile_script(
        'keep;\nif true { discard; }\nredirect "a@b.example"; if not true { keep; }', dialect="rfc5228"
    )
    assert found.script is not None
    host = Stubborn()
    assert not (await found.script.run(host)).failed
    found = compile_script('redirect "a@b.example";', dialect="rfc5228")
    assert found.script is not None
    assert (await found.script.run(host)).failed
    assert host.done[-1] == "error: script:1: RuntimeError: a@b.example"
