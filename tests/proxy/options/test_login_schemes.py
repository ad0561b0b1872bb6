"""auth_ds stanzas in both dialects, and what is wrong with them."""

from __future__ import annotations

from pathlib import Path

import pytest

from config.diagnostics import render
from config.loader import load as load_configuration
from config.settings import Settings
from config.tools.show import show
from proxy import checks
from proxy.app import SCHEMA
from proxy.options.core import CoreOptions
from proxy.options.login_schemes import REFUSED, LoginScheme

OTHERS = 'ESMTP_Listener = ( 127.0.0.1:2525 )\nGateway = "127.0.0.1"\nDatasource "db" { uri = "sqlite:/x" }\n'


def read(folder: Path, text: str) -> tuple[Settings | None, str]:
    path = folder / "e.conf"
    path.write_text(OTHERS + text)
    found = load_configuration(path, SCHEMA)
    more = list(checks.outside(found.settings, [])) if found.settings is not None else []
    every = [*found.diagnostics, *more]
    return found.settings, render(every) + " ".join(f"[{each.code}]" for each in every if each.code)


def schemes(settings: Settings | None) -> tuple[LoginScheme, ...]:
    assert settings is not None
    assert isinstance(settings.core, CoreOptions)
    return settings.core.login_schemes


NEW = """auth_ds { Scheme "ECAuth" { Authenticate { cache = "db" query = "q :u" map = [ u = "%{username}" ]
  returns_password = true  type = rfc2307  type_column = "k"  type_map = [ new = ucrypt ] } QueryGroups { } } }
"""
OLD = """Module auth/auth_ds auth_ds { map:m [ u = "%{username}" ] type_map:t [ new = ucrypt ]
  register:ecauth [ cache = "db" query = "q :u" map = m returns_password = "true" type = rfc2307 type_column = "k"
  type_map = "t" ] }
"""


def test_both_dialects_say_the_same(tmp_path: Path) -> None:
    (new,), (old,) = (schemes(read(tmp_path, text)[0]) for text in (NEW, OLD))
    assert new == old
    assert (new.name, new.cache, new.returns_password, new.type, dict(new.type_map)) == (
        "ecauth", "db", True, "rfc2307", {"new": "ucrypt"},
    )  # fmt: skip
    assert "stanza `QueryGroups` is accepted, not acted on" in read(tmp_path, NEW)[1]


def test_what_show_prints_loads_to_the_same(tmp_path: Path) -> None:
    settings, _ = read(tmp_path, NEW)
    again = tmp_path / "again.conf"
    assert settings is not None
    again.write_text(show(settings))
    assert schemes(load_configuration(again, SCHEMA).settings) == schemes(settings)


MINIMAL = 'auth_ds { Scheme "s" { Authenticate { cache = "db" query = "q" MORE } } }'


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ('auth_ds { Scheme "s" { Authenticate { query = "q" } } }', "`cache` must be set in auth_ds"),
        ('auth_ds { Scheme "s" { Authenticate { cache = "db" } } }', "`query` must be set in auth_ds"),
        (MINIMAL.replace("MORE", "typ = clear"), "did you mean type?"),
        (MINIMAL.replace("MORE", "type = sha3"), "sha3"),
        (MINIMAL.replace("MORE", 'map = [ u = "%{user}" ]'), "username"),
        (MINIMAL.replace("MORE", "map = m"), "dictionary"),
        ("auth_ds { Shceme s { } }", "unknown stanza `Shceme`"),
        ("auth_ds { regster:x [ ] }", "unknown option `regster:x`"),
        ('Module auth/auth_ds a { register:x [ cache = "db" query = "q" map = nowhere ] }', "unknown map `nowhere`"),
        (2 * MINIMAL.replace("MORE", ""), "auth_ds declares the scheme s twice"),
    ],
)
def test_a_mistake_is_named(tmp_path: Path, text: str, message: str) -> None:
    settings, said = read(tmp_path, text)
    assert settings is None or not schemes(settings)
    assert message in said


@pytest.mark.parametrize("kind", REFUSED)
def test_weak_kinds_are_not_enforced(tmp_path: Path, kind: str) -> None:
    for more in (f"type = {kind}", f"type_map = [ x = {kind} ]"):
        settings, said = read(tmp_path, MINIMAL.replace("MORE", f"returns_password = true {more}"))
        assert len(schemes(settings)) == 1
        assert f"passwords of the kind {kind} are never accepted" in said
        assert "[not_enforced]" in said


def test_a_datasource_that_does_not_exist_is_an_error(tmp_path: Path) -> None:
    _, said = read(tmp_path, MINIMAL.replace('"db"', '"bd"').replace("MORE", ""))
    assert "error: the scheme `s` of auth_ds asks the datasource `bd`, which does not exist" in said
    assert "the datasources are: db" in said


def test_a_listener_whose_scheme_is_not_declared_gets_a_warning(tmp_path: Path) -> None:
    _, said = read(tmp_path, "Authentication = datasource Authentication_Scheme = s Authentication_Without_TLS = true")
    assert "no auth_ds stanza declares the scheme `s`: each login gets 454" in said
    assert "[not_enforced]" in said
    _, said = read(tmp_path, "Authentication = datasource Authentication_Without_TLS = true")
    assert "error: Authentication is `datasource`, but Authentication_Scheme is not set" in said
