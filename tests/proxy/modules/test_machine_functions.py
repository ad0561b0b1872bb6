"""What scripts learn of the machine: the spool's partition, and how many jobs wait."""

from __future__ import annotations

import asyncio
import shutil
import threading
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest

from proxy.modules.sieve_policy.effects import SessionControl
from sieve.functions.machine import ec_thread_pool_get_queue_size
from sieve.run.threads import ThreadPool, in_thread


async def test_the_space_is_that_of_the_spools_partition(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[object] = []

    def usage(folder: object) -> Any:
        asked.append(folder)
        return SimpleNamespace(total=4_000_000_000, used=900_000_000, free=1_000_000_000)

    monkeypatch.setattr(shutil, "disk_usage", usage)
    configuration = SimpleNamespace(core=SimpleNamespace(spool_directory=tmp_path))
    control = SessionControl(cast(Any, None), cast(Any, configuration))
    assert await control.spool_space() == (4000, 1000, 75)
    assert asked == [tmp_path]


async def test_jobs_that_wait_for_a_thread_are_counted() -> None:
    gate = threading.Event()
    jobs = [asyncio.ensure_future(in_thread(ThreadPool.FILES, gate.wait)) for _ in range(7)]  # noqa: TID251
    for _ in range(3):
        await asyncio.sleep(0)
    try:
        waiting = ec_thread_pool_get_queue_size.run("io")
        assert 7 - ThreadPool.FILES.value <= waiting <= 7
        assert ec_thread_pool_get_queue_size.run("CPU") == 0
    finally:
        gate.set()
        await asyncio.gather(*jobs)
    assert ec_thread_pool_get_queue_size.run("IO") == 0
