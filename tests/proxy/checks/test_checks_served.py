"""What `check` passes can be served: a value that would end `serve`, or defer all mail, is a mistake at its place."""

from __future__ import annotations

import os
import subprocess
import time
from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from config.diagnostics import Diagnostic, render
from proxy import app
from proxy.checks import certificates, network
from tests.support.certificates import make_certificate

GOOD = (
    "ESMTP_Listener = ( 127.0.0.1:2525 )",
    'Hostname = "mx.test"',
    'Gateway = "192.0.2.25"',
    "Relay_Domains = a.test",
)


def found_in(folder: Path, *lines: str, without: Sequence[str] = ()) -> list[Diagnostic]:
    """Return what `check` says, nothing being asked of the network; `without` leaves good lines out."""
    return list(app.rehearsed(written(folder, *lines, without=without), lambda _stage: None))


def written(folder: Path, *lines: str, without: Sequence[str] = ()) -> Path:
    kept = [each for each in GOOD if not any(each.startswith(f"{name} ") for name in without)]
    path = folder / "r.conf"
    path.write_text("\n".join([*kept, *lines]) + "\n")
    return path


def shown(folder: Path, *lines: str, without: Sequence[str] = ()) -> str:
    return render(found_in(folder, *lines, without=without)).replace(f"{folder}/", "")


def test_the_smallest_configuration_has_nothing_wrong(tmp_path: Path) -> None:
    assert shown(tmp_path) == ""


VALUES = {
    "hostname_with_a_blank": ("Hostname", 'Hostname = "my host"', "`my host` is not a host name"),
    "hostname_empty": ("Hostname", 'Hostname = ""', "the empty value is not a host name"),
    "hostname_two_dots": ("Hostname", 'Hostname = "mx..test"', "`mx..test` is not a host name"),
    "hostname_with_an_at": ("Hostname", 'Hostname = "me@mx.test"', "`me@mx.test` is not a host name"),
    "hostname_ipv6": ("Hostname", 'Hostname = "2001:db8::1"', "`2001:db8::1` is not a host name"),
    "hostname_u_label": ("Hostname", 'Hostname = "mx.münchen.test"', "write its A-labels: mx.xn--mnchen-3ya.test"),
    "hostname_long": ("Hostname", f'Hostname = "{"a" * 64}.test"', "is not a host name"),
    "ehlo_hostname": ("", 'EHLO_Hostname = "my host"', "`my host` is not a host name"),
    "ehlo_hostname_of_a_domain": ("", 'Domain "b.test" { EHLO_Hostname = "a b" }', "`a b` is not a host name"),
    "banner_hostname": ("", 'Banner_Hostname = "a b"', "`a b` is not a host name"),
    "received_hostname": ("", 'Received_Hostname = "a (b"', "`a (b` is not a host name"),
    "banner_of_no_line": ("", 'Static_Banner = "\\n"', "is not a banner"),
    "banner_too_long": ("", f'Static_Banner = "{"x" * 600}"', "a reply line has at most 506 characters"),
    "default_domain": ("", 'Domain_For_Unqualified_Sender_Address = "a b"', "`a b` is not a domain"),
    "default_domain_to": ("", 'Domain_For_Unqualified_Recipient_Addresses = "@b.test"', "`@b.test` is not a domain"),
    "nameserver_name": ("", "Nameservers = ( 192.0.2.53 ns.example.com )", "`ns.example.com` is not an address"),
    "nameserver_zone": ("", 'Nameservers = ( "fe80::1%lo" )', "is not an address"),
    "nameserver_zone_in_brackets": ("", 'Nameservers = ( "[fe80::1%lo]" )', "`[fe80::1%lo]` is not an address"),
    "nameserver_leading_zero": ("", "Nameservers = ( 192.0.2.053 )", "write 192.0.2.53: a number has no leading zero"),
    "listener_leading_zero": (
        "ESMTP_Listener",
        "ESMTP_Listener = ( 0127.0.0.1:25 )",
        "write 127.0.0.1: a number has no leading zero",
    ),
    "listener_three_numbers": ("ESMTP_Listener", "ESMTP_Listener = ( 127.1:25 )", "is not an address to listen on"),
    "listener_in_a_stanza": (
        "ESMTP_Listener",
        'ESMTP_Listener { Listen "010.0.0.1:25" { } }',
        "write 10.0.0.1: a number has no leading zero",
    ),
    "listener_none": ("ESMTP_Listener", "ESMTP_Listener = ( )", "no listener is enabled"),
    "listener_all_switched_off": (
        "ESMTP_Listener",
        'ESMTP_Listener { Listen "127.0.0.1:25" { Enable = false } }',
        "no listener is enabled",
    ),
    "listener_twice_as_all": (
        "ESMTP_Listener",
        "ESMTP_Listener = ( *:2525 0.0.0.0:2525 )",
        "*:2525 already listens on 0.0.0.0:2525",
    ),
    "listener_twice_in_two_spellings": (
        "ESMTP_Listener",
        "ESMTP_Listener = ( [::1]:2525 [0:0:0:0:0:0:0:1]:2525 )",
        "[::1]:2525 already listens on",
    ),
    "listener_backlog": (
        "ESMTP_Listener",
        'ESMTP_Listener { Listen "127.0.0.1:25" { Listen_Backlog = 99999999999 } }',
        "`Listen_Backlog` must be at most",
    ),
    "gateway_leading_zero": ("Gateway", 'Gateway = "192.0.2.025"', "write 192.0.2.25: a number has no leading zero"),
    "gateway_user": ("Gateway", 'Gateway = "user@mx.test"', "`user@mx.test` is not a host"),
    "gateway_no_name": ("Gateway", 'Gateway = "mx..test"', "`mx..test` is not a host"),
    "gateway_256": ("Gateway", 'Gateway = "256.0.2.1"', "`256.0.2.1` is not a host"),
    "route_leading_zero": ("Gateway", 'Routes = ( "smtp://192.0.2.025?pref=1" )', "is not a route"),
    "mapped_host": ("", 'smtp_cbv { map = [ a.test = "mx..test" ] }', "`mx..test` is not a host"),
    "endless_time": ("", "Idle_Timeout = 999999999999d", "is not a duration that ends"),
    "endless_size": ("", "Max_Message_Size = 999999999999G", "is not a size that anything has"),
    "worker_timeout": ("", "Worker_Timeout = 10ms", "healthy workers would be killed"),
}


