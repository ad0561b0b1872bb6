"""Whatever a configuration file holds: settings or diagnostics come of it, and formatting keeps what it means."""

from __future__ import annotations

import contextlib
import json
import random
from collections.abc import Sequence
from ipaddress import ip_address
from pathlib import Path

import pytest

from config.diagnostics import render
from config.language.formatter import Unformattable, format_text
from config.loader import Loaded, load
from config.schema.declared import declared
from config.schema.specs import Schema
from config.tools.changes import changes
from config.tools.converter import convert
from config.tools.questions import Unanswerable, evaluate, look_up
from config.tools.show import describe, show, show_json
from config.tools.writing import written
from proxy import app
from tests.config.sample_schema import SCHEMA
from tests.fuzz.fuzzing import cut, fuzz, joined, mutated, octets, some

_HERE = Path(__file__).parents[1]
FILES = (*sorted((_HERE / "spec" / "config").glob("*.conf")), *sorted((_HERE.parent / "etc").rglob("*.conf")))
SEEDS = tuple(each.read_bytes().decode("utf-8", "surrogateescape") for each in FILES)
MODELS = (SCHEMA.core, app.SCHEMA.core, *(module.options for module in app.SCHEMA.modules))
NAMES = tuple(name for model in MODELS for name in declared(model))
DEFAULTS = {
    name: written(one.default, one.reader) for model in MODELS for name, one in declared(model).items() if one.default
}
VALUES = (
    *("0", "-1", "1", "25", "99999999999999999999", "1.5", "1h", "10K", "true", "no", "required", "nan", "inf"),
    *("1e999", "0660"),
    *('"text"', '""', "'x'", '"a\\"b"', '"a\nb"', "“x”", "*:25", "127.0.0.1:25", "[::1]:25", "/run/x.sock"),
    *("*:25,26~3", "0:0"),
    *("192.0.2.0/24", "::/0", "10.0.0.1/99", "::ffff:192.0.2.1", "fe80::1%lo", "münchen.test", "*.example.com"),
    *("/^a(+/", "."),
    *("( a b )", "( )", "(", "[ a = b ]", "[ a = ( b c ) d = [ e = f ] ]", "[", "<a=b>", "a, b"),
    "( 127.0.0.1:25 [ * = ( x ) ] )",
)  # fmt: skip
PIECES = (
    *("{", "}", "(", ")", "[", "]", "<", ">", "=", ";", ",", '"', "'", "\n", "\r\n", "\t", "\\", "#", "/*", "*/"),
    *("//", "\0", "\ufeff"),
    *("include ", "readonly_include ", "include a.conf\n", "ESMTP_Listener {", "Listen ", "Peer ", "Domain "),
    *("Binding_Group ", "\xa0"),
    *("Binding ", "Pathway ", "Pathway_Group ", "Host ", "Module ", "Validate ", "sieve ", "smtp_cbv ", "conntrol "),
    "mail_loop ",
    *("passive", "enabled = false\n", "hook core_x ", "RFC2822 {", "personality [", "XCLIENT", "continue", "\udcff"),
    *("é", "\u2028"),
)  # fmt: skip
WORDS = (
    "gateway",
    "relay_domains",
    "binding",
    "domain",
    "example.com",
    "pathway",
    "p",
    "listen",
    "*:25",
    "",
    "no_such",
    "idle_time",
)


CORE = tuple(declared(app.SCHEMA.core))
SCOPES: tuple[tuple[str, Sequence[str]], ...] = (
    *(("", CORE),) * 6,
    ('Domain "example.com" {', CORE),
    ("Binding b {", CORE),
    ("Binding_Group g { Binding b {", CORE),
    ("Pathway p {", CORE),
    ('ESMTP_Listener { Listen "127.0.0.1:2526" {', CORE),
    ('ESMTP_Listener { Listen "*:25" { Peer "10.0.0.0/8" {', CORE),
    *((f"{module.type} {{", tuple(declared(module.options))) for module in app.SCHEMA.modules),
)
"""A place in a configuration, and the options that are allowed there."""

SMALLEST = 'Hostname = mx.test\nGateway = "127.0.0.1:2525"\nESMTP_Listener { Listen "127.0.0.1:2500" { } }\n'


