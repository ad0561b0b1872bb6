"""What an operator hears of an `smtp_cbv` stanza that cannot be used as it is, word for word."""

from __future__ import annotations

from pathlib import Path
from typing import cast

import pytest

from config.diagnostics import render
from proxy.app import load
from proxy.base.rejected import ConfigurationRejected
from proxy.callback.classify import REASONS
from proxy.modules.smtp_cbv.making import callbacks_of
from proxy.modules.smtp_cbv.options import SmtpCbvOptions
from proxy.options.store import MEMORY

HEAD = 'ESMTP_Listener = ( 127.0.0.1:0 ) Relay_Domains = a.test\nHostname = "ringback.test"\nsmtp_cbv passive {\n'


def complaints(folder: Path, *lines: str) -> str:
    """Return what is said of a stanza with these lines; its folder is written as `@`."""
    path = folder / "r.conf"
    path.write_text(HEAD + "".join(f"  {line}\n" for line in lines) + '}\nGateway = "192.0.2.1"\n')
    try:
        found = load(path)[1]
    except ConfigurationRejected as rejected:
        found = rejected.diagnostics
    return render(found).replace(str(folder), "@").rstrip()


@pytest.mark.parametrize(
    "lines",
    [
        [],
        ['mailfrom = "<>"', 'mailfrom_fallback = "<probe@ringback.test>"'],
        ['bind_address = ( "192.0.2.1" "2001:db8::1" )'],
        ["wait = 60"],
    ],
)
def test_nothing_is_said_of_a_stanza_that_can_be_used(tmp_path: Path, lines: list[str]) -> None:
    assert complaints(tmp_path, *lines) == ""


@pytest.mark.parametrize("name", ["mailfrom", "mailfrom_fallback"])
def test_a_sender_that_is_no_address(tmp_path: Path, name: str) -> None:
    line = f'{name} = "probe at home"'
    assert (
        complaints(tmp_path, line)
        == f"""\
@/r.conf:4:{len(name) + 6}: error: not a mail address: probe at home
    4 |   {line}
      | {" " * (len(name) + 5)}^{"~" * 14}
  hint: write local-part@domain, or omit the option for the null sender"""
    )


def test_an_address_to_leave_from_that_is_none(tmp_path: Path) -> None:
    assert (
        complaints(tmp_path, 'bind_address = ( "here" )')
        == """\
@/r.conf:4:18: error: not an IP address: here
    4 |   bind_address = ( "here" )
      |                  ^~~~~~~~~~"""
    )


def test_two_addresses_of_one_family_to_leave_from(tmp_path: Path) -> None:
    assert (
        complaints(tmp_path, 'bind_address = ( "192.0.2.1" "::1" "192.0.2.2" )')
        == """\
@/r.conf:4:18: error: two addresses of the same family
    4 |   bind_address = ( "192.0.2.1" "::1" "192.0.2.2" )
      |                  ^~~~~~~~~~~~~~~~~~~~~~~~~~~~~~~~~
  hint: give one IPv4 and one IPv6 address at most"""
    )


def test_a_wait_that_no_client_has_is_a_warning(tmp_path: Path) -> None:
    assert (
        complaints(tmp_path, "wait = 90")
        == """\
@/r.conf:4:10: warning: Wait = 90s exceeds typical client patience
    4 |   wait = 90
      |          ^~
  hint: use a shorter Wait: the probe goes on after it, and its verdict is cached"""
    )


def test_a_secret_that_cannot_be_read_or_is_short(tmp_path: Path) -> None:
    (tmp_path / "secret").write_text("0123456789abcde\n")
    (tmp_path / "secret").chmod(0o600)
    assert (
        complaints(tmp_path, 'store_secret = "secret"')
        == """\
@/r.conf:4:18: error: the secret is shorter than 16 octets
    4 |   store_secret = "secret"
      |                  ^~~~~~~~
  hint: make one with: openssl rand -hex 32"""
    )
    assert (
        complaints(tmp_path, 'store_secret = "gone"')
        == """\
@/r.conf:4:18: error: the secret cannot be read: No such file or directory
    4 |   store_secret = "gone"
      |                  ^~~~~~"""
    )
    (tmp_path / "secret").write_text("0123456789abcdef\n")
    assert complaints(tmp_path, 'store_secret = "secret"') == ""


def test_a_table_that_cannot_be_read(tmp_path: Path) -> None:
    assert (
        complaints(tmp_path, 'reply_texts = "gone"')
        == """\
@/r.conf:4:17: error: the table cannot be read: No such file or directory
    4 |   reply_texts = "gone"
      |                 ^~~~~~"""
    )


@pytest.mark.parametrize(
    ("table", "said"),
    [
        (
            "# ours\n\n  rude go away\n",
            [
                f"@/table:3:3: error: unknown reason: rude; use one of {', '.join(REASONS)}",
                "    3 |   rude go away",
                "      |   ^~~~",
            ],
        ),
        (
            "policy",
            ["@/table:1:7: error: the regular expression is missing", "    1 | policy", "      |       ^"],
        ),
        (
            "disabled gone\r\npolicy   (away\r\n",
            [
                "@/table:2:10: error: not a regular expression (RE2): missing ): (away",
                "    2 | policy   (away",
                "      |          ^~~~~",
            ],
        ),
        (
            "policy ü\x0c\npolicy **",
            [
                "@/table:2:7: error: not a regular expression (RE2): no argument for repetition operator: *",
                "    2 | policy **",
                "      |       ^~",
            ],
        ),
    ],
)
def test_a_table_with_a_line_that_is_no_rule(tmp_path: Path, table: str, said: list[str]) -> None:
    (tmp_path / "table").write_bytes(table.encode())
    assert complaints(tmp_path, 'reply_texts = "table"').splitlines() == said


@pytest.mark.parametrize("table", [b"\xef\xbb\xbfpolicy a", b"policy \xe4\n"])
async def test_a_table_from_another_system_is_read_as_it_was_checked(tmp_path: Path, table: bytes) -> None:
    (tmp_path / "table").write_bytes(table)
    assert complaints(tmp_path, 'reply_texts = "table"') == ""
    assembly, _ = load(tmp_path / "r.conf")
    (stanza,) = assembly.settings.modules
    callbacks = callbacks_of(cast(SmtpCbvOptions, stanza.options).model_copy(update={"store": MEMORY}), assembly.core)
    await callbacks.close()
