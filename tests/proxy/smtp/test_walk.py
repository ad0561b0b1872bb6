"""The walk of one MAIL FROM line, from the socket to policy and back: it can be followed in ten minutes.

The policy is the customer's script, and the sender's verdict is remembered. Every function of the project counts that
has its text in a file; the constructors that `dataclasses` writes have none.
"""

from __future__ import annotations

import re
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
OF_THE_SESSION = ("proxy/smtp/", "proxy/mail/", "proxy/base/")
OF_THE_TESTS = f"{ROOT}/proxy/events/"
"""Only tests compare events with their declarations as they are logged."""
MOST_FILES, MOST_FUNCTIONS = 8, 22
"""Of the session."""
MOST_FILES_IN_ALL, MOST_FUNCTIONS_IN_ALL = 20, 57
"""With the script and the callback. These may only fall."""
STEP = re.compile(r"\[`([\w.]+)`\]\(\.\./([\w/]+\.py)\)")

Walk = dict[CodeType, str]
"""The functions in the order in which they were first called, each with its file."""


@contextmanager
def walked(walk: Walk) -> Iterator[None]:
    """Note which functions of the project run."""

    def note(frame: FrameType, event: str, _argument: Any) -> None:
        path = frame.f_code.co_filename
        if event == "call" and path.startswith(PACKAGES) and not path.startswith(OF_THE_TESTS):
            walk.setdefault(frame.f_code, path.removeprefix(f"{ROOT}/"))

    sys.setprofile(note)
    try:
        yield
    finally:
        sys.setprofile(None)


@pytest.fixture
async def walk(tmp_path: Path) -> Walk:
    """One MAIL line of a session that has sent it before."""
    found: Walk = {}
    async with Exchanger() as upstream, Exchanger("127.0.0.1") as exchanger:
        settings = Configuration(tmp_path, upstream.port, exchanger.port)
        settings.callback("allow_networks = ( 127.0.0.0/8 )").scripts(mailfrom_phase1=PRINTED_SCRIPT)
        async with client_of(settings) as client:
            assert await client.ask(f"MAIL FROM:<{ALICE}>") == "250 2.1.0 Sender OK"
            assert await client.ask("RSET") == "250 2.0.0 OK"
            with walked(found):
                assert await client.ask(f"MAIL FROM:<{ALICE}>") == "250 2.1.0 Sender OK"
            assert exchanger.count("RCPT") == 1, "the verdict was remembered"
    return found


async def test_one_mail_line_touches_few_files_and_functions(walk: Walk, capsys: pytest.CaptureFixture[str]) -> None:
    own = {code: path for code, path in walk.items() if path.startswith(OF_THE_SESSION)}
    files, everywhere = set(own.values()), set(walk.values())
    with capsys.disabled():
        sys.stdout.write(f"\nthe walk of one MAIL line: {len(everywhere)} files, {len(walk)} functions; ")
        sys.stdout.write(f"of the session: {len(files)} files, {len(own)} functions\n")
    assert len(files) <= MOST_FILES, sorted(files)
    assert len(own) <= MOST_FUNCTIONS, sorted(f"{path}:{code.co_qualname}" for code, path in own.items())
    assert len(everywhere) <= MOST_FILES_IN_ALL, sorted(everywhere)
    assert len(walk) <= MOST_FUNCTIONS_IN_ALL, sorted(f"{path}:{code.co_qualname}" for code, path in walk.items())


async def test_the_page_tells_the_walk_in_its_order(walk: Walk) -> None:
    page = (ROOT / "docs/internals.md").read_text()
    told = STEP.findall(page.partition("## One MAIL FROM line")[2].partition("\n## ")[0])
    assert list(dict.fromkeys(path for _, path in told)) == list(dict.fromkeys(walk.values()))
    names = {(part, path) for code, path in walk.items() for part in (code.co_qualname, *code.co_qualname.split("."))}
    modules = {(Path(path).stem, path) for path in walk.values()}
    assert set(told) <= names | modules, "each link names a function of the walk, its class, or its module"
