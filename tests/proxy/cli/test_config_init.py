"""`ringback config init`: five questions or flags, a file that `check` passes, in shadow mode."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from tests.proxy.cli.test_cli import ringback

FLAGS = ("--domains", "example.com *.example.com", "--next-hop", "192.0.2.7:26", "--hostname", "mx.example.com",
         "--listen", "127.0.0.1:2525", "--networks", "none")  # fmt: skip

FLAGS_BUT = {FLAGS[at]: FLAGS[:at] + FLAGS[at + 2 :] for at in range(0, len(FLAGS), 2)}


def asked(*arguments: object, answers: str, folder: Path) -> tuple[int, str, str]:
    """Run `config init` with answers on standard input."""
    command = [sys.executable, "-m", "proxy.cli", "config", "init", *map(str, arguments)]
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[3])}
    done = subprocess.run(
        command, input=answers, capture_output=True, text=True, check=False, cwd=folder, env=environment
    )
    return done.returncode, done.stdout, done.stderr


def value(path: Path, option: str) -> str:
    status, out, _ = ringback("config", "eval", option, "-c", path)
    assert status == 0
    return out


def test_flags_answer_all_and_the_file_passes_the_check_in_shadow_mode(tmp_path: Path) -> None:
    path = tmp_path / "a.conf"
    status, out, err = ringback("config", "init", path, *FLAGS)
    assert (status, err) == (0, "")
    assert f"wrote {path}" in out
    assert f"ringback check {path}" in out
    assert ringback("check", path, "--strict")[:2] == (0, f"{path}: no errors\n")
    assert re.search(r"^  enforce = false$", path.read_text(), re.MULTILINE)
    assert len(re.findall("^#", path.read_text(), re.MULTILINE)) > 15
    listing = ringback("config", "show", "-c", path)[1]
    for each in ('"192.0.2.7:26"', "mx.example.com", "127.0.0.1:2525", "*.example.com", "enforce = false"):
        assert each.strip('"') in listing, listing
    assert (tmp_path / "scripts/sender_callback.siv").read_text().startswith("$from")


def test_five_questions_are_asked_and_a_wrong_answer_is_asked_again(tmp_path: Path) -> None:
    answers = "*\nuser@example.com\nexample.com, example.net\nmx..example\nmail.internal:26\nbad name\nmx.example.com\n"
    answers += "\n0.0.0.0/0\n10.0.0.0/8\n"
    status, _, err = asked("a.conf", answers=answers, folder=tmp_path)
    assert status == 0, err
    text = (tmp_path / "a.conf").read_text()
    assert "Relay_Domains = ( example.com example.net )" in text
    assert 'Gateway = "mail.internal:26"' in text
    assert "Relay_Hosts = ( 10.0.0.0/8 )" in text
    assert "ESMTP_Listener = ( 127.0.0.1:2525 )" in text
    for words in (
        "which is an open relay: list your own domains",
        "user@example.com is not a domain",
        "list your own networks",
    ):
        assert words in err
    assert len(re.findall(r"\]?: ", re.sub(r"(?m)^  .*$", "", err))) >= 5


def test_at_the_end_of_input_the_defaults_hold(tmp_path: Path) -> None:
    assert asked("a.conf", "--domains", "example.com", answers="", folder=tmp_path)[0] == 0
    assert 'Gateway = "127.0.0.1:25"' in (tmp_path / "a.conf").read_text()
    status, _, err = asked("b.conf", answers="", folder=tmp_path)
    assert (status, "write --domains" in err, (tmp_path / "b.conf").exists()) == (64, True, False)


def test_a_main_cf_gives_the_defaults_and_a_flag_overrides(tmp_path: Path) -> None:
    (tmp_path / "main.cf").write_text(
        "myhostname = mx.example.org\nmydestination =\nrelay_domains = example.org\nrelayhost = [192.0.2.9]:26\n"
        "mynetworks = 192.0.2.0/24\nmessage_size_limit = 1000000\n"
        "smtpd_tls_cert_file = /x.pem\nsmtpd_tls_key_file = /x.key\n"
    )
    assert asked("a.conf", "--from", "main.cf", "--networks", "none", answers="", folder=tmp_path)[0] == 0
    text = (tmp_path / "a.conf").read_text()
    for line in (
        "Relay_Domains = ( example.org *.example.org )", 'Gateway = "192.0.2.9:26"', 'Hostname = "mx.example.org"',
        "Max_Message_Size = 1000000", "#Relay_Hosts = ( 192.0.2.0/24 )",
        '#TLS_Certificate = "/x.pem"', '#TLS_Key = "/x.key"',
    ):  # fmt: skip
        assert line in text.splitlines(), text
    assert ringback("check", tmp_path / "a.conf")[0] == 0


def test_an_exim_configuration_gives_routes_and_many_domains_and_passes_the_check(tmp_path: Path) -> None:
    many = " : ".join(f"d{number}.example" for number in range(300))
    (tmp_path / "exim.conf").write_text(
        f"domainlist local_domains = @\ndomainlist relay_to_domains = {many}\n"
        "begin routers\nr:\n driver = manualroute\n route_list = d1.example 192.0.2.8::26; * 192.0.2.9\n"
    )
    assert asked("a.conf", "--from", "exim.conf", "--hostname", "mx.example.org", answers="", folder=tmp_path)[0] == 0
    path = tmp_path / "a.conf"
    assert ringback("check", path)[0] == 0
    assert ringback("config", "eval", "domain", "d1.example", "gateway", "-c", path)[1].startswith(
        "gateway = 192.0.2.8:26"
    )
    assert "d299.example" in value(path, "relay_domains")


def test_a_file_that_exists_is_left_alone_unless_forced_and_then_kept(tmp_path: Path) -> None:
    path = tmp_path / "a.conf"
    path.write_text("mine\n")
    (tmp_path / "scripts").mkdir()
    (tmp_path / "scripts/sender_callback.siv").write_text('ec_log "mine";\n')
    status, _, err = ringback("config", "init", path, *FLAGS)
    assert (status, "--force" in err, path.read_text()) == (73, True, "mine\n")
    assert ringback("config", "init", path, *FLAGS, "--force")[0] == 0
    assert (tmp_path / "a.conf.old").read_text() == "mine\n"
    assert (tmp_path / "scripts/sender_callback.siv").read_text() == 'ec_log "mine";\n'


def test_a_folder_is_never_replaced(tmp_path: Path) -> None:
    status, _, err = ringback("config", "init", tmp_path, *FLAGS, "--force")
    assert (status, f"{tmp_path} exists" in err, tmp_path.is_dir()) == (73, True, True)


def test_what_check_would_refuse_is_not_written(tmp_path: Path) -> None:
    loop = [*FLAGS[:2], "--next-hop", "127.0.0.1:2525", *FLAGS[4:]]
    status, _, err = ringback("config", "init", tmp_path / "a.conf", *loop)
    assert (status, list(tmp_path.glob("*.conf*"))) == (78, []), err


@pytest.mark.parametrize(
    ("flag", "text", "words"),
    [
        ("--domains", "https://example.com/", "is not a domain"),
        ("--domains", ".example.com", "write it as example.com"),
        ("--next-hop", "mail:99999", "port"),
        ("--next-hop", 'x" } Open_Relay = true #', "is not"),
        ("--hostname", "a_b\nOpen_Relay = true", "cannot be printed"),
        ("--listen", "127.0.0.1:x", "127.0.0.1:x"),
        ("--networks", "host.example", "only addresses are allowed"),
        ("--networks", "::/0", "open relay"),
    ],
)
def test_a_wrong_flag_is_told_and_nothing_is_written(tmp_path: Path, flag: str, text: str, words: str) -> None:
    status, _, err = ringback("config", "init", tmp_path / "a.conf", *FLAGS_BUT[flag], flag, text)
    assert (status, words in err, list(tmp_path.iterdir())) == (64, True, []), err


def test_a_folder_that_cannot_be_written_and_a_source_that_cannot_be_read_are_told(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    status, _, err = ringback("config", "init", tmp_path / "file/a.conf", *FLAGS)
    assert (status, "Name another file" in err) == (73, True)
    status, _, err = ringback("config", "init", tmp_path / "a.conf", *FLAGS, "--from", tmp_path / "gone")
    assert (status, "gone is not there" in err) == (66, True)
