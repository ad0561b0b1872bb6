"""A list is built once for all workers, by a process of its own; what fails leaves the list as it was."""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

import pytest
from structlog.testing import capture_logs

from proxy.lists import cidr, loading
from proxy.lists.cidr import CidrLists, TooManyLists, UnknownList
from proxy.lists.definition import Definition, NoRows, Result, by_hash, by_query
from proxy.lists.folder import folder_of
from proxy.lists.networks import Gathered
from proxy.lists.table import Broken, Table, packed
from tests.support.waiting import eventually


class Source:
    """A datasource: rows, or a failure."""

    def __init__(self, *rows: Mapping[str, object]) -> None:
        self.rows: Sequence[Mapping[str, object]] = rows
        self.fails = ""
        self.asked = 0

    async def __call__(self, _cache: str, _query: str) -> Result:
        self.asked += 1
        if self.fails:
            raise NoRows(self.fails)
        return list(self.rows[0]) if self.rows else [], [tuple(each.values()) for each in self.rows]


def worker(folder: Path, source: Source | None = None) -> CidrLists:
    return CidrLists(lambda: folder, source)


async def defined(lists: CidrLists, definition: Definition) -> cidr.CidrList:
    if (waiting := lists.define(definition)) is not None:
        await waiting
    return lists.get(definition.name)


def of_file(path: Path, name: str = "bad", **more: str) -> Definition:
    return by_hash({"cidrname": name, "dstype": "rbldnsd", "query": f"{path}?want=a", **more})


async def test_a_list_is_built_for_the_first_worker_and_mapped_by_the_second(tmp_path: Path) -> None:
    source = Source({"net": "192.0.2.0/24"}, {"net": "2001:db8::/32"}, {"net": None}, {"net": "x"})
    one, two = worker(tmp_path, source), worker(tmp_path, source)
    definition = by_query("bad", "db", "select")
    with capture_logs() as log:
        first = await defined(one, definition)
    assert first.holds("192.0.2.9")
    assert first.holds("2001:db8::9")
    assert not first.holds("192.0.3.1")
    (event,) = [each for each in log if each["event"] == "list_loaded"]
    assert (event["networks"], event["skipped"], event["first_skipped"]) == (2, 2, "row 3: ")
    assert one.define(definition) is None  # the same again costs nothing
    assert source.asked == 1
    second = await defined(two, definition)
    assert second.holds("192.0.2.9")
    for each in (one, two):
        await each.close()


async def test_workers_that_define_at_once_build_once(tmp_path: Path) -> None:
    source = Source({"net": "192.0.2.0/24"})
    workers = [worker(tmp_path, source) for _ in range(4)]
    found = await asyncio.gather(*(defined(each, by_query("bad", "db", "select")) for each in workers))
    assert all(each.holds("192.0.2.1") for each in found)
    assert source.asked == 1
    for each in workers:
        await each.close()


async def test_one_worker_reloads_and_all_see_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cidr, "LOOK_SECONDS", 0.0)
    file = tmp_path / "bad.txt"
    file.write_text("192.0.2.0/24\n")
    one, two = worker(tmp_path), worker(tmp_path)
    mine, yours = await defined(one, of_file(file)), await defined(two, of_file(file))
    file.write_text("198.51.100.0/24\n")
    assert mine.holds("192.0.2.1")
    assert yours.holds("192.0.2.1")
    assert await one.reload("bad") == ""
    for each in (mine, yours):
        assert not each.holds("192.0.2.1")
        assert each.holds("198.51.100.1")
    for each in (one, two):
        await each.close()


@pytest.mark.parametrize("fault", ["missing", "nonsense", "folder", "datasource", "column"])
async def test_a_reload_that_fails_is_logged_and_the_old_list_stays(tmp_path: Path, fault: str) -> None:
    file = tmp_path / "bad.txt"
    file.write_text("192.0.2.0/24\n")
    source = Source({"net": "192.0.2.0/24"})
    lists = worker(tmp_path, source)
    of_rows = fault in {"datasource", "column"}
    definition = by_hash({"cidrname": "bad", "cachename": "db", "query": "q", "cidr_column": "net"})
    known = await defined(lists, definition if of_rows else of_file(file))
    if fault == "missing":
        file.unlink()
    elif fault == "nonsense":
        file.write_text("<html>503 Service Unavailable</html>\n")
    elif fault == "folder":
        file.unlink()
        file.mkdir()
    elif fault == "datasource":
        source.fails = "the database is down"
    else:
        source.rows = [{"other": "1"}]
    with capture_logs() as log:
        problem = await lists.reload("bad")
    (event,) = [each for each in log if each["event"] == "list_not_loaded"]
    assert event["reason"] == problem
    expected = {"missing": "No such file", "nonsense": "no network; line 1", "folder": "Is a directory",
                "datasource": "the database is down", "column": "no column 'net': they have other"}  # fmt: skip
    assert expected[fault] in problem
    assert known.holds("192.0.2.1")
    assert known.problem == problem
    await lists.close()


async def test_workers_that_are_told_to_reload_try_once_and_all_know_why_it_failed(tmp_path: Path) -> None:
    source = Source({"net": "192.0.2.0/24"})
    workers = [worker(tmp_path, source) for _ in range(3)]
    for each in workers:
        await defined(each, by_query("bad", "db", "q"))
    source.fails, since = "the database is down", time.time()
    with capture_logs() as log:
        problems = await asyncio.gather(*(each.reload("bad", since) for each in workers))
    assert problems == ["the database is down"] * 3
    assert [each["event"] for each in log] == ["list_not_loaded"]
    assert source.asked == 2
    for each in workers:
        assert each.get("bad").holds("192.0.2.1")
        await each.close()


