"""What a start and a reload say goes through the log, in its format, and without anybody's password."""

from __future__ import annotations

import json
import signal
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from tests.support.exchanger import Exchanger
from tests.support.house import House
from tests.support.ringback import Ringback
from tests.support.waiting import eventually

SECRET = "hunter2"


@pytest.fixture
async def upstream() -> AsyncIterator[Exchanger]:
    async with Exchanger() as server:
        yield server


def events(ringback: Ringback, name: str) -> list[dict[str, object]]:
    return [each for each in ringback.log if each["event"] == name]


async def reloaded(ringback: Ringback, event: str, times: int = 1) -> list[dict[str, object]]:
    ringback.program.process.send_signal(signal.SIGHUP)
    return await eventually(
        lambda: found if len(found := events(ringback, event)) >= times else [], f"{event} in the log"
    )


async def test_warnings_of_a_start_and_of_a_reload_are_lines_of_the_log(upstream: Exchanger, tmp_path: Path) -> None:
    lines = ("Relay_Hosts = ( 0.0.0.0/0 )",)
    ringback = await Ringback(House(upstream_port=upstream.port, lines=lines), tmp_path).started()
    try:
        (told,) = events(ringback, "configuration_warning")
        assert told["level"] == "warning"
        assert told["file"] == str(ringback.configuration)
        assert (told["message"], told["text"]) == (
            "Relay_Hosts: every host in 0.0.0.0/0 may send to any domain",
            "Relay_Hosts = ( 0.0.0.0/0 )",
        )
        assert isinstance(told["line"], int)
        assert told["hint"]
        (event,) = await reloaded(ringback, "reloaded")
        assert event["warnings"] == 1
        assert len(events(ringback, "configuration_warning")) == 2
    finally:
        ringback.stop()
    for line in ringback.program.stderr.read_text().splitlines():
        json.loads(line)


@pytest.mark.parametrize(
    "store",
    [
        "redis://user:hunter2@store.test:99999999/0",
        "redis://:hun/hunter2@store.test/0",
        "redis://:hunter2",
        "redis:/hunter2@store.test",
        ":hunter2@store.test",
        "hunter2",
        "rediss://user:hunter2@store.test/0?authorities=/nowhere.pem",
    ],
    ids=["port", "slash", "no_host", "one_slash", "no_scheme", "alone", "authorities"],
)
async def test_a_mistake_in_the_stores_url_tells_nobody_its_password(
    upstream: Exchanger, tmp_path: Path, store: str
) -> None:
    ringback = await Ringback(House(upstream_port=upstream.port), tmp_path).started()
    try:
        with ringback.configuration.open("a") as file:
            file.write(f'smtp_cbv passive {{\n  store = "{store}"\n}}\n')
        (rejected,) = await reloaded(ringback, "reload_rejected")
        assert "store = " in str(rejected["diagnostics"])
    finally:
        ringback.stop()
    assert SECRET not in ringback.program.printed()


async def test_a_line_that_cannot_be_read_tells_no_password_either(upstream: Exchanger, tmp_path: Path) -> None:
    ringback = await Ringback(House(upstream_port=upstream.port), tmp_path).started()
    try:
        with ringback.configuration.open("a") as file:
            file.write('smtp_cbv passive {\n  store = "redis://:hunter2@store.test/0" extra\n}\n')
        await reloaded(ringback, "reload_rejected")
    finally:
        ringback.stop()
    assert SECRET not in ringback.program.printed()
