"""What stands open to everybody, what others can read, and a server that takes no mail: warnings of `check`."""

from __future__ import annotations

from pathlib import Path
from shutil import copytree

import pytest

from config.diagnostics import Diagnostic, render
from proxy.app import load
from tests.support.certificates import make_certificate

GOOD = 'ESMTP_Listener = ( 127.0.0.1:2525 )\nHostname = "mx.test"\nGateway = "192.0.2.25"\n'


def found_in(folder: Path, *lines: str, domains: str = "Relay_Domains = a.test\n") -> list[Diagnostic]:
    path = folder / "r.conf"
    path.write_text(f"{GOOD}{domains}" + "\n".join(lines) + "\n")
    return list(load(path)[1])


WIDE = {
    "all": ("0.0.0.0/0", "0.0.0.0/0", "0.0.0.0/0"),
    "all_of_6": ("::/0", "::/0", "::/0"),
    "mapped": ("::ffff:0:0/96", "0.0.0.0/0", None),
    "halves": ("0.0.0.0/1 128.0.0.0/1", "0.0.0.0/0", None),
    "halves_of_6": ("::/1 8000::/1", "::/0", None),
    "quarters": ("0.0.0.0/2 64.0.0.0/2 128.0.0.0/2 192.0.0.0/2", "0.0.0.0/0", None),
    "half": ("128.0.0.0/1 192.0.2.1", "128.0.0.0/1", None),
    "a_sixteenth": ("192.0.2.1 64.0.0.0/4", "64.0.0.0/4", "64.0.0.0/4"),
    "all_that_is_global": ("2000::/3", "2000::/3", "2000::/3"),
}
OPTIONS = {
    "relay_hosts": ("Relay_Hosts", "may send to any domain"),
    "proxy": ("Proxy_Protocol_Networks", "may name its client in a PROXY header"),
    "xclient": ("Xclient_Hosts", "may name its client with XCLIENT"),
}


@pytest.mark.parametrize(("option", "may"), OPTIONS.values(), ids=OPTIONS.keys())
@pytest.mark.parametrize(("networks", "whole", "place"), WIDE.values(), ids=WIDE.keys())
def test_trust_in_everybody_is_a_warning(
    tmp_path: Path, option: str, may: str, networks: str, whole: str, place: str | None
) -> None:
    (found,) = found_in(tmp_path, f"{option} = ( {networks} )")
    assert not found.is_error
    assert f"{option}: every host in {whole} {may}" in found.message
    assert found.hint
    assert found.span is not None
    assert place is None or found.span.text == place


@pytest.mark.parametrize("networks", ["10.0.0.0/8 172.16.0.0/12 192.168.0.0/16 fc00::/7 fe80::/10 ::1 2001:db8::/32"])
@pytest.mark.parametrize("option", [written for written, _ in OPTIONS.values()])
def test_networks_that_can_be_ones_own_are_no_warning(tmp_path: Path, option: str, networks: str) -> None:
    assert found_in(tmp_path, f"{option} = ( {networks} )") == []


OPEN = {
    "for_all": ("Open_Relay = on", 5),
    "for_a_listener": ('ESMTP_Listener { Listen "127.0.0.1:2526" { Open_Relay = on } }', 5),
    "for_a_peer": ('ESMTP_Listener {\nListen "127.0.0.1:2526" { }\nPeer "192.0.2.0/24" { Open_Relay = on } }', 7),
}


@pytest.mark.parametrize(("line", "number"), OPEN.values(), ids=OPEN.keys())
def test_an_open_relay_is_a_warning_at_its_place(tmp_path: Path, line: str, number: int) -> None:
    (found,) = found_in(tmp_path, line)
    assert (found.is_error, found.message) == (False, "Open_Relay accepts mail from any client to any domain")
    assert found.span is not None
    assert found.span.line == number


def test_every_sender_domain_is_everybody(tmp_path: Path) -> None:
    assert "Relay_For_Sending_Domains accepts mail to any domain from any client" in render(
        found_in(tmp_path, "Relay_For_Sending_Domains = ( * )")
    )


