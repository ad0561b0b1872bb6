"""The listing of settings."""

from pathlib import Path

import pytest

from config.loader import load
from config.settings import Settings
from config.tools.show import show, show_json
from tests.config.sample_schema import SCHEMA

CASES = Path(__file__).parents[2] / "spec" / "config"
GOOD = sorted(
    path
    for path in [*CASES.glob("*.conf"), *CASES.glob("*/main.conf")]
    if not path.with_suffix(".expected").read_text(encoding="utf-8").startswith("no settings")
)


def settings_of(path: Path) -> Settings:
    loaded = load(path, SCHEMA)
    assert loaded.settings is not None, loaded.diagnostics
    return loaded.settings


def written_to(folder: Path, text: str) -> Path:
    path = folder / "test.conf"
    path.write_text(text, encoding="utf-8")
    return path


@pytest.mark.parametrize("path", GOOD, ids=lambda path: path.parent.name if path.name == "main.conf" else path.stem)
def test_what_is_listed_loads_again_and_gives_the_same_settings(
    path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(path.parent)
    first = settings_of(Path(path.name))
    monkeypatch.chdir(tmp_path)
    again = settings_of(written_to(Path(), show(first)))
    assert again.core == first.core
    assert again.modules == first.modules
    assert show(again) == show(first)


def test_with_defaults_everything_in_force_is_listed_and_with_origins_where_it_was_set(tmp_path: Path) -> None:
    path = written_to(tmp_path, 'Hostname = a\nsmtp_cbv "x" {\n  port = 26\n}\n')
    listing = show(settings_of(path), origins=True, defaults=True).splitlines()
    assert f"hostname = a  # {path}:1:12" in listing
    assert "remote_smtp_port = 25  # default" in listing
    assert "file_mode = 0660  # default" in listing
    assert f'smtp_cbv "x" {{  # {path}:2:1' in listing
    assert f"  port = 26  # {path}:3:10" in listing
    assert "  map = [ ]  # default" in listing


def test_as_json_only_what_is_set_is_listed_unless_defaults_are_asked_for(tmp_path: Path) -> None:
    path = written_to(
        tmp_path,
        'Relay_Hosts = ( 10.0.0.0/8 )\nDomain a.example { Gateway = "b:26" }\n'
        'smtp_cbv "x" { enabled = no map = [ a = b ] }\nESMTP_Listener = ( *:25 )\n',
    )
    settings = settings_of(path)
    assert show_json(settings) == {
        "options": {
            "esmtp_listener": [
                {
                    "address": "*",
                    "port": 25,
                    "backlog": 500,
                    "concurrency": 0,
                    "enabled": True,
                    "options": {},
                    "peers": [],
                }
            ],
            "relay_hosts": ["10.0.0.0/8"],
        },
        "scopes": [{"scope": [["domain", "a.example"]], "options": {"gateway": "b:26"}}],
        "modules": [{"type": "smtp_cbv", "name": "x", "passive": True, "options": {"map": {"a": "b"}}}],
    }
    assert show_json(settings, defaults=True)["modules"][0]["options"]["port"] == 25


def test_as_json_with_origins_each_option_says_where_it_was_set(tmp_path: Path) -> None:
    path = written_to(tmp_path, 'Hostname = a\nDomain b { Gateway = c }\nsmtp_cbv "x" { }\n')
    listing = show_json(settings_of(path), origins=True)
    assert listing["options"] == {"hostname": {"value": "a", "origin": f"{path}:1:12"}}
    assert listing["scopes"][0]["options"] == {"gateway": {"value": "c", "origin": f"{path}:2:22"}}
    assert listing["modules"][0]["origin"] == f"{path}:3:1"