@pytest.mark.parametrize(("instead", "line", "said"), VALUES.values(), ids=VALUES.keys())
def test_a_value_that_cannot_be_served_is_a_mistake_at_its_place(
    tmp_path: Path, instead: str, line: str, said: str
) -> None:
    found = [each for each in found_in(tmp_path, line, without=(instead,) if instead else ()) if each.is_error]
    assert len(found) == 1, render(found)
    assert said in render(found)
    assert found[0].span is not None
    assert found[0].span.line == len(GOOD) + 1 - bool(instead)
    assert found[0].hint is not None or instead == "ESMTP_Listener" or "Worker_Timeout" in line


# ---------------------------------------------------------------- the server itself behind


LOOPS = {
    "address": ('Gateway = "127.0.0.1:2525"', "127.0.0.1:2525"),
    "by_the_port_option": ('Gateway = "127.0.0.1"\nRemote_SMTP_Port = 2525', "127.0.0.1"),
    "by_lmtp": ('Gateway = "127.0.0.1"\nDelivery_Method = LMTP\nLMTP_Port = 2525', "127.0.0.1"),
    "mapped": ('Gateway = "[::ffff:127.0.0.1]:2525"', "[::ffff:127.0.0.1]:2525"),
    "route": ('Routes = ( "192.0.2.9" "127.0.0.1:2525" )', "127.0.0.1:2525"),
    "domain": ('Gateway = "192.0.2.1"\nDomain "b.test" { Gateway = "127.0.0.1:2525" }', "127.0.0.1:2525"),
    "expression": ('Gateway = "192.0.2.1"\nDomain "/b/" { Gateway = "127.0.0.1:2525" }', "127.0.0.1:2525"),
    "port_of_a_domain": ('Gateway = "127.0.0.1"\nDomain "b.test" { Remote_SMTP_Port = 2525 }', "127.0.0.1"),
    "binding": (
        'Gateway = "192.0.2.1"\nBinding "b" { Gateway = "127.0.0.1" Remote_SMTP_Port = 2525 }',
        "127.0.0.1",
    ),
    "unspecified": ('Gateway = "0.0.0.0:2525"', "0.0.0.0:2525"),
    "name": ('Gateway = "localhost:2525"', "localhost:2525"),
}


