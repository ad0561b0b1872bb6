"""The log: events only, harmless to read, and never in the way of the mail."""

from __future__ import annotations

import asyncio
import json
import os
import re
import resource
import signal
import subprocess
from contextlib import suppress
from pathlib import Path

import pytest

from tests.support.events import undeclared
from tests.support.programs import accepts_connections
from tests.support.ringback import EX_CONFIG, Ringback, Setup, command, environment, run
from tests.support.waiting import eventually
from tests.support.world import Stage

pytestmark = pytest.mark.real("dnsmasq")


async def test_the_log_has_only_events_and_escapes_what_strangers_say(stage: Stage) -> None:
    ringback = await stage.ringback(stage.nobody_listens())
    async with await ringback.conversation() as client:
        await client.send_raw(b"EHLO \x1b[31mred\x07\r\n")
        await client.reply()
        await client.send_raw(b'MAIL FROM:<"\x1b]0;title\x07"@ok.test>\r\n')
        await client.reply()
        await client.send_raw(b'XYZZY {"event": "forged"}\x00\x9b31m\r\n')
        await client.reply()
        await client.close()
    await asyncio.to_thread(ringback.stop)
    raw = ringback.program.stderr.read_bytes()
    assert [event for event in ringback.log if event["event"] in {"unstructured", "forged"}] == []
    assert re.search(rb"[\x00-\x09\x0b-\x1f\x7f]|\xc2[\x80-\x9f]", raw) is None


async def test_a_log_that_cannot_be_written_does_not_touch_the_mail(stage: Stage) -> None:
    """As on a full disk. A message that the upstream took and whose client hears no 250 would come twice."""
    upstream = await stage.upstream()
    await stage.exchanger("ok.test")
    ringback = await stage.ringback(upstream.port)
    for process in ringback.program.group():
        resource.prlimit(process, resource.RLIMIT_FSIZE, (0, 0))
    async with await ringback.conversation() as client:
        for sender in ("", "a@ok.test"):
            assert (await client.deliver(sender, ["b@example.com"], b"Subject: unlogged\r\n\r\n")).startswith("250 ")
        assert (await client.quit()).startswith("221 ")
    assert len(upstream.messages) == 2


async def _one_message(ringback: Ringback) -> None:
    async with await ringback.conversation() as client:
        assert (await client.deliver("", ["b@example.com"], b"Subject: logged\r\n\r\n")).startswith("250 ")
        await client.quit()


def _open_files(ringback: Ringback, folder: Path) -> set[str]:
    links = [link for process in ringback.program.group() for link in Path(f"/proc/{process}/fd").iterdir()]
    found = set()
    for link in links:
        with suppress(FileNotFoundError):  # it is closed by now
            found.add(str(link.readlink()))
    return {name for name in found if name.startswith(f"{folder}/log")}


WARNS = 'Spool_Directory = "/nonexistent"'
"""An option that is warned about at the start."""


@pytest.mark.parametrize("workers", [1, 2])
async def test_a_renamed_log_file_is_opened_again_by_all_processes_and_loses_no_line(
    stage: Stage, tmp_path: Path, workers: int
) -> None:
    upstream = await stage.upstream()
    path, kept = tmp_path / "log", tmp_path / "log.1"
    ringback = await stage.ringback(upstream.port, core=(f'Log_File = "{path}"', f"Workers = {workers}"))
    for _ in range(6):
        await _one_message(ringback)
    path.rename(kept)
    await _one_message(ringback)  # into the renamed file
    ringback.program.process.send_signal(signal.SIGUSR1)

    await eventually(lambda: _open_files(ringback, tmp_path) == {str(path)}, "each process has the new file")
    for _ in range(6):
        await _one_message(ringback)
    await asyncio.to_thread(ringback.stop)
    old, new = ([json.loads(line) for line in each.read_text().splitlines()] for each in (kept, path))
    counts = [sum(line["event"] == "message" for line in lines) for lines in (old, new)]
    assert (sum(counts), all(counts)) == (13, True)
    assert [line["event"] for line in (*old, *new) if line["event"] == "serving"] == ["serving"]
    assert new[-1]["event"] == "supervisor_stopped"
    assert undeclared([*old, *new]) == []
    assert ringback.program.stderr.read_text() == ""


LINES = {
    "logfmt": r"timestamp=\S+ level=\w+ event=\w+( \w+=(\"([^\"\\]|\\.)*\"|\S+))*",
    "console": r"\d\d:\d\d:\d\d\.\d\d\d (info|warning|error) +\S.*",
}


@pytest.mark.parametrize("chosen", LINES)
async def test_the_whole_stream_is_in_the_chosen_format_from_the_first_line(stage: Stage, chosen: str) -> None:
    upstream = await stage.upstream()
    ringback = await stage.ringback(upstream.port, core=(f"Log_Format = {chosen}", WARNS))
    await _one_message(ringback)
    ringback.program.process.send_signal(signal.SIGHUP)
    await eventually(lambda: "took effect" in _stderr(ringback) or "event=reloaded" in _stderr(ringback), "a reload")
    assert await asyncio.to_thread(ringback.program.stop) == 0
    lines = _stderr(ringback).splitlines()
    assert "Spool_Directory" in lines[0]
    assert [line for line in lines if not re.fullmatch(LINES[chosen], line)] == []


def _stderr(ringback: Ringback) -> str:
    return ringback.program.stderr.read_text()


def _started(arguments: list[str], terminal: int) -> subprocess.Popen[bytes]:
    return subprocess.Popen(arguments, stderr=terminal, env={**os.environ, **environment()})


async def test_on_a_terminal_the_log_is_sentences(tmp_path: Path) -> None:
    setup = Setup(upstream_port=1, nameserver="127.0.0.1:9")
    ours, theirs = os.openpty()
    with os.fdopen(ours, "rb", 0) as screen:
        arguments = command("serve", "-c", str(setup.write(tmp_path)))
        server = await asyncio.to_thread(_started, arguments, theirs)
        os.close(theirs)
        try:
            await eventually(lambda: accepts_connections("127.0.0.1", setup.listen_port), "it serves")
            server.terminate()
            assert await asyncio.to_thread(server.wait, 15) == 0
        finally:
            server.kill()
        seen = screen.read(4096).decode()
    assert re.search(r"info +Ringback listens on 127\.0\.0\.1:\d+ and relays to ", seen)


async def test_a_level_leaves_events_out_in_a_room_of_its_own(stage: Stage) -> None:
    upstream = await stage.upstream()
    ringback = await stage.ringback(upstream.port, core=('Log_Level = "warning, smtp=info"',))
    await _one_message(ringback)
    await asyncio.to_thread(ringback.stop)
    assert {event["event"] for event in ringback.log} == {"session", "message", "recipient"}


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ('Log_Level = "loud"', "loud"),
        ('Log_Level = "info, nothing=debug"', "rooms: "),
        ('Log_File = "/nonexistent/log"', "not a writable folder"),
        ('Log_Format = journald\nLog_File = "/tmp/log"', "remove Log_File"),
    ],
)
def test_what_the_log_cannot_be_is_an_error_of_the_configuration(tmp_path: Path, line: str, said: str) -> None:
    setup = Setup(upstream_port=1, nameserver="127.0.0.1:9", core=(line,))
    status, printed = run("check", str(setup.write(tmp_path)), folder=tmp_path)
    assert (status, said in printed) == (EX_CONFIG, True), printed
