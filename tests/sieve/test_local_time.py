"""The server's time zone in the date tests of standard Sieve (RFC 5260, 4.1)."""

from __future__ import annotations

import time
from collections.abc import Iterator

import pytest

from sieve.compile.compiler import compile_script
from tests.sieve.plain_host import PlainHost, PlainMessage

MESSAGE = "Date: Tue, 01 Jul 1997 09:06:31 +0000\n\n"


@pytest.fixture
def in_new_york(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setenv("TZ", "EST5EDT,M4.1.0,M10.5.0")
    time.tzset()
    yield
    monkeypatch.undo()
    time.tzset()


@pytest.mark.usefixtures("in_new_york")
@pytest.mark.parametrize(
    "test",
    [
        'date "date" "hour" "05"',
        'date "date" "zone" "-0400"',
        'date "date" "iso8601" "1997-07-01T05:06:31-04:00"',
        'currentdate "zone" "-0400"',
        'currentdate "hour" "11"',
    ],
)
async def test_without_a_zone_the_local_time_zone_is_used(test: str) -> None:
    script = compile_script(f'require "date"; if {test} {{ discard; }}', dialect="rfc5228").script
    assert script is not None
    assert (await script.run(PlainHost(message=PlainMessage(MESSAGE)))).discard
