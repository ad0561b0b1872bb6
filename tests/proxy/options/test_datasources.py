"""Datasource stanzas in both dialects, their URIs, and the secrets in these, which are never shown."""

from __future__ import annotations

from pathlib import Path

import pytest

from config.diagnostics import render
from config.loader import load
from config.settings import Settings
from config.tools.show import show, show_json
from proxy.app import SCHEMA
from proxy.options.core import CoreOptions
from proxy.options.datasource_uris import BadUri, parse_uri

OTHERS = 'ESMTP_Listener = ( 127.0.0.1:2525 )\nGateway = "127.0.0.1"\n'


def read(folder: Path, text: str) -> tuple[Settings | None, str]:
    path = folder / "e.conf"
    path.write_text(OTHERS + text)
    found = load(path, SCHEMA)
    return found.settings, render(found.diagnostics)


def core(settings: Settings | None) -> CoreOptions:
    assert settings is not None
    assert isinstance(settings.core, CoreOptions)
    return settings.core


def test_a_stanza_of_3x_has_servers_and_limits(tmp_path: Path) -> None:
    settings, said = read(
        tmp_path,
        'Datasource "users" { uri = ( "pgsql:host=a;dbname=m" "pgsql:host=b;dbname=m" )  cache_life = 5m\n'
        "  max_rows = -1 no_cache = true serialized = true }",
    )
    (found,) = core(settings).datasource
    assert (found.name, len(found.uri), found.cache_life, found.max_rows, found.no_cache) == ("users", 2, 300, -1, True)
    assert found.datasource_error == "text"
    assert "option `serialized` is accepted, not acted on" in said


def test_ds_core_of_22_has_them_inside_and_its_drivers_need_no_loading(tmp_path: Path) -> None:
    settings, said = read(
        tmp_path,
        "Module datasource/ds_core ds_core { debug_level = info\n"
        '  users [ uri = "sqlite:/a.db" uri2 = "sqlite:/b.db" cache_size=200 ]\n  other [ uri = "sqlite:c.db" ] }\n'
        "Module datasource/ds_sqlite ds_sqlite { }\nModule datasource/ds_ldap ds_ldap { connection_cache_size = 5 }\n",
    )
    users, other = core(settings).datasource
    assert (users.name, [each.fields["path"] for each in users.uri]) == ("users", ["/a.db", "/b.db"])
    assert (users.cache_size, users.datasource_error) == (200, "flag")
    assert other.uri[0].fields["path"] == str(tmp_path / "c.db")
    assert said.count("warning") == 1
    assert "connection_cache_size" in said


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ('Datasource "x" { }', "`uri` must be set in Datasource"),
        ("Datasource { uri = sqlite:/x }", "takes one name"),
        ('Datasource "x" { uri = "sqlit:/x" }', "did you mean sqlite?"),
        ('Datasource "x" { uri = "pgsql:hots=x" }', "pgsql has no field `hots`; did you mean host?"),
        ('Datasource "x" { uri = "pgsql:host" }', "each field is written name=value"),
        ('Datasource "x" { uri = "pgsql:host=x;port=x" }', "the port is not a number"),
        ('Datasource "x" { uri = "ldap:x" }', "an LDAP URI is a URL"),
        ('Datasource "x" { uri = "ldap://h/dn??tree" }', "base, one or sub"),
        ('Datasource "x" { uri = sqlite:/x cach_life = 1 }', "did you mean cache_life?"),
        ('Datasource "x" { uri = sqlite:/x timeout = 11 }', "at most 10"),
        ('Datasource "x" { uri = sqlite:/x max_rows = 0 }', "more than 0"),
        ('Datasource "x" { uri = sqlite:/x assume_charset = klingon }', "`klingon` is not a character set"),
        ('Datasource "x" { uri = sqlite:/x }\nDatasource "x" { uri = sqlite:/y }', "two datasources are called x"),
        ("Module datasource/ds_core ds_core { users [ ] }", "`uri` must be set"),
        ("Module datasource/ds_core ds_core { sizes = 1 }", "unknown option `sizes`"),
    ],
)
def test_a_mistake_is_named(tmp_path: Path, text: str, message: str) -> None:
    settings, said = read(tmp_path, text)
    assert settings is None
    assert message in said


@pytest.mark.parametrize("scheme", ["csv", "cdb", "odbc", "http", "iowrapper"])
def test_what_only_momentum_can_query_is_a_warning(tmp_path: Path, scheme: str) -> None:
    settings, said = read(tmp_path, f'Datasource "x" {{ uri = "{scheme}:x" }}')
    assert settings is not None
    assert f"Ringback cannot query {scheme}: each query sets datasource_error" in said


SECRETS = [
    "pgsql:host=h;dbname=d;user=u;password=hunter2;port=5432",
    "pgsql:host=h;password=hunter2",
    "pgsql:host=h;PWD=hunter2",
    "mysql:host=h;pass=hunter2;dbname=d",
    "mysql://u:hunter2@h/d",
    "odbc:DSN=x;UID=u;PWD=hunter2",
    "ldap://h/dc=x????bindname=cn=a%2cdc=x,x-bindpw=hunter2",
    "redis://:hunter2@h:6379/0",
    "redis:host=h;password=hunter2",
]


@pytest.mark.parametrize("uri", SECRETS)
def test_a_password_in_a_uri_is_shown_nowhere(tmp_path: Path, uri: str) -> None:
    settings, _ = read(tmp_path, f'Datasource "x" {{ uri = "{uri}" }}')
    assert settings is not None
    shown = show(settings) + str(show_json(settings, origins=True)) + repr(core(settings).datasource)
    assert "hunter2" not in shown
    assert "***" in shown
    broken, said = read(
        tmp_path, f'Datasource "x" {{ uri = "{uri}" uri3 = "pgsql:host=h,password=hunter2,port" cache_life = x }}'
    )
    assert broken is None
    assert "hunter2" not in said


def test_what_show_prints_loads_to_the_same(tmp_path: Path) -> None:
    text = (
        'Datasource "a b" { uri = ( "sqlite:/x\\"y" "ldap://h/dc=x" ) cache_life = 60 }\nModule datasource/ds_core d '
    )
    settings, _ = read(tmp_path, text + "{ old [ uri = sqlite:/z ] }")
    again = tmp_path / "again.conf"
    again.write_text(show(settings)) if settings is not None else None
    found = load(again, SCHEMA)
    assert core(found.settings).datasource == core(settings).datasource
    assert show(found.settings) == show(settings) if found.settings is not None and settings is not None else False


def test_a_database_may_be_a_url(tmp_path: Path) -> None:
    uri = parse_uri("postgresql://us%40er:p%3Aw@[::1]:5433/mail?sslmode=require", tmp_path)
    assert (uri.driver, dict(uri.fields)) == (
        "pgsql",
        {"host": "::1", "port": "5433", "user": "us@er", "password": "p:w", "dbname": "mail", "sslmode": "require"},
    )
    assert parse_uri("valkeys://h/2").fields["tls"] == "1"
    with pytest.raises(BadUri, match="sslmode is one of"):
        parse_uri("mysql:host=h;sslmode=maybe")