@pytest.mark.parametrize(("lines", "place"), LOOPS.values(), ids=LOOPS.keys())
@pytest.mark.parametrize("listening", ["127.0.0.1:2525", "*:2525", "0.0.0.0:2525"])
def test_a_next_hop_that_is_our_own_listener_is_an_error(
    tmp_path: Path, lines: str, place: str, listening: str
) -> None:
    listener = f"ESMTP_Listener = ( {listening} )"
    if "0.0.0.0" in lines and listening.startswith("127"):
        listener = "ESMTP_Listener = ( *:2525 )"
    found = [
        each
        for each in found_in(tmp_path, lines, listener, without=("Gateway", "ESMTP_Listener"))
        if "is our own listener" in each.message
    ]
    assert len(found) == 1, render(found)
    assert found[0].is_error
    assert found[0].span is not None
    assert found[0].span.text.strip('"') == place


@pytest.mark.parametrize("gateway", ["127.0.0.1:2526", "127.0.0.2:2525", "192.0.2.1:2525"])
def test_a_next_hop_on_the_same_machine_is_no_error(tmp_path: Path, gateway: str) -> None:
    assert shown(tmp_path, f'Gateway = "{gateway}"', without=("Gateway",)) == ""


# ---------------------------------------------------------------- TLS, each mistake at its option


@pytest.fixture
def pem(tmp_path: Path) -> Path:
    """Return a folder with a certificate and its key, another key, and files that are neither."""
    make_certificate(tmp_path, "own")
    make_certificate(tmp_path, "other")
    (tmp_path / "empty.pem").touch()
    (tmp_path / "text.pem").write_text("no PEM\n")
    broken = (tmp_path / "own.pem").read_text().splitlines()
    (tmp_path / "broken.pem").write_text("\n".join([broken[0], "AAAA", *broken[2:]]) + "\n")
    key = (tmp_path / "own.key").read_text().splitlines()
    (tmp_path / "broken.key").write_text("\n".join([key[0], "AAAA", *key[2:]]) + "\n")
    protect = ["openssl", "pkey", "-in", "own.key", "-aes128", "-passout", "pass:x", "-out", "protected.key"]
    subprocess.run(protect, cwd=tmp_path, check=True, capture_output=True)
    for each in tmp_path.glob("*.key"):
        each.chmod(0o600)
    os.mkfifo(tmp_path / "pipe.pem")
    return tmp_path


TLS = {
    "certificate_missing": ("gone.pem", "own.key", "gone.pem", "the TLS certificate cannot be used: No such file"),
    "certificate_text": ("text.pem", "own.key", "text.pem", "text.pem contains no PEM certificate"),
    "certificate_empty": ("empty.pem", "own.key", "empty.pem", "empty.pem contains no PEM certificate"),
    "certificate_broken": ("broken.pem", "own.key", "broken.pem", "broken.pem contains an unreadable certificate"),
    "certificate_pipe": ("pipe.pem", "own.key", "pipe.pem", "the TLS certificate cannot be used: Not a regular"),
    "key_missing": ("own.pem", "gone.key", "gone.key", "the key gone.key cannot be read: No such file"),
    "key_folder": ("own.pem", ".", ".", "cannot be read: Is a directory"),
    "key_is_the_certificate": ("own.pem", "other.pem", "other.pem", "other.pem contains no PEM private key"),
    "key_broken": ("own.pem", "broken.key", "broken.key", "the key broken.key cannot be read"),
    "key_of_another": ("own.pem", "other.key", "other.key", "other.key does not belong to the certificate own.pem"),
    "key_protected": ("own.pem", "protected.key", "protected.key", "contains a key with a passphrase"),
    "key_in_the_certificate": ("own.pem", "", "own.pem", "own.pem contains no PEM private key"),
}