@pytest.mark.parametrize(
    "line",
    ["", "Relay_Domains = ( )", "Relay_Hosts = ( )", "Open_Relay = off"],
    ids=["nothing", "no_domain", "no_host", "not_open"],
)
def test_a_server_that_admits_no_mail_is_a_warning(tmp_path: Path, line: str) -> None:
    said = [each.message for each in found_in(tmp_path, line, domains="")]
    assert "no mail is accepted: every recipient is rejected with 550 5.7.1" in said


@pytest.mark.parametrize(
    "line",
    [
        "Relay_Hosts = ( 192.0.2.0/24 )",
        "Relay_For_Sending_Domains = ( a.test )",
        'ESMTP_Listener { Listen "127.0.0.1:2526" { Relay_Hosts = ( 192.0.2.0/24 ) } }',
        'ESMTP_Listener {\nListen "127.0.0.1:2526" { }\nPeer "192.0.2.0/24" { Relay_Hosts = ( 192.0.2.0/24 ) } }',
        "Authentication = upstream\nAuthentication_Without_TLS = on",
    ],
    ids=["hosts", "senders", "hosts_of_a_listener", "hosts_of_a_peer", "authentication"],
)
def test_whoever_is_admitted_by_something_ends_that_warning(tmp_path: Path, line: str) -> None:
    said = [each.message for each in found_in(tmp_path, line, domains="")]
    assert not any(each.startswith("no mail is accepted") for each in said)


# ---------------------------------------------------------------- secrets


def secret_files(folder: Path) -> dict[str, str]:
    """Make each file that holds a secret; return the line that names it."""
    make_certificate(folder, "own")
    both = (folder / "own.pem").read_text() + (folder / "own.key").read_text()
    (folder / "both.pem").write_text(both)
    (folder / "users").write_text("")
    (folder / "hash.key").write_text("x" * 32)
    (folder / "letter.key").write_text("x" * 32)
    for each in folder.iterdir():
        each.chmod(0o600)
    return {
        "own.key": 'TLS_Certificate = "own.pem"\nTLS_Key = "own.key"',
        "both.pem": 'TLS_Certificate = "both.pem"',
        "users": 'Authentication = file\nAuthentication_Without_TLS = on\nAuthentication_File = "users"',
        "hash.key": 'smtp_cbv { store = memory store_secret = "hash.key" }',
        "letter.key": f'State_Directory = "{folder}"',
    }


FILES = ["own.key", "both.pem", "users", "hash.key", "letter.key"]


@pytest.mark.parametrize("name", FILES)
@pytest.mark.parametrize(
    ("mode", "may"),
    [(0o644, "read"), (0o604, "read"), (0o660, "change"), (0o666, "read and")],
    ids=["644", "604", "660", "666"],
)
def test_a_secret_that_others_can_read_or_change_is_a_warning(tmp_path: Path, name: str, mode: int, may: str) -> None:
    line = secret_files(tmp_path)[name]
    assert found_in(tmp_path, line) == []
    (tmp_path / name).chmod(mode)
    (found,) = found_in(tmp_path, line)
    assert not found.is_error
    assert f"other users of this machine can {may}" in found.message
    assert found.span is not None
    assert name == "letter.key" or name in found.span.text
    assert f"chmod o-rwx,g-w {tmp_path / name}" in str(found.hint)


def test_the_key_of_another_name_is_a_secret_as_well(tmp_path: Path) -> None:
    line = secret_files(tmp_path)["own.key"] + "\nTLS_Server_Names = [ b.test = both.pem ]"
    (tmp_path / "both.pem").chmod(0o644)
    (found,) = found_in(tmp_path, line)
    assert "can read" in found.message


def test_a_certificate_alone_is_no_secret(tmp_path: Path) -> None:
    line = secret_files(tmp_path)["own.key"]
    (tmp_path / "own.pem").chmod(0o644)
    assert found_in(tmp_path, line) == []


@pytest.mark.parametrize("name", ["ecelerity.conf", "docker/ecelerity.conf"])
def test_what_is_shipped_opens_nothing(tmp_path: Path, name: str) -> None:
    copytree(Path(__file__).parents[3] / "etc", tmp_path / "etc")
    copy = tmp_path / "etc" / name
    said = [each.message for each in load(copy)[1]]
    assert all(
        each.startswith("Spool_Directory: /var/spool/ringback is not a writable folder") for each in said
    )  # the image has it
