"""Whatever a script says, in either dialect: it is compiled or refused, and a run of it fails at worst."""

from __future__ import annotations

import asyncio
import random
import re
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import cast

from config.diagnostics import Source, has_errors, render
from proxy.cli.circumstances import Facts, unconfigured
from proxy.cli.trial import Callback, TrialHost, trial_session
from proxy.dns.resolver import Resolver
from proxy.mail.message import Message
from proxy.mail.stuffing import stuffed, unstuffed
from sieve.compile.compiler import compile_script
from sieve.dialects import DialectName
from sieve.host import ConnectionEnd
from sieve.library import Parameter, Result, SieveFunction
from sieve.phases import Phase
from sieve.rfc5228.extensions import SUPPORTED
from sieve.rfc5228.library import standard_sieve
from sieve.run.cache import ScriptCache
from sieve.run.runtime import Outcome, Script
from sieve.run.values import Type
from sieve.settings import Limits, ScriptSettings
from sieve.standard import standard_library
from sieve.syntax.formatting import format_text
from tests.fuzz.fuzzing import fuzz, joined, mutated, some
from tests.fuzz.mails import message
from tests.sieve.plain_host import PlainHost, PlainMessage
from tests.spec.sieve.cases import read_cases

CASES = read_cases()
SHIPPED = tuple(each.read_text("utf-8") for each in (Path(__file__).parents[2] / "etc" / "scripts").glob("*.siv"))
SCRIPTS: dict[DialectName, tuple[str, ...]] = {
    "sieve++": (*(each.parts["script"] for each in CASES if each.session.get("dialect") != "rfc5228"), *SHIPPED),
    "rfc5228": tuple(each.parts["script"] for each in CASES if each.session.get("dialect") == "rfc5228"),
}
_VARIABLE = re.compile(r"\$\w+(?:\[[^\]]*\])?")
MODULES = frozenset({"smtp_cbv"})
LIMITS = Limits(steps=2000, seconds=5.0, string=1 << 14, list=500, regex_seconds=0.2)
FUNCTIONS: dict[DialectName, tuple[SieveFunction, ...]] = {
    "sieve++": tuple(standard_library()), "rfc5228": tuple(standard_sieve()),
}  # fmt: skip
PIECES = (
    *("{", "}", "(", ")", "[", "]", ",", ";", '"', "text:\n", "\n.\n", "/*", "*/", "#", "\n", "\\", "$", "$x"),
    *("${x}", "%{i}"),
    *(":is", ":contains", ":matches", ":regex", ":count", ":value", ":domain", ":all", ":comparator"),
    '"i;ascii-casemap"',
    *("if ", "elsif ", "else ", "not ", "anyof", "allof", "true", "stop;", "keep;", "discard;", "require ", "0"),
    *("9" * 30, "1K"),
    *("%{rfc2822:body,3b}", "%{spfv1:%{p}}", "\0", "\ud800", "é", "\r\n", "\\${x}", "\u2028", "-1", "1.5", "$h"),
    *("[0]", "=", "."),
)  # fmt: skip
WORDS = (
    *("a", "from", "to", "subject", "user@example.com", "*", "?", "^(a+)+$", "(a)\\\\1", "(", "i;octet"),
    *("i;ascii-numeric", ""),
    *("192.0.2.3", "2001:db8::1", "10.0.0.0/8", "SUCCESS", "A", "MX", "utf-8", "x" * 300, "é", "\udcff", "\x1b"),
    *("a,b,c", "550"),
    *("%{i}", "%{rfc2822:headers}", "%{rfc2822:text,1,2}", "${x}", "${y}", "${h}", "%{vctx_mess:evil}", "/nowhere"),
    *("%s", "%d%%"),
    *("gt", "5", "-7", "1.5", "1e400", "NaN", "99999999999999999999", "0x10", " 3 ", "filename", "year"),
    *("2026-01-01", "rot13"),
)  # fmt: skip
FITTING: dict[Type, tuple[str, ...]] = {
    Type.WHOLE: ("0", "1", "5K", "9223372036854775807", '"-1"', "$n"),
    Type.NUMBER: ("0", "1.5", '"-7.25"', "9223372036854775807", "$n", "$x"),
    Type.REPLY_CODE: ("250", "421", "550", "599", "$n"),
    Type.NAMESERVER: ('"192.0.2.1"', '"[2001:db8::1]:53"', "$x"),
    Type.PATTERN: ('"^(a+)+$"', '"(a)\\\\1"', '"(?i)(.)(b)?"', '"\\\\bx"', '""', "$x", "$n"),
    Type.HASH: ("$h", "$x", "$y[0]"),
    Type.PLACE: ("$h", "$x", "$y[9]", "$h[k]", "$unset", "$y[-1]"),
    Type.LIST: ("$y", "$x", "$h", '["a", "${x}"]', '["subject", "from"]', '"from"'),
}
"""Arguments that a script may have where a type is wanted; variables hold whatever a run brings."""
MATCHES = (
    *("", "", ":is ", ":contains ", ":matches ", ":regex ", ':count "gt" ', ':value "le" ', ':value "eq" '),
    *(':comparator "i;ascii-numeric" ', ':comparator "i;ascii-casemap" :matches '),
)


