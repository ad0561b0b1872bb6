"""The log: one JSON line an event, and no foreign byte that could forge another."""

from __future__ import annotations

import cProfile
import io
import json
import os
import pstats
import select
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from queue import SimpleQueue
from typing import Any

import pytest
import structlog
from hypothesis import given, settings
from hypothesis import strategies as st

from proxy.base import log, log_output, sinks, writers
from proxy.base.lines import Renderer, Several
from proxy.base.log import get_logger, printable
from proxy.base.log_output import configure
from proxy.base.sinks import DescriptorSink, StreamSink


def written(stream: io.StringIO) -> str:
    """Return what was logged, once the log's thread has written it."""
    structlog.get_config()["logger_factory"]._file.close()
    return stream.getvalue()


@pytest.fixture
def lines() -> Iterator[io.StringIO]:
    stream = io.StringIO()
    configure(stream)
    yield stream
    structlog.reset_defaults()


def test_an_event_is_one_line_of_json(lines: io.StringIO) -> None:
    get_logger().info("session", client="192.0.2.1", seconds=0.5, recipients=["a", "b"])
    (line,) = written(lines).splitlines()
    event = json.loads(line)
    assert event.pop("timestamp").endswith("Z")
    assert event == {
        "event": "session",
        "level": "info",
        "client": "192.0.2.1",
        "seconds": 0.5,
        "recipients": ["a", "b"],
    }


def test_a_line_has_its_time_its_worker_and_the_name_of_its_level() -> None:
    stream = io.StringIO()
    configure(stream, worker=3)
    try:
        before = datetime.now(UTC)
        get_logger().warning("one")
        get_logger().exception("two")
        events = [json.loads(line) for line in written(stream).splitlines()]
    finally:
        structlog.reset_defaults()
    assert [(each["event"], each["level"], each["worker"]) for each in events] == [
        ("one", "warning", 3),
        ("two", "error", 3),
    ]
    assert before <= datetime.fromisoformat(events[0]["timestamp"]) <= datetime.fromisoformat(events[1]["timestamp"])


def test_no_byte_of_a_field_leaves_its_line_or_reaches_a_terminal(lines: io.StringIO) -> None:
    get_logger().info("x", text='a\r\n{"event":"forged"}\x1b[31m\x9b\u2028\udcff\0', odd=object)
    line = written(lines)
    assert line.count("\n") == 1
    assert all(" " <= char <= "~" for char in line.rstrip("\n"))
    assert json.loads(line)["text"].startswith("a\r\n")


def test_an_exception_is_told_in_the_same_line(lines: io.StringIO) -> None:
    get_logger().error("command_failed", exc_info=RuntimeError("why\nnot"))
    (line,) = written(lines).splitlines()
    assert "RuntimeError: why\nnot" in json.loads(line)["exception"]


def test_what_is_below_the_level_is_not_written() -> None:
    stream = io.StringIO()
    configure(stream, levels=log.Levels(50))
    try:
        get_logger().error("quiet")
        assert written(stream) == ""
    finally:
        structlog.reset_defaults()


@pytest.mark.parametrize(
    ("foreign", "text"),
    [
        ("plain text", "plain text"),
        (b"plain \xff\xc3\xbc", "plain \\xff\\xc3\\xbc"),
        ("caf\u00e9", "caf\\xe9"),
        ("a\r\nb\t\0\x1b\x7f", "a\\r\\nb\\t\\x00\\x1b\\x7f"),
        (b"a\r\nb", "a\\r\\nb"),
        ("\udcff", "\\udcff"),
        ("\u2028\u202e", "\\u2028\\u202e"),
        ("", ""),
    ],
)
def test_foreign_text_becomes_printable_ascii(foreign: str | bytes, text: str) -> None:
    assert printable(foreign) == text


def test_foreign_text_is_cut() -> None:
    assert printable("x" * 250) == "x" * 250
    assert printable("x" * 251) == "x" * 247 + "..."
    assert printable("x" * 20, 10) == "xxxxxxx..."


@settings(deadline=None)  # a busy machine is no failure
@given(st.one_of(st.text(), st.binary()), st.integers(3, 40))
def test_whatever_comes_is_printable_and_short(foreign: str | bytes, longest: int) -> None:
    text = printable(foreign, longest)
    assert len(text) <= longest
    assert all(" " <= char <= "~" for char in text)


