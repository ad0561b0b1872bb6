"""The walk of one MAIL FROM line, from the socket to policy and back: it can be followed in ten minutes.

The policy is the customer's script, and the sender's verdict is remembered.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import CodeType, FrameType
from typing import Any

import pytest

from tests.support.exchanger import Exchanger
from tests.support.ringback import PRINTED_SCRIPT
from tests.support.worker import ALICE, Configuration, client_of

ROOT = Path(__file__).parents[3]
PACKAGES = tuple(f"{ROOT}/{package}/" for package in ("config", "sieve", "proxy"))
OF_THE_SESSION = tuple(f"{ROOT}/{room}/" for room in ("proxy/smtp", "proxy/mail", "proxy/base"))
OF_THE_TESTS = f"{ROOT}/proxy/events/"
"""Only tests compare events with their declarations as they are logged."""
MOST_FILES, MOST_FUNCTIONS = 12, 23
"""Of the session."""
MOST_FILES_IN_ALL, MOST_FUNCTIONS_IN_ALL = 32, 62
"""With the script and the callback. These may only fall."""


@contextmanager
def walked(codes: set[CodeType]) -> Iterator[None]:
    """Note which functions of the project run."""

    def note(frame: FrameType, event: str, _argument: Any) -> None:
        path = frame.f_code.co_filename
        if event == "call" and path.startswith(PACKAGES) and not path.startswith(OF_THE_TESTS):
            codes.add(frame.f_code)

    sys.setprofile(note)
    try:
        yield
    finally:
        sys.setprofile(None)


async def test_one_mail_line_touches_few_files_and_functions(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    codes: set[CodeType] = set()
    async with Exchanger() as upstream, Exchanger("127.0.0.1") as exchanger:
        settings = Configuration(tmp_path, upstream.port, exchanger.port)
        settings.callback("allow_networks = ( 127.0.0.0/8 )").scripts(mailfrom_phase1=PRINTED_SCRIPT)
        async with client_of(settings) as client:
            assert await client.ask(f"MAIL FROM:<{ALICE}>") == "250 2.1.0 Sender OK"
            assert await client.ask("RSET") == "250 2.0.0 OK"
            with walked(codes):
                assert await client.ask(f"MAIL FROM:<{ALICE}>") == "250 2.1.0 Sender OK"
            assert exchanger.count("RCPT") == 1, "the verdict was remembered"
    walk = {code for code in codes if code.co_filename.startswith(OF_THE_SESSION)}
    files = {code.co_filename for code in walk}
    everywhere = len({code.co_filename for code in codes})
    with capsys.disabled():
        sys.stdout.write(f"\nthe walk of one MAIL line: {everywhere} files, {len(codes)} functions; ")
        sys.stdout.write(f"of the session: {len(files)} files, {len(walk)} functions\n")
    assert len(files) <= MOST_FILES, sorted(files)
    assert len(walk) <= MOST_FUNCTIONS, sorted(f"{code.co_filename}:{code.co_qualname}" for code in walk)
    assert everywhere <= MOST_FILES_IN_ALL
    assert len(codes) <= MOST_FUNCTIONS_IN_ALL