@pytest.mark.parametrize(("certificate", "key", "place", "said"), TLS.values(), ids=TLS.keys())
@pytest.mark.parametrize("side", ["clients", "next_hop"])
def test_tls_names_the_option_and_the_file_that_is_wrong(
    pem: Path, side: str, certificate: str, key: str, place: str, said: str
) -> None:
    lines = [f'TLS_Certificate = "{certificate}"', *([f'TLS_Key = "{key}"'] if key else [])]
    if side == "next_hop":
        lines = ['Domain "b.test" {', "TLS = required", *lines, "}"]
    found = [each for each in found_in(pem, *lines) if each.is_error]
    assert len(found) == 1, render(found)
    assert said in render(found).replace(f"{pem}/", "").replace(str(pem), ".")
    assert found[0].span is not None
    assert found[0].span.text.strip('"') == place
    assert found[0].hint


OTHERS = {
    "client_ca_missing": ('TLS_Client_CA = "gone.pem"', "clients cannot be asked for certificates: No such file"),
    "client_ca_text": ('TLS_Client_CA = "text.pem"', "clients cannot be asked for certificates"),
    "ciphers": ('TLS_Ciphers = "NONSENSE"', "TLS_Ciphers leaves no cipher: NONSENSE"),
    "ciphers_of_a_listener": ('Peer "192.0.2.0/24" { TLS_Ciphers = "NONSENSE" }', "leaves no cipher: NONSENSE"),
    "server_name": ("TLS_Server_Names = [ b.test = gone.pem ]", "the TLS certificate cannot be used: No such"),
    "ca": ('TLS = required\nTLS_CA = "gone.pem"', "the authorities gone.pem cannot be read"),
    "ca_text": ('TLS = required\nTLS_CA = "text.pem"', "the authorities text.pem cannot be read"),
}


@pytest.mark.parametrize(("line", "said"), OTHERS.values(), ids=OTHERS.keys())
def test_the_rest_of_tls_is_named_as_well(pem: Path, line: str, said: str) -> None:
    listener = "ESMTP_Listener = ( 127.0.0.1:2525 )"
    if line.startswith("Peer"):
        line, listener = "", f'ESMTP_Listener {{ Listen "127.0.0.1:2525" {{ {line} }} }}'
    lines = ['TLS_Certificate = "own.pem"', 'TLS_Key = "own.key"', listener, line]
    found = [each for each in found_in(pem, *lines, without=("ESMTP_Listener",)) if each.is_error]
    assert len(found) == 1, render(found)
    assert said in render(found).replace(f"{pem}/", "")
    assert found[0].span is not None


# ---------------------------------------------------------------- certificates that run out


def lasting(folder: Path, days: float, life: float = 365.0) -> Path:
    """Make a certificate of `life` days, some of which are left."""
    now = datetime.now(UTC)
    begins, ends = now + timedelta(days=days - life), now + timedelta(days=days)
    make_certificate(folder, "own", valid=(begins, ends))
    (folder / "own.key").chmod(0o600)
    return folder / "own.pem"