def test_a_workers_number_stands_in_each_line() -> None:
    stream = io.StringIO()
    configure(stream, worker=3)
    get_logger().info("session")
    assert json.loads(written(stream))["worker"] == 3
    structlog.reset_defaults()


class Pieces(io.StringIO):
    """A stream that keeps what each single write gave it."""

    def __init__(self) -> None:
        super().__init__()
        self.pieces: list[str] = []

    def write(self, text: str) -> int:
        self.pieces.append(text)
        return len(text)


def test_lines_are_written_whole_and_in_pieces_that_a_pipe_takes_at_once() -> None:
    stream = Pieces()
    writer = writers.LogWriter(StreamSink(stream))
    lines = [f"{number:0999}\n" for number in range(20)] + ["x" * 5000 + "\n"]
    for line in lines:
        writer.write(line)
    writer.close()
    assert "".join(stream.pieces) == "".join(lines)
    assert all(piece.endswith("\n") for piece in stream.pieces)
    assert [piece for piece in stream.pieces if len(piece) > select.PIPE_BUF] == [lines[-1]]


def test_a_process_without_a_thread_logs_at_once(tmp_path: Path) -> None:
    path = tmp_path / "log"
    with path.open("w") as stream:
        configure(DescriptorSink(stream.fileno()), threaded=False)
        get_logger().info("serving", text="\u00e4" * 5000)
        assert json.loads(path.read_text())["text"] == "\u00e4" * 5000
    structlog.reset_defaults()


def test_a_process_without_a_thread_drops_lines_that_nobody_takes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sinks, "STUCK_SECONDS", 0.01)
    reader, end = os.pipe()
    writer = writers.DirectWriter(DescriptorSink(end))
    lines = 100
    for _ in range(lines):
        writer.write("x" * 4000 + "\n")
    assert 0 < writer.dropped < lines
    os.close(reader)
    writer.write("nobody reads\n")
    os.close(end)


VALUES = st.one_of(st.text(), st.integers(), st.booleans(), st.none(), st.integers(1, 10**9).map(lambda ms: ms / 1000))


@settings(deadline=None)  # a busy machine is no failure
@given(
    st.dictionaries(st.text("abc", min_size=1), st.one_of(VALUES, st.lists(VALUES), st.dictionaries(st.text(), VALUES)))
)
def test_a_line_is_what_json_dumps_would_write(fields: dict[str, Any]) -> None:
    stream = io.StringIO()
    configure(stream)
    try:
        get_logger().info("x", **fields)
        line = written(stream)
    finally:
        structlog.reset_defaults()
    event = json.loads(line)
    assert line == json.dumps(event, separators=(",", ":")) + "\n"
    assert list(event) == ["timestamp", "event", "level", *fields]
    assert fields.items() <= event.items()


def test_a_line_costs_its_caller_at_most_ten_calls(lines: io.StringIO) -> None:
    logger, profile = get_logger(), cProfile.Profile()
    logger.info("message", session="1", recipients=["a@b.example"], seconds=0.5, reply=None)
    profile.enable()
    for _ in range(100):
        logger.info("message", session="1", recipients=["a@b.example"], seconds=0.5, reply=None)
    profile.disable()
    assert pstats.Stats(profile).total_calls <= 10 * 100 + 10  # type: ignore[attr-defined]
    assert written(lines).count("\n") == 101


class CountedQueue(SimpleQueue[None]):
    """Counts how often the log's thread was woken from a sleep without deadline."""

    woken = 0

    def put(self, item: None, block: bool = True, timeout: float | None = None) -> None:  # noqa: FBT001, FBT002 — as in queue
        type(self).woken += 1
        super().put(item, block, timeout)


