"""Files that an operator names must be regular: a FIFO without a writer would hold up whoever opens it for ever."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from tests.support.ringback import ended

BOUND = 60
"""Seconds after which a command is taken for hung; none comes near it."""

BASE = """\
ESMTP_Listener = ( 127.0.0.1:0 )
Hostname = ringback.test
Relay_Domains = ( example.com )
Gateway = 192.0.2.25
"""


@pytest.fixture
def fifo(tmp_path: Path) -> Path:
    path = tmp_path / "fifo"
    os.mkfifo(path)
    return path


def test_check_of_a_configuration_that_is_a_fifo_ends(fifo: Path) -> None:
    status, _, told = ended("check", fifo, within=BOUND)
    assert (status, "neither a file nor a folder" in told) == (78, True), told


@pytest.mark.parametrize(
    ("lines", "told"),
    [
        pytest.param('sieve {{\n  mailfrom_phase1 = "{fifo}"\n}}\n', "Not a regular file", id="script"),
        pytest.param('TLS_Certificate = "{fifo}"\n', "Not a regular file", id="certificate"),
        pytest.param('Authentication = file\nAuthentication_File = "{fifo}"\n', "Not a regular file", id="users"),
        pytest.param('include "{fifo}"\n', "neither a file nor a folder", id="include"),
        pytest.param('smtp_cbv {{\n  store_secret = "{fifo}"\n}}\n', "Not a regular file", id="store_secret"),
        pytest.param(
            'TLS_Certificate = "{fifo}"\nTLS_Client_CA = "{fifo}"\n', "Not a regular file", id="client_authorities"
        ),
    ],
)
def test_check_of_a_file_that_is_a_fifo_names_it(fifo: Path, tmp_path: Path, lines: str, told: str) -> None:
    path = tmp_path / "r.conf"
    path.write_text(BASE + lines.format(fifo=fifo))
    status, _, printed = ended("check", path, within=BOUND)
    assert status == 78, printed
    assert told in printed


@pytest.mark.parametrize(
    "arguments",
    [
        pytest.param(("sieve", "run", "{script}", "--message", "{fifo}"), id="message"),
        pytest.param(("sieve", "run", "{fifo}"), id="script"),
        pytest.param(("sieve", "check", "{fifo}"), id="check"),
        pytest.param(("sieve", "format", "{fifo}"), id="format"),
        pytest.param(("probe", "--file", "{fifo}"), id="probe"),
        pytest.param(("config", "format", "{fifo}"), id="config_format"),
        pytest.param(("config", "show", "-c", "{fifo}"), id="config_show"),
    ],
)
def test_a_command_on_a_fifo_ends_with_a_message(fifo: Path, tmp_path: Path, arguments: tuple[str, ...]) -> None:
    (tmp_path / "s.siv").write_text('ec_log "x";\n')
    named = (each.format(fifo=fifo, script=tmp_path / "s.siv") for each in arguments)
    status, out, told = ended(*named, within=BOUND)
    assert status not in {0, 64}, out
    assert "fifo" in told
    assert "Traceback" not in told
