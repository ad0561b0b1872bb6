"""Mail that programs read differently, and what a script that looks for it finds: the table `readings.tsv`.

In a message `\\n` is CRLF; `\\t`, `\\r`, `\\\\` and `\\xff` are what they are in Python. `<<base64 …>>` is the text in
base64, `<<80000 y>>` 80,000 of them.

`filename` is found by `ec_mime_parts`, `body` and `html` by `body`, in both languages.
"""

from __future__ import annotations

import base64
import re
from pathlib import Path
from typing import Literal

import pytest

from config.diagnostics import Source, render
from sieve.compile.compiler import compile_script
from sieve.phases import Phase
from tests.sieve.plain_host import PlainHost, PlainMessage

TESTS = {
    "filename": 'ec_mime_parts :is "filename"',
    "body": "body :contains",
    "html": 'body :content "text/html" :contains',
}
_ESCAPES = {b"n": b"\r\n", b"t": b"\t", b"r": b"\r", b"\\": b"\\"}
_ESCAPE = re.compile(rb"\\(x[0-9a-f]{2}|[ntr\\])")
_MADE = re.compile(rb"<<(base64|[0-9]+) (.*?)>>", re.DOTALL)


def octets(cell: str) -> bytes:
    """Return what a cell of the table means."""
    raw = _ESCAPE.sub(lambda each: _ESCAPES.get(each[1]) or bytes([int(each[1][1:], 16)]), cell.encode())

    def made(found: re.Match[bytes]) -> bytes:
        return base64.b64encode(found[2]) if found[1] == b"base64" else found[2] * int(found[1])

    return _MADE.sub(made, raw)


def rows() -> list[list[str]]:
    """Return the rows below the head."""
    return [line.split("\t") for line in Path(__file__).with_name("readings.tsv").read_text("utf-8").splitlines()[1:]]


ROWS = [pytest.param(*row[1:], id=row[0]) for row in rows()]


async def found(message: str, test: str, wanted: str, dialect: Literal["sieve++", "rfc5228"] = "sieve++") -> bool:
    """Tell whether a script's test finds something in a message."""
    head = 'require "body"; ' if dialect == "rfc5228" else ""
    key = octets(wanted).decode().replace("\\", "\\\\").replace('"', '\\"')
    compiled = compile_script(
        Source("test.siv", f'{head}if {test} "{key}" {{ discard; }}'), phase=Phase.DATA, dialect=dialect
    )
    assert compiled.script is not None, render(compiled.diagnostics)
    outcome = await compiled.script.run(PlainHost(message=PlainMessage("", octets(message))))
    assert not outcome.failed
    return outcome.discard


@pytest.mark.parametrize(("message", "looked_at", "wanted"), ROWS)
async def test_a_script_finds_what_a_program_shows(message: str, looked_at: str, wanted: str) -> None:
    assert await found(message, TESTS[looked_at], wanted)


@pytest.mark.parametrize(("message", "looked_at", "wanted"), [row for row in ROWS if row.values[1] in {"body", "html"}])
async def test_standard_sieve_finds_it_too(message: str, looked_at: str, wanted: str) -> None:
    assert await found(message, TESTS[looked_at], wanted, "rfc5228")