def test_a_burst_wakes_the_thread_once_and_the_thread_looks_once_in_its_interval(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    sleeps, go_on = SimpleQueue[float](), SimpleQueue[None]()

    def sleep(seconds: float) -> None:
        sleeps.put(seconds)
        go_on.get()

    monkeypatch.setattr(writers.time, "sleep", sleep)
    monkeypatch.setattr(writers, "SimpleQueue", CountedQueue)
    monkeypatch.setattr(CountedQueue, "woken", 0)
    stream = Pieces()
    writer = writers.LogWriter(StreamSink(stream))
    writer.write("the first is written at once\n")
    for burst in range(10):
        assert sleeps.get() == writers.BATCH_SECONDS == 1 / 20
        for number in range(100):
            writer.write(f"{burst} {number}\n")
        go_on.put(None)
    sleeps.get()
    assert CountedQueue.woken == 1
    assert stream.pieces == [
        "the first is written at once\n",
        *("".join(f"{burst} {number}\n" for number in range(100)) for burst in range(10)),
    ]
    go_on.put(None)
    writer.close()


def test_lines_of_many_threads_keep_their_order_and_none_is_lost_at_exit() -> None:
    stream = Pieces()
    writer = writers.LogWriter(StreamSink(stream))

    def speak(name: str) -> None:
        for number in range(1000):
            writer.write(f"{name} {number}\n")

    threads = [threading.Thread(target=speak, args=(name,)) for name in "abcd"]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    writer.close()
    lines = "".join(stream.pieces).splitlines()
    for name in "abcd":
        assert [line for line in lines if line[0] == name] == [f"{name} {number}" for number in range(1000)]
    assert writer.dropped == 0


def test_a_process_that_ends_has_written_all_its_lines() -> None:
    program = """
from proxy.base.log import get_logger
from proxy.base.log_output import configure
configure()
for number in range(500):
    get_logger().info("x", number=number)
"""
    ended = subprocess.run([sys.executable, "-c", program], stderr=subprocess.PIPE, check=True)
    assert [json.loads(line)["number"] for line in ended.stderr.splitlines()] == list(range(500))


class Stuck(Pieces):
    """A stream whose reader takes nothing until it is told to."""

    def __init__(self) -> None:
        super().__init__()
        self.reads, self.waits = threading.Event(), threading.Event()

    def write(self, text: str) -> int:
        self.waits.set()
        self.reads.wait()
        return super().write(text)


def test_a_stuck_reader_costs_lines_and_the_last_line_says_how_many(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(writers, "MOST_WAITING", 10)
    stream = Stuck()
    configure(stream, worker=2)
    try:
        get_logger().info("first")
        stream.waits.wait()
        for number in range(15):
            get_logger().info("x", number=number)
        stream.reads.set()
        log_output.close()
    finally:
        structlog.reset_defaults()
    events = [json.loads(line) for line in "".join(stream.pieces).splitlines()]
    assert [event.get("number") for event in events] == [None, *range(10), None]
    assert events[-1] == {
        "count": 5,
        "event": "log_dropped",
        "timestamp": events[-1]["timestamp"],
        "worker": 2,
        "level": "warning",
    }


def test_a_process_without_a_thread_says_at_its_end_how_many_lines_it_dropped(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(sinks, "STUCK_SECONDS", 0.01)
    reader, end = os.pipe()
    with os.fdopen(reader, "rb", 0) as pipe, os.fdopen(end, "w") as stream:
        configure(DescriptorSink(stream.fileno()), threaded=False)
        try:
            for _ in range(100):
                get_logger().info("x", text="x" * 4000)
            dropped = structlog.get_config()["logger_factory"]._file.dropped
            taken = pipe.read(1 << 20)
            log_output.close()
            log_output.close()
            last = pipe.read(1 << 20)
        finally:
            structlog.reset_defaults()
    assert taken.count(b"\n") == 100 - dropped < 100
    (line,) = last.splitlines()
    assert (json.loads(line)["event"], json.loads(line)["count"]) == ("log_dropped", dropped)


# ---------------------------------------------------------------- levels and the observer


def test_a_room_has_a_level_of_its_own() -> None:
    levels = log.Levels(30, {"callback": 10, "limits": 40})
    assert [
        levels.of(each) for each in ("proxy.smtp.record", "proxy.callback.probe", "proxy.callback.limits.storm")
    ] == [
        30,
        10,
        40,
    ]


class Heard:
    """An observer."""

    def __init__(self) -> None:
        self.batches: list[list[bytes]] = []

    def __call__(self, lines: bytes) -> None:
        self.batches.append(lines.splitlines(keepends=True))

    @property
    def events(self) -> list[dict[str, Any]]:
        return [json.loads(line) for batch in self.batches for line in batch]


def test_an_observer_gets_every_line_as_json_and_the_named_events_that_the_level_leaves_out() -> None:
    stream, heard, logger = io.StringIO(), Heard(), get_logger()
    configure(stream, levels=log.Levels(30))
    try:
        logger.info("message", number=0)  # before there is an observer
        log_output.observe(heard, frozenset({"message", "script_failed"}))
        logger.info("message", number=1)
        logger.info("session", number=2)
        logger.error("script_failed", number=3, text="\u202e")
        logger.error("task_failed", number=4)
        lines = written(stream).splitlines()
    finally:
        structlog.reset_defaults()
    assert [each["number"] for each in heard.events] == [1, 3, 4]
    assert [json.loads(line)["number"] for line in lines] == [3, 4]
    assert heard.batches[-1][-1].decode() == lines[-1] + "\n"


def test_an_event_that_another_one_tells_the_observer_is_only_in_the_log_and_in_its_place() -> None:
    for levels in (None, log.Levels(30)):
        stream, logger, heard = io.StringIO(), get_logger(), Heard()
        configure(stream, levels=levels)
        try:
            log_output.observe(heard, frozenset({"message", "recipient"}))
            logger.info("message", number=1)
            logger.info("recipient", whole={"number": 2}, observed=False)
            logger.info("recipient", number=3)
            lines = written(stream).splitlines()
        finally:
            structlog.reset_defaults()
        assert [each["number"] for each in heard.events] == [1, 3]
        assert [json.loads(line)["number"] for line in lines] == ([] if levels else [1, 2, 3])


def test_several_events_are_the_lines_that_one_by_one_would_be() -> None:
    texts = ['a"b\\c', "\u202e", "x" * 300, '"recipient":""', "plain@example.com"]
    shared, own = {"session": '"recipient":""', "recipient": "", "code": 250}, {"recipient": "", "code": 550}
    alike = [*((shared, text) for text in texts), (own, "last@example.com")]
    stream, heard, logger = io.StringIO(), Heard(), get_logger()
    configure(stream, worker=3)
    try:
        log_output.observe(heard, frozenset({"recipient"}))
        for fields, text in alike:
            logger.info("recipient", **{**fields, "recipient": printable(text)})
        logger.info_each("recipient", "recipient", len(alike), ((dict(fields), text) for fields, text in alike))
        logger.info_each("recipient", "recipient", len(alike), alike)
        logger.info("session")
        lines = written(stream).splitlines()
    finally:
        structlog.reset_defaults()
    *several, last = [line.partition(",")[2] for line in lines]
    count = len(alike)
    assert last.startswith('"event":"session"')
    assert several[:count] == several[count : 2 * count] == several[2 * count :]
    stamps = {line.partition(",")[0] for line in lines[2 * count : 3 * count]}
    assert len(stamps) == 1  # the time at which they were logged
    assert [each["event"] for each in heard.events] == ["recipient"] * 3 * count + ["session"]


@pytest.mark.parametrize("observed", [False, True])
def test_several_events_below_the_level_are_only_for_an_observer(*, observed: bool) -> None:
    stream, heard, logger = io.StringIO(), Heard(), get_logger()
    configure(stream, levels=log.Levels(30))
    try:
        if observed:
            log_output.observe(heard, frozenset({"recipient"}))
        logger.info_each("recipient", "recipient", 2, [({"recipient": ""}, each) for each in "ab"])
        logger.info_each("other", "recipient", 1, [({"recipient": ""}, "c")])
        assert written(stream) == ""
    finally:
        structlog.reset_defaults()
    assert [each["recipient"] for each in heard.events] == (["a", "b"] if observed else [])


def test_several_events_that_cannot_be_made_are_lost_and_told_and_the_log_goes_on() -> None:
    def alike() -> Iterator[tuple[dict[str, Any], str]]:
        yield {"recipient": ""}, "a"
        raise RuntimeError("a mistake of ours")

    stream, logger = io.StringIO(), get_logger()
    configure(stream)
    try:
        logger.info("message")
        logger.info_each("recipient", "recipient", 2, alike())
        logger.info("session")
        events = [json.loads(line) for line in written(stream).splitlines()]
    finally:
        structlog.reset_defaults()
    assert sorted(each["event"] for each in events) == ["log_dropped", "log_event_failed", "message", "session"]
    assert events[-1]["count"] == 2


def test_several_events_may_be_none() -> None:
    stream, logger = io.StringIO(), get_logger()
    configure(stream)
    try:
        logger.info("message")
        logger.info_each("recipient", "recipient", 0, [])
        logger.info("session")
        events = [json.loads(line)["event"] for line in written(stream).splitlines()]
    finally:
        structlog.reset_defaults()
    assert events == ["message", "session"]


def test_several_events_that_the_log_cannot_take_are_counted_one_by_one(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(writers, "MOST_WAITING", 10)
    stream, render = Stuck(), Renderer(None)
    writer = writers.LogWriter(StreamSink(stream))

    def several(count: int) -> Several:
        return Several(partial(render, "info", "recipient"), "r", count, [({"r": ""}, "a")] * count)

    writer.put(b"the reader is stuck\n")
    stream.waits.wait()
    writer.put_several(several(25))  # of one transaction, all are taken, or none
    writer.put_several(several(3))
    stream.reads.set()
    writer.close()
    assert "".join(stream.pieces).count("\n") == 26
    assert writer.dropped == 3


def test_an_observer_that_fails_costs_no_line() -> None:
    def fails(lines: bytes) -> None:
        raise RuntimeError(len(lines))

    stream, logger = io.StringIO(), get_logger()
    configure(stream)
    try:
        log_output.observe(fails, frozenset({"message"}))
        for number in range(3):
            logger.info("message", number=number)
        names = [json.loads(line)["event"] for line in written(stream).splitlines()]
    finally:
        structlog.reset_defaults()
    assert sorted(names) == ["log_observer_failed", "message", "message", "message"]


def test_a_viewer_that_fails_costs_no_line_and_no_observer() -> None:
    def fails(_lines: object) -> None:
        raise RuntimeError("Event loop is closed")

    stream, seen = io.StringIO(), list[bytes]()
    writer = writers.LogWriter(StreamSink(stream))
    writer.observe(seen.append)
    writer.tap = fails
    writer.put(b"one\n")
    until(lambda: bool(seen))
    writer.put(b"two\n")
    writer.close()
    assert stream.getvalue() == "one\ntwo\n"
    assert b"".join(seen) == b"one\ntwo\n"
    assert writer.tap is None


def until(happened: Callable[[], bool]) -> None:
    while not happened():
        time.sleep(0.01)


def test_a_file_that_was_renamed_is_opened_again(tmp_path: Path) -> None:
    path, kept = tmp_path / "log", tmp_path / "log.1"
    for threaded in (True, False):
        logger = get_logger()
        configure(sinks.FileSink(path), threaded=threaded)
        try:
            logger.info("one")
            if threaded:
                until(lambda: path.stat().st_size > 0)
            path.rename(kept)
            log_output.reopen()
            until(path.exists)
            logger.info("two")
            log_output.close()
        finally:
            structlog.reset_defaults()
        assert [json.loads(each.read_text())["event"] for each in (kept, path)] == ["one", "two"]
        path.unlink()


def test_a_file_that_cannot_be_opened_again_is_an_event_in_the_old_one(tmp_path: Path) -> None:
    folder = tmp_path / "folder"
    folder.mkdir()
    configure(sinks.FileSink(folder / "log"), threaded=False)
    try:
        folder.rename(tmp_path / "other")
        log_output.reopen()
    finally:
        structlog.reset_defaults()
    event = json.loads((tmp_path / "other" / "log").read_text())
    assert (event["event"], event["reason"]) == ("log_file_unusable", "No such file or directory")


def test_a_file_gets_all_waiting_lines_at_once_and_a_full_disk_costs_the_rest(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    written, lines = [], [b"x" * 3000 + b"\n"] * 10
    with (tmp_path / "log").open("wb") as file:
        sink = DescriptorSink(file.fileno())

        def write(_descriptor: int, octets: bytes) -> int:
            if len(written) == 2:
                raise OSError(28, "No space left on device")
            written.append(len(octets))
            return len(octets) if len(written) == 1 else 4500

        monkeypatch.setattr("os.write", write)
        assert sink.write(lines) == 0
        assert sink.write(lines) == 9
    assert written == [30010, 30010]