@pytest.mark.parametrize(
    ("left", "life", "said"),
    [
        (-1, 365, "expired on"),
        (5, 365, "expires on"),
        (13, 90, "expires on"),
        (20, 365, ""),
        (5, 6, ""),
        (1, 6, "expires on"),
        (400, 365, "is not valid before"),
    ],
    ids=["expired", "in_5_days", "in_13_days", "in_20_days", "of_6_days_new", "of_6_days_old", "not_yet"],
)
def test_a_certificate_that_runs_out_is_a_warning(tmp_path: Path, left: float, life: float, said: str) -> None:
    lasting(tmp_path, left, life)
    found = found_in(tmp_path, 'TLS_Certificate = "own.pem"', 'TLS_Key = "own.key"')
    assert not any(each.is_error for each in found)
    assert [said in each.message for each in found] == ([True] if said else [])
    assert all(each.span is not None and each.span.text == '"own.pem"' for each in found)


def test_authorities_that_have_all_expired_are_a_warning(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    make_certificate(tmp_path, "own", authority=True)
    monkeypatch.setattr(certificates.time, "time", lambda: time.monotonic() + 4e10)
    found = found_in(tmp_path, "TLS = required", 'TLS_CA = "own.pem"')
    assert [(each.is_error, "have all expired" in each.message) for each in found] == [(False, True)]


# ---------------------------------------------------------------- what is only now so


WARNED = {
    "address_of_another_machine": (
        "ESMTP_Listener",
        "ESMTP_Listener = ( 203.0.113.9:2525 )",
        "cannot listen on 203.0.113.9",
    ),
    "hostname_with_underscore": ("Hostname", 'Hostname = "mx_1.test"', "some MTAs reject the name `mx_1.test`"),
    "hostname_with_a_dot_at_its_end": ("Hostname", 'Hostname = "mx.test."', "some MTAs reject the name `mx.test.`"),
    "spool_directory": ("", 'Spool_Directory = "/nonexistent/x"', "/nonexistent/x is not a writable folder"),
    "state_directory": ("", 'State_Directory = "/nonexistent"', "nothing survives a restart"),
    "state_directory_is_a_file": ("", 'State_Directory = "/etc/passwd"', "is not a writable folder"),
    "store_folder": ("", 'smtp_cbv { store = "sqlite:///nonexistent/x.db" }', "verdicts are kept in memory"),
    "store_socket": ("", 'smtp_cbv { store = "unix:///nonexistent/x" }', "is not a socket now"),
    "pause_time": ("", "conntrol { pause_time = 10m }", "pause_time = 600s exceeds typical client patience"),
    "key_alone": ("", 'TLS_Key = "r.conf"', "TLS_Key has no effect without TLS_Certificate"),
}


@pytest.mark.parametrize(("instead", "line", "said"), WARNED.values(), ids=WARNED.keys())
def test_what_can_be_served_and_is_hardly_meant_is_a_warning_at_its_place(
    tmp_path: Path, instead: str, line: str, said: str
) -> None:
    found = [each for each in found_in(tmp_path, line, without=(instead,) if instead else ()) if said in each.message]
    assert [(each.is_error, each.span is not None, bool(each.hint)) for each in found] == [(False, True, True)]


def test_a_spool_that_a_script_needs_is_a_mistake(tmp_path: Path) -> None:
    (tmp_path / "x.siv").write_text('if body :contains "x" { ec_log "y"; }\n')
    lines = ['Spool_Directory = "gone"', 'sieve { data_phase1 = "x.siv" }']
    (found,) = found_in(tmp_path, *lines)
    assert (found.is_error, found.message) == (
        True,
        f"Spool_Directory: {tmp_path}/gone is not a writable folder",
    )
    (tmp_path / "gone").mkdir()
    assert found_in(tmp_path, *lines) == []


def test_the_machines_own_name_is_looked_at_if_none_is_set(tmp_path: Path) -> None:
    settings = app.load(written(tmp_path, 'Hostname = "mx.test"'))[0].settings
    core = settings.core.model_copy(update={"hostname": "my host"})
    (found,) = network.addresses(replace(settings, core=core, _origins={}))
    assert found.message.startswith("this machine's own name, `my host`")
    assert found.is_error


def test_whether_an_address_is_here_is_found_without_listening() -> None:
    assert network._is_here("127.0.0.1")
    assert not network._is_here("203.0.113.9")
