"""The control process gives way to those that carry mail, if it may."""

from __future__ import annotations

import os

import pytest

from proxy.server.controlling import NICENESS, be_less_important


def test_it_takes_less_of_the_processor(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[int] = []
    monkeypatch.setattr(os, "nice", asked.append)
    be_less_important()
    assert asked == [NICENESS]


def test_it_lives_in_a_sandbox_that_forbids_this(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(_: int) -> None:
        raise PermissionError

    monkeypatch.setattr(os, "nice", refuse)
    be_less_important()