async def test_a_list_stays_usable_while_it_is_loaded(tmp_path: Path) -> None:
    source = Source({"net": "192.0.2.0/24"})
    lists = worker(tmp_path, source)
    known = await defined(lists, by_query("bad", "db", "q"))
    gate = asyncio.Event()

    async def slow(_cache: str, _query: str) -> Result:
        await gate.wait()
        return ["net"], [["198.51.100.0/24"]]

    lists._loader._rows = slow
    reloading = asyncio.ensure_future(lists.reload("bad"))  # noqa: TID251 - a test's task
    await asyncio.sleep(0)
    assert known.holds("192.0.2.1")
    gate.set()
    assert await reloading == ""
    assert known.holds("198.51.100.1")
    await lists.close()


async def test_a_list_is_refreshed_when_it_is_due(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cidr, "LOOK_SECONDS", 0.0)
    source = Source({"net": "192.0.2.0/24"})
    lists = worker(tmp_path, source)
    known = await defined(lists, by_query("bad", "db", "q", refresh=0.05))
    source.rows = [{"net": "198.51.100.0/24"}]
    await eventually(lambda: known.holds("198.51.100.1"), "the new rows are there")
    assert known.due is not None
    await lists.close()


async def test_a_refresh_of_an_unchanged_file_builds_nothing(tmp_path: Path) -> None:
    file = tmp_path / "bad.txt"
    file.write_text("192.0.2.0/24\n")
    lists = worker(tmp_path)
    known = await defined(lists, of_file(file))
    before = known.path.stat().st_ino
    assert await lists.reload("bad") == ""
    assert known.path.stat().st_ino == before
    file.write_text("192.0.2.0/25\n")
    assert await lists.reload("bad", older_than=0.0) == ""  # it was tried since
    assert known.path.stat().st_ino == before
    assert await lists.reload("bad") == ""
    assert known.path.stat().st_ino != before
    await lists.close()


async def test_after_a_restart_a_current_table_is_used_at_once_and_an_old_one_is_not(tmp_path: Path) -> None:
    file = tmp_path / "bad.txt"
    file.write_text("192.0.2.0/24\n")
    lists = worker(tmp_path)
    await defined(lists, of_file(file))
    await lists.close()
    again = worker(tmp_path)
    assert again.define(of_file(file)) is None
    await again.close()
    file.write_text("198.51.100.0/24\n")
    later = worker(tmp_path)
    waiting = later.define(of_file(file))
    assert waiting is not None
    await waiting
    assert later.get("bad").holds("198.51.100.1")
    await later.close()


async def test_another_definition_of_a_name_replaces_it(tmp_path: Path) -> None:
    source = Source({"net": "192.0.2.0/24"})
    lists = worker(tmp_path, source)
    await defined(lists, by_query("bad", "db", "one"))
    source.rows = [{"net": "198.51.100.0/24"}]
    with capture_logs() as log:
        known = await defined(lists, by_query("bad", "db", "two"))
    assert "list_redefined" in [each["event"] for each in log]
    assert known.holds("198.51.100.1")
    await lists.close()


async def test_lists_are_bounded_and_an_unknown_one_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cidr, "MOST_LISTS", 1)
    lists = worker(tmp_path, Source())
    await defined(lists, by_query("one", "db", "q"))
    with pytest.raises(TooManyLists):
        lists.define(by_query("two", "db", "q"))
    with pytest.raises(UnknownList):
        await lists.reload("two")
    await lists.close()


async def test_without_a_folder_a_list_is_not_loaded_and_says_why() -> None:
    def nowhere() -> Path:
        raise PermissionError(1, "other users own it", "/x")

    lists = CidrLists(nowhere, Source())
    with capture_logs() as log:
        known = await defined(lists, by_query("one", "db", "q"))
    assert known.table is None
    assert [each["reason"] for each in log if each["event"] == "list_not_loaded"] == ["/x: other users own it"]
    await lists.close()


async def test_a_build_that_hangs_ends_at_its_deadline(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(loading, "BUILD_SECONDS", 0.2)
    fifo = tmp_path / "fifo"
    os.mkfifo(fifo)  # opening it waits for a writer
    lists = worker(tmp_path)
    with capture_logs() as log:
        known = await defined(lists, of_file(fifo))
    assert not known.holds("192.0.2.1")
    assert "not built within" in next(each["reason"] for each in log if each["event"] == "list_not_loaded")
    await lists.close()


def test_the_folder_is_ours_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    state = tmp_path / "state"
    state.mkdir()
    assert folder_of(state) == state / "lists"
    assert (state / "lists").stat().st_mode & 0o777 == 0o700
    elsewhere = folder_of(tmp_path / "missing")
    assert elsewhere.parent == tmp_path
    assert elsewhere == folder_of(tmp_path / "missing")
    elsewhere.chmod(0o777)
    with pytest.raises(PermissionError):
        folder_of(tmp_path / "missing")


@pytest.mark.parametrize("octets", [b"", b"x" * 100, b"RBLIST1\n\xff\xff\xff\xff", b"RBLIST1\n\x02\x00\x00\x00{}"])
def test_a_broken_table_is_no_table(tmp_path: Path, octets: bytes) -> None:
    path = tmp_path / "x"
    path.write_bytes(octets)
    with pytest.raises(Broken):
        Table.mapped(path)


def test_a_table_that_was_cut_off_is_no_table() -> None:
    gathered = Gathered()
    gathered.add("192.0.2.0/24", gathered.number("value"))
    whole = b"".join(packed(gathered))
    for size in range(len(whole)):
        with pytest.raises(Broken):
            Table(memoryview(whole[:size]))
    assert Table(memoryview(whole)).find("192.0.2.1") == 0
