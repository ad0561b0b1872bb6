"""Work in a child: its answer comes back, and a crash, hang or leak in it does not affect the parent."""

from __future__ import annotations

import os
import signal
import socket

import pytest

from proxy.base.apart import ChildTask, Failed, Tell
from proxy.options import inbound

LONG = 60.0
"""Seconds that no test takes."""


def test_an_answer_comes_back_whole_however_long_it_is() -> None:
    assert ChildTask(lambda _tell: "x" * 1_000_000, LONG).wait() == "x" * 1_000_000


def test_nothing_that_the_child_does_is_seen_here() -> None:
    seen: list[int] = []
    assert ChildTask(lambda _tell: seen.append(1), LONG).wait() is None
    assert seen == []


def test_an_exception_is_a_failure_that_names_it() -> None:
    def work(_tell: Tell) -> None:
        raise ValueError("no such thing")

    with pytest.raises(Failed, match=r"^ValueError: no such thing$"):
        ChildTask(work, LONG).wait()


def test_a_child_that_dies_is_a_failure_that_names_where_it_was() -> None:
    def work(tell: Tell) -> None:
        tell("the first thing")
        tell("the second thing")
        os.kill(os.getpid(), signal.SIGKILL)

    with pytest.raises(Failed, match=r"^the process ended at: the second thing$"):
        ChildTask(work, LONG).wait()


@pytest.mark.parametrize("kind", ["stopped", "waiting"])
def test_a_child_that_hangs_is_killed_and_the_failure_names_where_it_was(kind: str) -> None:
    def work(tell: Tell) -> None:
        tell("the slow thing")
        if kind == "stopped":
            os.kill(os.getpid(), signal.SIGSTOP)
        signal.pause()

    apart = ChildTask(work, 0.5)
    with pytest.raises(Failed, match=r"^not done within 0\.5 seconds; it hangs at: "):
        apart.wait()


def test_a_name_that_the_system_does_not_find_in_time_is_the_short_one(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(socket, "getfqdn", signal.pause)
    monkeypatch.setattr(inbound, "OWN_NAME_SECONDS", 0.1)
    inbound.own_name.cache_clear()
    try:
        assert inbound.own_name() == socket.gethostname()
    finally:
        inbound.own_name.cache_clear()
