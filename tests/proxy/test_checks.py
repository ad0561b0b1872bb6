"""What is found wrong beyond the text of a configuration: Unix sockets that are not there."""

from __future__ import annotations

import socket
from pathlib import Path

from config.diagnostics import Severity
from proxy.app import load

LINES = ("ESMTP_Listener = ( 127.0.0.1:0 )", 'Hostname = "ringback.test"')


def complaints(folder: Path, *lines: str) -> list[tuple[Severity, str, int | None]]:
    path = folder / "r.conf"
    path.write_text("\n".join([*LINES, *lines]) + "\n")
    found = load(path)[1]
    return [(each.severity, each.message, each.span.line if each.span else None) for each in found]


def test_a_unix_socket_that_is_not_there_is_a_warning_at_its_place_and_only_once(tmp_path: Path) -> None:
    gone = tmp_path / "gone"
    assert complaints(
        tmp_path,
        'Gateway = "127.0.0.1"',
        f'Domain "a.test" {{ Gateway = "unix:{gone}" }}',
        f'Domain "b.test" {{ Routes = ( "192.0.2.1" "unix:{gone}?pref=5" ) }}',
    ) == [(Severity.WARNING, f"{gone} cannot be used (No such file or directory): mail for it is deferred", 4)]


def test_a_file_is_no_socket(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    assert complaints(tmp_path, f'Routes = ( "unix:{tmp_path}/file" )') == [
        (Severity.WARNING, f"{tmp_path}/file is no socket: mail for it is deferred", 3)
    ]


def test_a_unix_socket_that_is_there_is_nothing_to_complain_of(tmp_path: Path) -> None:
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(tmp_path / "lmtp"))
        assert complaints(tmp_path, f'Gateway = "unix:{tmp_path}/lmtp"') == []
