"""Datasources in a session's script: what is noted for the history, and what a trial changes."""

from __future__ import annotations

import sqlite3
from pathlib import Path
from typing import Any

import pytest

from proxy.cli.trial import TrialDatasources
from proxy.datasource.sources import Datasources
from proxy.modules.sieve_policy.datasources import RecordedDatasources, ScriptDatasources
from proxy.modules.sieve_policy.dry import DryDatasources
from proxy.options.datasource_uris import parse_uri
from proxy.options.datasources import DatasourceOptions
from sieve.run.values import ScriptError
from sieve.shared import Found


def sources(path: Path, **options: Any) -> Datasources:
    with sqlite3.connect(path) as handle:
        handle.execute("create table if not exists t (a text, b text)")
        handle.execute("insert into t values ('1', '2')")
    handle.close()
    return Datasources([DatasourceOptions(name="d", uri=(parse_uri(f"sqlite:{path}"),), **options)])


async def found(answer: Any) -> Found:
    return answer if isinstance(answer, Found) else await answer


async def test_answers_are_noted_whether_they_are_at_hand_or_not(tmp_path: Path) -> None:
    every, noted = sources(tmp_path / "x"), []
    subject = RecordedDatasources(ScriptDatasources(every), lambda *answer: noted.append(answer))
    for _ in range(2):
        assert (await found(subject.fetch("d", "select a, b from t where a = ?", ("1",)))).rows == (("1", "2"),)
    assert isinstance(subject.fetch("d", "select a, b from t where a = ?", ("1",)), Found)
    failed = await found(subject.fetch("d", "select", {"x": "y"}))
    await subject.execute("d", "delete from t", None)
    assert noted[:3] == 3 * [("datasource", "d", "select a, b from t where a = ?", "1", "SUCCESS", "a", "b", "1", "2")]
    assert noted[3] == ("datasource", "d", "select", "y", failed.error)
    assert noted[4] == ("datasource", "d", "delete from t", "SUCCESS")
    await every.close()


async def test_a_flag_says_only_that_a_query_failed(tmp_path: Path) -> None:
    every = sources(tmp_path / "x", datasource_error="flag")
    assert await found(ScriptDatasources(every).fetch("d", "select", None)) == Found(error="true")
    assert await ScriptDatasources(every).execute("d", "delete", None) == Found(error="true")
    await every.close()


async def test_a_run_that_only_explains_asks_nothing_and_changes_nothing(tmp_path: Path) -> None:
    every, unknown, notes = sources(tmp_path / "x"), [], []
    dry, live = DryDatasources(every, unknown, notes), ScriptDatasources(every)
    with pytest.raises(ScriptError):
        dry.fetch("d", "select * from t", None)
    assert await dry.execute("d", "delete from t", None) == Found()
    assert every.stats()["d"]["misses"] == 0
    kept = await found(live.fetch("d", "select * from t", None))
    assert dry.fetch("d", "select * from t", None) == kept == Found(("a", "b"), (("1", "2"),))
    with pytest.raises(ScriptError):
        dry.fetch("other", "select 1", None)
    assert unknown == ["what datasource d answers to select * from t: it is not queried here"]
    assert notes == ["would execute at d: delete from t"]
    await every.close()


async def test_a_trial_asks_and_changes_nothing(tmp_path: Path) -> None:
    lines: list[str] = []
    every = sources(tmp_path / "x", no_cache=True)
    subject = TrialDatasources(every, lines)
    await subject.execute("d", "delete from t", None)
    assert len((await found(subject.fetch("d", "select * from t", None))).rows) == 1
    assert lines == ["(would execute at d: delete from t)"]
    await every.close()