def statement(chance: random.Random) -> str:
    """Return an option with its default or any other value, in a scope or in none."""
    scope, names = chance.choice(SCOPES)
    name = chance.choice(names if names and chance.random() < 0.95 else NAMES)
    value = chance.choice((DEFAULTS.get(name, "0"), chance.choice(VALUES)))
    return f"{scope}\n{name} = {value}\n" + "}" * scope.count("{")


def text(chance: random.Random) -> str:
    """Return a file: the smallest that serves and a few options, options anyhow, or files of the tests."""
    kind = chance.random()
    if kind < 0.5:
        found = SMALLEST + "".join(f"{statement(chance)}\n" for _ in range(1 + len(some(chance, 3))))
        return mutated(chance, found, (*PIECES, *VALUES, *NAMES)) if chance.random() < 0.2 else found
    if kind < 0.7:
        lines = [f"{chance.choice(NAMES)} = {chance.choice(VALUES)}" for _ in some(chance, 12)]
        lines += [
            chance.choice((f"{chance.choice(PIECES[-32:])}{chance.choice(VALUES)} {{", "}")) for _ in some(chance, 6)
        ]
        chance.shuffle(lines)
        found = "\n".join(lines)
        found += "\n}" * (found.count("{") - found.count("}"))
    else:
        found = chance.choice(("", SMALLEST)) + (joined(chance, SEEDS, 2) or chance.choice(SEEDS))
    return mutated(chance, found, (*PIECES, *VALUES, *NAMES)) if chance.random() < 0.7 else found


def judge_loaded(chance: random.Random, loaded: Loaded, schema: Schema) -> None:
    assert (loaded.settings is None) == any(each.is_error for each in loaded.diagnostics)
    render(loaded.diagnostics)
    if loaded.settings is None:
        return
    show(loaded.settings, origins=True, defaults=True)
    json.dumps(show_json(loaded.settings, origins=True, defaults=True))
    with contextlib.suppress(Unanswerable):
        evaluate(loaded.settings, [chance.choice(WORDS) for _ in range(chance.randrange(6))])
    with contextlib.suppress(Unanswerable):
        look_up(loaded.settings, [chance.choice(WORDS) for _ in range(chance.randrange(6))])
    for listener in getattr(loaded.settings.core, "esmtp_listener", ()):
        client = ip_address(chance.choice(("192.0.2.1", "10.0.0.1", "2001:db8::1", "127.0.0.1")))
        options = loaded.settings.for_client(listener, client)
        for name in declared(schema.core):
            describe(name, options.setting(name), schema.core)


def test_any_file_gives_settings_or_diagnostics(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    path, included = tmp_path / "main.conf", tmp_path / "a.conf"
    before: list[Loaded] = []

    def judge(chance: random.Random) -> None:
        content = text(chance).encode("utf-8", "surrogatepass")
        if chance.random() < 0.2:
            content = octets(chance).join(cut(chance, content))
        path.write_bytes(content)
        included.write_bytes(text(chance).encode("utf-8", "surrogatepass"))
        schema = chance.choice((SCHEMA, app.SCHEMA))
        loaded = load(path, schema)
        judge_loaded(chance, loaded, schema)
        if loaded.settings is not None and schema is app.SCHEMA:
            with contextlib.suppress(app.ConfigurationRejected):
                app.load(path)
        if loaded.settings is not None and schema is SCHEMA:
            before[:] = [*before[-1:], loaded]
            changes(before[0].settings, loaded.settings)

    fuzz(judge, cases=100, share=0.6)


def test_any_file_that_is_formatted_or_converted_means_the_same(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "a.conf").write_text("idle_time = 5\n")

    def shown(content: str, schema: Schema) -> str | None:
        path = tmp_path / "main.conf"
        path.write_bytes(content.encode("utf-8", "surrogatepass"))
        loaded = load(path, schema)
        return None if loaded.settings is None else show(loaded.settings)

    def judge(chance: random.Random) -> None:
        content, schema = text(chance), chance.choice((SCHEMA, app.SCHEMA))
        try:
            formatted = format_text(content)
        except Unformattable:
            with pytest.raises(Unformattable):
                convert(content, schema=schema)
            return
        assert format_text(formatted) == formatted
        assert shown(formatted, schema) == shown(content, schema)
        converted = convert(content, schema=schema)
        assert convert(converted.text, schema=schema).text == converted.text

    fuzz(judge, cases=250, share=0.4)