# ---------------------------------------------------------------- scripts


def quoted(text: str) -> str:
    return '"' + text.replace("\\", "\\\\").replace('"', '\\"') + '"'


def string(chance: random.Random) -> str:
    return quoted(joined(chance, WORDS, 2) if chance.random() < 0.3 else chance.choice(WORDS))


def strings(chance: random.Random) -> str:
    return "[" + ", ".join(string(chance) for _ in range(1 + len(some(chance, 4)))) + "]"


def argument(chance: random.Random, parameter: Parameter) -> str:
    """Return an argument that fits, but for a few."""
    if chance.random() < 0.03:
        return chance.choice((string(chance), strings(chance), "1", "$h", "$y"))
    if parameter.choices and chance.random() < 0.9:
        return quoted(chance.choice(parameter.choices))
    fitting = FITTING.get(parameter.type, ())
    return (
        chance.choice(fitting) if fitting else chance.choice((string(chance), string(chance), "$x", "$y", "$h", "$n"))
    )


def call(chance: random.Random, function: SieveFunction) -> str:
    """Return a call of a function; a value that stands as a test has a key behind it."""
    words = [function.name]
    chosen = (
        {chance.choice(function.one_of)}
        if function.one_of
        else {each for each in function.tags if chance.random() < 0.3}
    )
    for name in sorted(chosen):
        tag = function.tags[name]
        words += [f":{name}", *([] if tag.type is Type.FLAG else [argument(chance, tag)])]
    if function.address_part and chance.random() < 0.5:
        words.append(chance.choice((":domain", ":detail", ":user", ":localpart", ":all")))
    words += [argument(chance, each) for each in function.parameters if each.required or chance.random() < 0.5]
    return " ".join(words)


def condition(chance: random.Random, functions: Sequence[SieveFunction]) -> str:
    if chance.random() < 0.2:
        inner = ", ".join(condition(chance, functions) for _ in range(1 + len(some(chance, 2))))
        return f"{chance.choice(('anyof', 'allof', 'not anyof'))}({inner})"
    function = chance.choice([each for each in functions if each.result is not Result.NOTHING])
    if function.result is Result.TEST:
        return call(chance, function)
    name, _, rest = call(chance, function).partition(" ")
    return f"{name} {chance.choice(MATCHES)}{rest} {chance.choice((string(chance), strings(chance), '$x', '$y'))}"


