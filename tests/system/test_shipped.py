"""What ships for Prometheus, Grafana, compose and systemd fits the server."""

from __future__ import annotations

import asyncio
import json
import os
import re
import signal
import socket
import subprocess
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest
from ruamel.yaml import YAML

from tests.support.certificates import make_certificate
from tests.support.house import House
from tests.support.programs import find_program, free_port, wait_until
from tests.support.ringback import ROOT, Ringback
from tests.support.scrape import Scrape, scraped
from tests.support.waiting import eventually

RULES = ROOT / "share/prometheus/ringback.rules.yml"
DASHBOARD = ROOT / "share/grafana/ringback.json"

_NAME = re.compile(r"\b(?:ringback|process)_\w+")
_SELECTOR = re.compile(r"\b(?P<name>(?:ringback|process)_\w+)(?:\{(?P<labels>[^}]*)\})?")
_MATCHER = re.compile(r'(?P<label>\w+)(?P<how>=~|!~|!=|=)"(?P<value>[^"]*)"')
_GROUPED = re.compile(r"\bby \((?P<labels>[^)]*)\)")
_OF_PROMETHEUS = {"instance", "job", "le"}


def rules() -> Iterator[tuple[str, str]]:
    """Yield each rule's name and expression."""
    for group in YAML(typ="safe").load(RULES)["groups"]:
        for rule in group["rules"]:
            yield rule["alert"], rule["expr"]


def panels() -> Iterator[tuple[str, str]]:
    """Yield the title of each panel and each of its expressions."""
    board = json.loads(DASHBOARD.read_text())
    for panel in board["panels"]:
        for target in panel.get("targets", ()):
            yield panel["title"], target["expr"]
    for each in board["annotations"]["list"]:
        yield each["name"], each["expr"]
    for each in board["templating"]["list"]:
        if each["type"] == "query":
            yield each["name"], each["definition"]


@pytest.fixture(scope="module")
def live(tmp_path_factory: pytest.TempPathFactory) -> Scrape:
    """Return what a server says that has everything with metrics of its own."""
    folder, page = tmp_path_factory.mktemp("shipped"), free_port()
    make_certificate(folder, "own")
    lines = (
        f"Metrics_Listener = ( 127.0.0.1:{page} )",
        f'State_Directory = "{folder}"',
        'Gateway = "127.0.0.1"',
        "Remote_SMTP_Port = 9",
        f'TLS_Certificate = "{folder}/own.pem"',
        f'TLS_Key = "{folder}/own.key"',
    )
    ringback = Ringback(House(lines=lines, scripts={"connect_phase1": 'ec_log "x";\n'}), folder).start()
    try:
        found: list[Scrape] = []
        wait_until(lambda: _has_scraped(page, found), "the page is served")
        return found[0]
    finally:
        ringback.stop()


def _has_scraped(page: int, found: list[Scrape]) -> bool:
    try:
        found.append(scraped(page))
    except OSError:
        return False
    return True


def wrong_with(expression: str, live: Scrape) -> list[str]:
    """Return which names, labels and values of an expression the server does not have."""
    known: dict[str, list[dict[str, str]]] = {}
    for each in live.samples:
        known.setdefault(each.name, []).append(dict(each.labels))
    wrong, seen = [], set(_OF_PROMETHEUS)
    for found in _SELECTOR.finditer(expression):
        name = found["name"]
        if name not in known:
            wrong.append(f"no metric {name}")
            continue
        labels = {label for one in known[name] for label in one}
        seen |= labels
        for matcher in _MATCHER.finditer(found["labels"] or ""):
            label = matcher["label"]
            if label in _OF_PROMETHEUS:
                continue
            values = {one.get(label) for one in known[name]}
            asked = set(matcher["value"].split("|")) if "~" in matcher["how"] else {matcher["value"]}
            if label not in labels or not asked <= values:
                wrong.append(f"{name} has no {label} {sorted(asked)}")
    for grouped in _GROUPED.finditer(expression):
        missing = {label.strip() for label in grouped["labels"].split(",")} - seen
        wrong += [f"nothing has the label {label}" for label in sorted(missing)]
    return wrong


@pytest.mark.parametrize(("name", "expression"), [*rules(), *panels()])
def test_each_expression_uses_what_the_server_says(name: str, expression: str, live: Scrape) -> None:
    if name == "RingbackIsDown":
        return  # `up` is Prometheus's own
    assert _NAME.search(expression)
    if name == "RingbackStoreDown":  # no store is used here
        expression = expression.replace("ringback_store_up", "ringback_store_seconds_count")
    assert wrong_with(expression, live) == []


