"""What operators list: found by the most specific network, until it ends, in every process, and after a restart."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest
from structlog.testing import capture_logs

from proxy.lists import region as room
from proxy.lists.entries import LONGEST_REASON, MOST_ENTRIES, NEVER, Entries, Entry, network_of
from proxy.lists.listed import Lists
from proxy.lists.networks import NotANetwork
from proxy.lists.operators import NoRoom, OperatorLists, stored
from proxy.lists.region import Region

NOW = 1_750_000_000.0


def entry(network: str, until: float = NEVER, *, name: str = "blocked", reason: str = "spam") -> Entry:
    return Entry(name, network, until, reason, "alice", NOW)


class Clock:
    now = NOW

    def __call__(self) -> float:
        return self.now


def test_the_most_specific_entry_that_holds_is_found() -> None:
    entries = Entries([entry("10.0.0.0/8", reason="a"), entry("10.1.0.0/16", NOW + 60, reason="b"),
                       entry("2001:db8::/32", reason="c"), entry("0.0.0.0/0", name="all")])  # fmt: skip

    def reason(address: str, now: float = NOW, name: str = "blocked") -> str | None:
        found = entries.find(name, address, now)
        return found and found.reason

    assert reason("10.1.2.3") == "b"
    assert reason("10.1.2.3", NOW + 60) == "a"
    assert reason("10.2.2.3") == "a"
    assert reason("::ffff:10.2.2.3") == "a"
    assert reason("2001:db8:1::1") == "c"
    assert reason("192.0.2.1") is None
    assert reason("192.0.2.1", name="all") == "spam"
    assert reason("2001:db8::1", name="all") is None
    assert reason("10.1.2.3", name="other") is None


@pytest.mark.parametrize(("text", "usual"), [("192.0.2.7/24", "192.0.2.0/24"), ("192.0.2.1", "192.0.2.1/32"),
                                             ("2001:DB8::1/64", "2001:db8::/64")])  # fmt: skip
def test_a_network_has_one_form(text: str, usual: str) -> None:
    assert network_of(text)[0] == usual


def test_a_range_is_not_one_network() -> None:
    with pytest.raises(NotANetwork):
        network_of("192.0.2.1-5")


def test_what_control_writes_every_process_reads(tmp_path: Path) -> None:
    region = Region()
    lists = Lists(tmp_path, region, clock=lambda: NOW)
    assert lists.entry("blocked", "192.0.2.1") is None
    reader, writer = os.pipe()
    pid = os.fork()
    if pid == 0:  # the control process
        OperatorLists(region, tmp_path, lambda: NOW).add(entry("192.0.2.0/24"))
        os.write(writer, b".")
        os._exit(0)
    os.read(reader, 1)
    os.waitpid(pid, 0)
    found = lists.entry("blocked", "192.0.2.1")
    assert found is not None
    assert found.reason == "spam"
    os.close(reader)
    os.close(writer)


def test_a_control_process_goes_on_with_what_is_shared_and_a_restart_with_the_file(tmp_path: Path) -> None:
    region, clock = Region(), Clock()
    OperatorLists(region, tmp_path, clock).add(entry("192.0.2.0/24", NOW + 10))
    after_crash = OperatorLists(region, tmp_path, clock)
    after_crash.add(entry("198.51.100.0/24"))
    assert [each.network for each in after_crash.entries] == ["192.0.2.0/24", "198.51.100.0/24"]
    after_restart = OperatorLists(Region(), tmp_path, clock)
    assert [each.network for each in after_restart.entries] == ["198.51.100.0/24"]  # 10 s after NOW is long ago
    assert (tmp_path / "lists.json").stat().st_mode & 0o777 == 0o600


def test_a_worker_reads_the_file_until_control_has_published(tmp_path: Path) -> None:
    OperatorLists(Region(), tmp_path).add(entry("192.0.2.0/24"))
    region = Region()
    lists = Lists(tmp_path, region)
    assert lists.entry("blocked", "192.0.2.1") is not None
    region.write([])
    assert lists.entry("blocked", "192.0.2.1") is None


def test_an_entry_replaces_one_of_the_same_network_and_is_removed_once(tmp_path: Path) -> None:
    operators = OperatorLists(Region(), tmp_path, lambda: NOW)
    with capture_logs() as log:
        operators.add(entry("192.0.2.0/24", reason="a"))
        operators.add(entry("192.0.2.0/24", NOW + 60, reason="b"))
        assert [each.reason for each in operators.entries] == ["b"]
        assert operators.remove("blocked", "192.0.2.0/24", "bob") is not None
        assert operators.remove("blocked", "192.0.2.0/24", "bob") is None
    told = [each for each in log if each["event"] == "list_changed"]
    assert [(each["change"], each["operator"], each["seconds"]) for each in told] == [
        ("added", "alice", 0), ("added", "alice", 60), ("removed", "bob", 60)]  # fmt: skip


def test_an_entry_ends_by_itself_and_the_log_tells(tmp_path: Path) -> None:
    region, clock = Region(), Clock()
    operators = OperatorLists(region, tmp_path, clock)
    operators.add(entry("192.0.2.0/24", NOW + 60))
    operators.add(entry("198.51.100.0/24"))
    operators.end()
    assert len(region.entries.every) == 2
    clock.now += 60
    assert [each.network for each in operators.entries] == ["198.51.100.0/24"]
    with capture_logs() as log:
        operators.end()
    assert [each.network for each in region.entries.every] == ["198.51.100.0/24"]
    assert [each["network"] for each in log if each["change"] == "ended"] == ["192.0.2.0/24"]


def test_what_cannot_be_stored_still_holds_and_says_so(tmp_path: Path) -> None:
    operators = OperatorLists(Region(), tmp_path / "missing", lambda: NOW)
    assert "No such file" in operators.add(entry("192.0.2.0/24"))
    assert len(operators.entries) == 1


def test_there_is_room_for_all_and_no_more(tmp_path: Path) -> None:
    region = Region()
    every = [
        Entry("x" * 64, f"2001:db8:{n:x}::/48", NOW, '"' * LONGEST_REASON, "u" * 60, NOW) for n in range(MOST_ENTRIES)
    ]
    region.write(every)
    assert len(region.entries.every) == MOST_ENTRIES
    operators = OperatorLists(region, tmp_path, lambda: 0.0)
    with pytest.raises(NoRoom):
        operators.add(entry("192.0.2.0/24"))


def test_a_torn_region_leaves_what_was_read_before() -> None:
    region = Region()
    region.write([entry("192.0.2.0/24")])
    before = region.entries
    region.write([entry("198.51.100.0/24")])
    at = (region.version & 1) * room._HALF + room._HEAD.size
    region._memory[at : at + 1] = b"x"
    assert region.entries is before


@pytest.mark.parametrize("octets", [b"x", b"[]x", b'[{"list":1}]', json.dumps([{
    "list": "a", "network": "nonsense", "until": 0, "reason": "", "user": "", "added": 0}]).encode()])  # fmt: skip
def test_a_broken_file_is_told_and_costs_nothing_else(tmp_path: Path, octets: bytes) -> None:
    (tmp_path / "lists.json").write_bytes(octets)
    with capture_logs() as log:
        assert stored(tmp_path) == []
    assert [each["event"] for each in log] == ["lists_not_read"]