def statement(chance: random.Random, functions: Sequence[SieveFunction], *, plusplus: bool, depth: int = 0) -> str:
    if chance.random() < 0.3 and depth < 4:
        inner = " ".join(statement(chance, functions, plusplus=plusplus, depth=depth + 1) for _ in some(chance, 3))
        return f"if {condition(chance, functions)} {{ {inner} }}" + chance.choice(("", f" else {{ {inner} }}"))
    if plusplus and chance.random() < 0.5:
        value = call(chance, chance.choice([each for each in functions if each.result is Result.VALUE]))
        target = chance.choice(("$x", "$y", "$n", "$h", "($x, $y)", "($x)"))
        if not target.startswith("("):
            value = chance.choice((value, string(chance), strings(chance), "$y[1]"))
        return f"{target} = {value};"
    return call(chance, chance.choice([each for each in functions if each.result is Result.NOTHING])) + ";"


def beginning(chance: random.Random, dialect: DialectName) -> str:
    if dialect == "sieve++":
        return f"$x = {string(chance)}; $y = {strings(chance)}; $n = {string(chance)}; $h = hash_create;\n"
    known = sorted(SUPPORTED)
    return f'require [{", ".join(map(quoted, known))}];\nset "x" {string(chance)};\n'


def script(chance: random.Random, dialect: DialectName, phase: Phase) -> str:
    if chance.random() < 0.6:
        functions = [each for each in FUNCTIONS[dialect] if phase.value in each.phases and each.name != "require"]
        plusplus = dialect == "sieve++"
        lines = [statement(chance, functions, plusplus=plusplus) for _ in range(1 + len(some(chance, 8)))]
        text = beginning(chance, dialect) + "\n".join(lines)
        return text if plusplus else _VARIABLE.sub('"${x}"', text)
    text = joined(chance, SCRIPTS[dialect], 3) or chance.choice(SCRIPTS[dialect])
    return mutated(chance, text, (*PIECES, *WORDS)) if chance.random() < 0.8 else text


# ---------------------------------------------------------------- what must hold


OURS = re.compile(
    r"error: (?:.*?: )?(?:Type|Value|Key|Index|Attribute|Assertion|Unicode\w*|Recursion|Overflow|ZeroDivision|Memory|"
    r"Arithmetic|Lookup|Name|UnboundLocal|Runtime|NotImplemented|Stop\w*|System|Buffer)(?:Error|Iteration): "
)
"""A run-time error that is no word to an operator but an exception of our own code."""


async def _included(uri: str, _arguments: tuple[str, ...]) -> str:
    if "nowhere" in uri:
        raise FileNotFoundError(2, "No such file or directory")
    return random.Random(uri.encode("utf-8", "surrogatepass")).choice(SCRIPTS["sieve++"])  # noqa: S311 - reproducible


def host(chance: random.Random) -> PlainHost:
    wire = message(chance)
    made = PlainHost(
        sender=chance.choice(("a@sender.example", "", '"a b"@ü.test', "x" * 300)),
        recipients=chance.choice((("r@example.com",), ("a@b.test", "c@d.test"), ())),
        message=PlainMessage(wire.decode("utf-8", "surrogateescape").replace("\r\n", "\n"), wire),
        vctx_mess={"evil": chance.choice(WORDS)},
        verdict=chance.choice(("pass", "fail", "transient", "error")),
        zone={"user@example.com A": "192.0.2.1 192.0.2.2", "a MX": "mx.test"},
        options={"a": "b,c"},
    )
    made.connection.client = ConnectionEnd(chance.choice(("192.0.2.3", "2001:db8::1", "::ffff:192.0.2.3")), 40025)
    return made


def judge_script(chance: random.Random) -> None:
    dialect: DialectName = chance.choice(("sieve++", "sieve++", "rfc5228"))
    phase = chance.choice((Phase.DATA, *Phase))
    text = script(chance, dialect, phase)
    settings = ScriptSettings(runtime_error=chance.choice(("fail", "continue", "continue")), limits=LIMITS)
    read = ScriptCache(_included)
    found = compile_script(
        Source("case.siv", text), phase=phase, modules=MODULES, settings=settings, includes=read, dialect=dialect
    )
    assert (found.script is None) == has_errors(found.diagnostics)
    render(found.diagnostics)
    if found.script is None:
        return
    world = host(chance)
    outcome = asyncio.run(found.script.run(world))
    assert 200 <= outcome.code <= 599
    assert not outcome.failed or outcome.code == 451
    wrong = [line for line in world.done if OURS.match(line)]
    assert not wrong, (wrong, text)
    shown = [line for line in (*world.done, *outcome.text.split("\n")) if not line.startswith(("dns: ", "error: "))]
    assert not any("\n" in line or "\r" in line for line in shown)


