"""What differs between two configurations."""

from pathlib import Path

from config.loader import load
from config.settings import Settings
from config.tools.changes import changes
from tests.config.sample_schema import SCHEMA


def settings_of(folder: Path, text: str) -> Settings:
    path = folder / "main.conf"
    path.write_text(text, encoding="utf-8")
    loaded = load(path, SCHEMA)
    assert loaded.settings is not None
    return loaded.settings


def test_each_option_that_differs_says_whether_a_reload_brings_it_into_force(tmp_path: Path) -> None:
    old = settings_of(tmp_path, 'Hostname = a\nESMTP_Listener = ( *:25 )\nsmtp_cbv "x" { port = 25 }\nTLS = no\n')
    new = settings_of(
        tmp_path, 'Hostname = b\nESMTP_Listener = ( *:26 )\nsmtp_cbv "x" { port = 26 }\nsieve "s" { }\nTLS = no\n'
    )
    assert [(each.where, each.name, each.reloadable) for each in changes(old, new)] == [
        ("", "esmtp_listener", False),
        ("", "hostname", True),
        ('smtp_cbv "x"', "port", True),
    ]
    assert [each.origin.line for each in changes(old, new) if each.origin] == [2, 1, 3]


def test_the_same_file_twice_differs_in_nothing(tmp_path: Path) -> None:
    text = 'ESMTP_Listener { Listen "*:25" { Peer "10.0.0.0/8" { Idle_Time = 5 } } }\nRelay_Domains = ( a )\n'
    assert changes(settings_of(tmp_path, text), settings_of(tmp_path, text)) == ()
