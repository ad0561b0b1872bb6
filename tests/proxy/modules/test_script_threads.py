"""Scripts' work has threads of its own: what makes one of them wait holds up nothing else."""

from __future__ import annotations

import asyncio
import os
import threading
from pathlib import Path
from unittest.mock import Mock

import pytest

from proxy.modules.sieve_policy.effects import SessionControl
from sieve.run.cache import read_file
from sieve.run.threads import ThreadPool, in_thread


def control() -> SessionControl:
    return SessionControl(Mock(), Mock())


async def test_scripts_whose_files_wait_hold_up_neither_other_threads_nor_the_reading_of_messages() -> None:
    released = threading.Event()
    waiting = [asyncio.ensure_future(in_thread(ThreadPool.FILES, released.wait)) for _ in range(8)]  # noqa: TID251 — ended below
    try:
        async with asyncio.timeout(60):  # AUTH, reload and shutdown go by the common pool or their own
            assert await asyncio.to_thread(lambda: "common") == "common"
            assert await in_thread(ThreadPool.CONTENT, lambda: "content") == "content"
        assert not any(each.done() for each in waiting)
    finally:
        released.set()
        await asyncio.gather(*waiting)


async def test_a_log_file_that_is_a_fifo_without_a_reader_is_an_error_at_once(tmp_path: Path) -> None:
    fifo = tmp_path / "log"
    os.mkfifo(fifo)
    async with asyncio.timeout(60):
        with pytest.raises(OSError, match="log"):
            await control().write_line(str(fifo), "x")


async def test_a_log_file_that_is_a_fifo_with_a_reader_is_an_error_too(tmp_path: Path) -> None:
    fifo = tmp_path / "log"
    os.mkfifo(fifo)
    reader = os.open(fifo, os.O_RDONLY | os.O_NONBLOCK)
    try:
        async with asyncio.timeout(60):
            with pytest.raises(OSError, match="regular"):
                await control().write_line(str(fifo), "x")
    finally:
        os.close(reader)


async def test_lines_are_appended_to_a_regular_log_file_that_need_not_exist(tmp_path: Path) -> None:
    path = tmp_path / "log"
    await control().write_line(str(path), "one")
    await control().write_line(str(path), "two \udcff")
    assert path.read_text(encoding="utf-8") == "one\ntwo \\udcff\n"


async def test_an_included_script_that_is_a_fifo_is_an_error_at_once(tmp_path: Path) -> None:
    fifo = tmp_path / "script.siv"
    os.mkfifo(fifo)
    async with asyncio.timeout(60):
        with pytest.raises(OSError, match="regular"):
            await read_file(str(fifo), ())