class _NoNames:
    """A resolver that knows no name."""

    async def lookup(self, _name: str, _record: str, _server: str | None) -> tuple[str, list[str]]:
        return "NXDOMAIN", []

    async def name_of(self, _address: str) -> str | None:
        return None

    async def close(self) -> None:
        pass


async def in_a_session(compiled: Script, phase: Phase, chance: random.Random) -> tuple[Outcome, list[str]]:
    """Run a script over a session of the server with a message; return what came of it, and what was said."""
    wire = unstuffed(stuffed(message(chance)))
    subject = trial_session(
        Facts("192.0.2.1", chance.choice(("a@b.test", "", "ü@ö.test")), ["c@d.test", "e@f.test"]),
        unconfigured(frozenset()),
        wire,
    )
    world = TrialHost(subject, phase, chance.choice((Callback.PASS, Callback.FAIL)), around=unconfigured(frozenset()))
    await world._services.resolver.close()
    world._services = replace(world._services, resolver=cast(Resolver, _NoNames()))
    try:
        outcome = await compiled.run(world)
        edited = subject.transaction.message
        assert edited is not None
        assert Message(edited.head_bytes()).fields() == edited.fields()
        assert len(await edited.raw()) >= edited.size
        for letter in world.letters:
            assert letter.content.endswith(b"\r\n")
            assert letter.content.count(b"\r\n") == letter.content.count(b"\r") == letter.content.count(b"\n")
    finally:
        await world.close()
    return outcome, world.lines


def judge_session(chance: random.Random) -> None:
    phase = chance.choice((Phase.DATA, *Phase))
    settings = ScriptSettings(runtime_error="continue", limits=LIMITS)
    found = compile_script(
        Source("case.siv", script(chance, "sieve++", phase)), phase=phase, modules=MODULES, settings=settings
    )
    if found.script is not None:
        outcome, lines = asyncio.run(in_a_session(found.script, phase, chance))
        assert 200 <= outcome.code <= 599
        assert not [line for line in lines if OURS.search(line)], lines


def judge_format(chance: random.Random) -> None:
    dialect: DialectName = chance.choice(("sieve++", "rfc5228"))
    text = script(chance, dialect, Phase.DATA)
    if chance.random() < 0.5:
        text = mutated(
            chance, text, (" ", "\n", "\n\n\n", "\r\n", " # c\n", " /* c */ ", "/* c\n d */", "\t", ";", ",")
        )
    once, _ = format_text(Source("case.siv", text))
    if once is not None:
        assert format_text(Source("case.siv", once))[0] == once
        assert outline(once, dialect) == outline(text, dialect)


def outline(text: str, dialect: DialectName) -> tuple[list[str], frozenset[str]]:
    """Return what a script comes to: its diagnostics without their places, and the functions that it calls."""
    found = compile_script(Source("case.siv", text), modules=MODULES, dialect=dialect)
    calls = frozenset[str]() if found.script is None else found.script.calls
    return sorted(each.message for each in found.diagnostics), calls


def test_any_script_compiles_or_is_refused_and_its_run_fails_at_worst() -> None:
    fuzz(judge_script, cases=250, share=0.4)


def test_any_script_that_runs_in_a_session_leaves_a_message_that_can_be_read() -> None:
    fuzz(judge_session, cases=100, share=0.3)


def test_any_script_that_is_formatted_says_the_same_and_is_not_changed_by_formatting_it_again() -> None:
    fuzz(judge_format, cases=250, share=0.3)
