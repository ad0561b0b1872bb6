"""The console's socket: whatever is asked, there is an answer, and a mistake of a person is no fault in the log."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
import structlog

from proxy.console.client import Client
from proxy.console.desk import Desk
from proxy.console.errors import Refused
from proxy.console.people import Doorman
from proxy.console.places import NAME
from proxy.console.registry import Call, Command, Commands
from proxy.console.results import Result
from tests.support.waiting import BOUND


async def _version(_call: Call) -> Result:
    return Result(1, "one")


async def _follow(_call: Call) -> AsyncGenerator[Result, None]:
    raise Refused("this is not a filter")
    yield Result(1)


async def _says(call: Call) -> Result:
    return Result([*call.arguments, *call.texts.values()])


async def _breaks(_call: Call) -> AsyncGenerator[Result, None]:
    yield Result(1, "one")
    raise RuntimeError("a fault of ours")


async def _numbers(_call: Call) -> AsyncGenerator[Result, None]:
    for number in range(1000):
        yield Result(number, f"number {number}")
        await asyncio.sleep(0)
    await asyncio.Event().wait()


async def _replaced(_call: Call) -> Result:
    return Result(1, "the last one", replaced=True)


COMMANDS = (
    Command("numbers", "Count.", follow=_numbers),
    Command("replaced", "Say it, and leave.", _replaced),
    Command("version", "Say it.", _version),
    Command("says", "Repeat it.", _says, arguments="WORD"),
    Command("tail", "Follow.", follow=_follow, arguments="[FILTER] […]"),
    Command("breaks", "Break.", follow=_breaks),
)


@asynccontextmanager
async def asked(folder: Path, *lines: bytes) -> AsyncIterator[list[bytes]]:
    """Yield the answer to each line, over one connection: a text up to its dot, or the last line of JSON."""
    desk = Desk([folder], Doorman.ours((), ()), Commands(COMMANDS))
    await desk.start()
    reader, writer = await asyncio.open_unix_connection(folder / NAME)
    await reader.readline()
    answers = []
    try:
        async with asyncio.timeout(BOUND):
            for line in lines:
                writer.write(line + b"\n")
                answer = [await reader.readline()]
                while answer[-1] not in {b".\n", b""} and not answer[-1].startswith(b'{"ok"'):
                    answer.append(await reader.readline())
                answers.append(b"".join(answer))
        yield answers
    finally:
        writer.close()
        await desk.stop()


@pytest.mark.parametrize(
    "question",
    [b'{"a":' * 10_000, b'{"command": "version", "texts": 5}', b'{"command": "version", "texts": "abc"}',
     b'{"command": "version", "texts": [1]}', b"{", b'{"command": 5}', b'{"command": "' + b"9" * 6000 + b'"}'],
    ids=["deep", "number", "text", "list", "open", "no text", "long"],
)  # fmt: skip
async def test_a_malformed_question_is_answered_and_the_connection_goes_on(tmp_path: Path, question: bytes) -> None:
    with structlog.testing.capture_logs() as logged:
        async with asked(tmp_path, question, b"version") as (refused, version):
            assert json.loads(refused)["ok"] is False
            assert version == b"one\n.\n"
    assert logged == []


async def test_a_wrong_filter_is_told_to_its_person_and_is_no_fault_in_the_log(tmp_path: Path) -> None:
    with structlog.testing.capture_logs() as logged:
        async with asked(tmp_path, b"tail x", b'{"command": "tail"}') as (text, value):
            assert text == b"this is not a filter\n.\n"
            assert json.loads(value) == {"ok": False, "error": "this is not a filter"}
    assert logged == []


async def test_a_form_is_asked_for_by_the_first_word(tmp_path: Path) -> None:
    async with asked(tmp_path, b"xml version", b"json version", b"xml nothing") as answers:
        assert [each.partition(b"\n")[0] for each in answers[:2]] == [b"<version>1</version>", b"1"]
        assert answers[2].startswith(b"<nothing><ok>false</ok><error>")


async def test_a_stream_that_fails_is_logged_once_and_its_person_is_told(tmp_path: Path) -> None:
    with structlog.testing.capture_logs() as logged:
        async with asked(tmp_path, b"breaks", b"version") as (text, version):
            assert text == b"one\nbreaks failed: RuntimeError; the log says more\n.\n"
            assert version == b"one\n.\n"
    assert [each["event"] for each in logged] == ["console_failed"]


async def test_what_cannot_be_encoded_is_escaped_in_json_as_in_a_line(tmp_path: Path) -> None:
    question = rb"""{"command": "says '\ud800x'", "json": true, "texts": {"a": "\udcff"}}"""
    async with asked(tmp_path, question) as (answer,):
        said = json.loads(answer.partition(b"\n")[0])
        assert said == {"value": [r"\ud800x", r"\udcff"]}


def _told(client: Client, line: str) -> list[list[str]]:
    return list(client.ask(line))


@asynccontextmanager
async def connected(folder: Path) -> AsyncIterator[tuple[Client, Desk]]:
    desk = Desk([folder], Doorman.ours((), ()), Commands(COMMANDS))
    await desk.start()
    client = await asyncio.to_thread(Client, [folder])
    try:
        yield client, desk
    finally:
        client.close()
        await desk.stop()


async def test_what_is_left_of_a_stream_that_was_stopped_is_no_answer_to_the_next_command(tmp_path: Path) -> None:
    async with connected(tmp_path) as (client, _):

        def first() -> list[str]:
            for lines in client.ask("numbers", follows=True):
                client.stop()
                return list(lines)
            return []

        assert await asyncio.to_thread(first) == ["number 0"]
        assert await asyncio.to_thread(_told, client, "version") == [["one"]]


@pytest.mark.parametrize("told", [True, False])
async def test_the_next_command_goes_to_the_successor_of_the_process_that_left(tmp_path: Path, *, told: bool) -> None:
    async with connected(tmp_path) as (client, desk):
        assert await asyncio.to_thread(_told, client, "replaced" if told else "version")
        successor = Desk([tmp_path], Doorman.ours((), ()), Commands(COMMANDS))
        asked = asyncio.get_running_loop().run_in_executor(None, _told, client, "version") if told else None
        await desk.stop()
        await successor.start()
        try:
            assert await (asked or asyncio.to_thread(_told, client, "version")) == [["one"]]
        finally:
            client.close()
            await successor.stop()