def test_a_name_that_does_not_exist_would_be_found(live: Scrape) -> None:
    assert wrong_with('ringback_workers{x="1"}', live) == ["ringback_workers has no x ['1']"]
    assert wrong_with("sum by (colour) (ringback_wrokers)", live) == [
        "no metric ringback_wrokers",
        "nothing has the label colour",
    ]


@pytest.mark.real("promtool")
@pytest.mark.parametrize("arguments", [("check", "rules"), ("test", "rules")])
def test_promtool_accepts_the_rules_and_their_tests_pass(arguments: tuple[str, str]) -> None:
    file = RULES if arguments[0] == "check" else RULES.with_name("ringback.rules.test.yml")
    done = subprocess.run(
        [find_program("promtool"), *arguments, str(file)], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr


def test_each_alert_has_a_test() -> None:
    tested = RULES.with_name("ringback.rules.test.yml").read_text()
    assert [name for name, _ in rules() if f'alertname="{name}"' not in tested] == []


def test_the_dashboard_is_of_the_classic_model() -> None:
    board = json.loads(DASHBOARD.read_text())
    assert (board["id"], board["timezone"], board["graphTooltip"], board["refresh"]) == (None, "browser", 1, "30s")
    assert 8 <= len(board["uid"]) <= 40
    assert [each["name"] for each in board["templating"]["list"]] == ["datasource", "job", "instance"]
    taken: set[tuple[int, int]] = set()
    for panel in board["panels"]:
        place = panel["gridPos"]
        right, below = place["x"] + place["w"], place["y"] + place["h"]
        cells = {(x, y) for x in range(place["x"], right) for y in range(place["y"], below)}
        assert right <= 24
        assert not cells & taken
        taken |= cells
    numbers = [panel["id"] for panel in board["panels"]]
    assert len(set(numbers)) == len(numbers)


# ---- the service manager


class Manager:
    """systemd's end of the notify socket."""

    def __init__(self, folder: Path) -> None:
        self.path = folder / "notify"
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self._socket.bind(str(self.path))
        self._socket.setblocking(False)
        self.told: list[str] = []

    def has(self, wanted: str) -> list[str]:
        """Return what was told so far that begins so."""
        while True:
            try:
                self.told += self._socket.recv(4096).decode().split("\n")
            except BlockingIOError:
                return [each for each in self.told if each.startswith(wanted)]

    def close(self) -> None:
        self._socket.close()


@pytest.fixture
async def managed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[tuple[Manager, Ringback]]:
    manager = Manager(tmp_path)
    monkeypatch.setenv("NOTIFY_SOCKET", str(manager.path))
    monkeypatch.setenv("WATCHDOG_USEC", "400000")
    lines = ('Gateway = "127.0.0.1"', "Remote_SMTP_Port = 9", f'State_Directory = "{tmp_path}"')
    ringback = await Ringback(House(lines=lines), tmp_path).started()
    yield manager, ringback
    if ringback.program.is_running:
        await asyncio.to_thread(ringback.stop)
    manager.close()


async def test_the_service_manager_is_told_of_each_change_and_of_each_beat(managed: tuple[Manager, Ringback]) -> None:
    manager, ringback = managed
    await eventually(lambda: manager.has("READY=1"), "it is ready")
    await eventually(lambda: manager.has("STATUS=1 of 1 workers, "), "its status")
    assert "next hops: 127.0.0.1:9 down" in manager.has("STATUS=1 of 1")[-1]
    await eventually(lambda: len(manager.has("WATCHDOG=1")) > 3, "it beats")
    ringback.program.process.send_signal(signal.SIGHUP)
    await eventually(lambda: manager.has("RELOADING=1"), "it reloads")
    await eventually(lambda: len(manager.has("READY=1")) == 2, "it is ready again")
    assert manager.has("MONOTONIC_USEC=")
    await asyncio.to_thread(ringback.stop)
    assert manager.has("STOPPING=1") == ["STOPPING=1"]
    order = [each.partition("=")[0] for each in manager.told]
    assert order.index("READY") < order.index("RELOADING") < order.index("STOPPING")


async def test_the_service_manager_hears_no_beat_while_the_supervisor_hangs(managed: tuple[Manager, Ringback]) -> None:
    manager, ringback = managed
    await eventually(lambda: manager.has("WATCHDOG=1"), "it beats")
    supervisor = ringback.program.process.pid
    os.kill(supervisor, signal.SIGSTOP)
    manager.has("")
    before = len(manager.has("WATCHDOG=1"))
    await asyncio.sleep(1.0)
    assert len(manager.has("WATCHDOG=1")) == before
    os.kill(supervisor, signal.SIGCONT)
    await eventually(lambda: len(manager.has("WATCHDOG=1")) > before, "it beats again")
