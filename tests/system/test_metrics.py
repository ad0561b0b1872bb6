"""Metrics and health of a real server: they are right, whatever happens to its processes."""

from __future__ import annotations

import asyncio
import gzip
import os
import signal
import socket
from contextlib import AsyncExitStack
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest

from tests.support.exchanger import Exchanger, Step, says
from tests.support.load import Load
from tests.support.programs import free_port
from tests.support.ringback import Ringback, run
from tests.support.scrape import OPENMETRICS, get, parsed, ready, scrape
from tests.support.waiting import eventually, eventually_answered
from tests.support.world import NO_SUCH_USER, Stage

pytestmark = pytest.mark.real("dnsmasq")


class House:
    """A server with a page for its metrics, and mail for it."""

    def __init__(self, ringback: Ringback, upstream: Exchanger, page: int) -> None:
        self.ringback, self.upstream, self.page = ringback, upstream, page
        self.load = Load(ringback, upstream)

    async def settled(self, name: str, value: float, **labels: str) -> None:
        async def found() -> bool:
            return (await scrape(self.page)).sum(name, **labels) == value

        await eventually_answered(found, f"{name} is {value}")

    async def logged(self, event: str, times: int = 1) -> list[dict[str, Any]]:
        return await self.ringback.logged(event, times)

    def reload(self) -> None:
        self.ringback.program.process.send_signal(signal.SIGHUP)

    def rewrite(self, old: str, new: str) -> None:
        text = self.ringback.configuration.read_text()
        assert old in text
        self.ringback.configuration.write_text(text.replace(old, new))


async def built(stage: Stage, tmp_path: Path, *core: str, count: int = 1, **parts: Any) -> House:
    upstream = await stage.upstream(**parts.pop("upstream", {}))
    await stage.exchanger("ok.test")
    await stage.exchanger("refusing.test", script={Step.RCPT: NO_SUCH_USER})
    page = free_port()
    lines = [
        f"Workers = {count}",
        f"Metrics_Listener = ( 127.0.0.1:{page} )",
        f'State_Directory = "{tmp_path}"',
        *core,
    ]
    ringback = await stage.ringback(upstream.port, core=lines, **parts)
    house = House(ringback, upstream, page)
    await house.logged("serving")

    async def answers() -> bool:
        try:
            return (await ready(page))[0] == 200
        except OSError:
            return False

    await eventually_answered(answers, "the page is served")
    return house


# ---- what is said


async def test_what_happened_is_counted_where_it_belongs(stage: Stage, tmp_path: Path) -> None:
    house = await built(stage, tmp_path)
    listener = f"127.0.0.1:{house.ringback.port}"
    async with await house.ringback.conversation() as client:
        await client.ehlo()
        assert (await client.ask("MAIL FROM:<nobody@refusing.test>")).startswith("550 ")
        assert (await client.ask("RCPT TO:<b@example.com>")).startswith("503 ")
    async with await house.ringback.conversation() as client:
        assert (await client.deliver("known@ok.test", ["b@example.com"], b"Subject: x\r\n\r\ntext\r\n")).startswith(
            "250 "
        )
        assert (await client.ask("FOO")).startswith("500 ")
        await client.ask("QUIT")
    await house.settled("ringback_sessions_total", 1, listener=listener, ended="quit")
    await house.settled("ringback_sessions_total", 1, listener=listener, ended="client_gone")
    await house.settled("ringback_callback_cache_entries", 2)
    found = await scrape(house.page)
    wanted: list[tuple[str, dict[str, str], float]] = [
        ("ringback_commands_total", {"listener": listener, "phase": "mailfrom", "class": "2xx"}, 1),
        ("ringback_commands_total", {"phase": "mailfrom", "class": "5xx"}, 1),
        ("ringback_commands_total", {"phase": "data", "class": "3xx"}, 1),
        ("ringback_commands_total", {"phase": "data", "class": "2xx"}, 1),
        ("ringback_commands_total", {"phase": "connect", "class": "2xx"}, 3),  # one is the start's
        ("ringback_refusals_total", {"phase": "mailfrom", "source": "script", "class": "5xx"}, 1),
        ("ringback_refusals_total", {"phase": "rcptto", "source": "protocol", "class": "5xx"}, 1),
        ("ringback_refusals_total", {"phase": "other", "source": "protocol"}, 1),
        ("ringback_messages_total", {"outcome": "relayed"}, 1),
        ("ringback_message_size_bytes_count", {}, 1),
        ("ringback_message_size_bytes_bucket", {"le": "1024.0"}, 1),
        ("ringback_message_seconds_count", {}, 1),
        ("ringback_phase_seconds_count", {"phase": "mailfrom", "part": "total"}, 2),
        ("ringback_phase_seconds_count", {"phase": "mailfrom", "part": "callback"}, 2),
        ("ringback_phase_seconds_count", {"phase": "data", "part": "upstream"}, 1),
        ("ringback_callbacks_total", {"status": "pass", "remembered": "false"}, 1),
        ("ringback_callbacks_total", {"status": "fail", "remembered": "false"}, 1),
        ("ringback_callback_seconds_count", {"status": "fail"}, 1),
        ("ringback_callback_cache_entries", {}, 2),
        ("ringback_upstream_up", {"upstream": f"127.0.0.1:{house.upstream.port}"}, 1),
        ("ringback_upstream_replies_total", {"phase": "mailfrom", "class": "2xx"}, 1),
        ("ringback_upstream_replies_total", {"phase": "rcptto", "class": "2xx"}, 1),
        ("ringback_upstream_replies_total", {"phase": "data", "class": "3xx"}, 1),
        ("ringback_upstream_replies_total", {"phase": "dot", "class": "2xx"}, 1),
        ("ringback_script_runs_total", {"result": "pass"}, 1),
        ("ringback_script_runs_total", {"result": "refused"}, 1),
        ("ringback_script_seconds_count", {}, 2),
        ("ringback_log_events_total", {"level": "info", "event": "message"}, 1),
        ("ringback_workers", {}, 1),
        ("ringback_worker_up", {"worker": "1"}, 1),
        ("ringback_processes", {"role": "worker"}, 1),
        ("ringback_config_last_reload_successful", {}, 1),
    ]
    assert [(name, labels, found.sum(name, **labels)) for name, labels, _ in wanted] == wanted
    assert found.sum("ringback_dns_queries_total", type="MX", result="ok") == 2
    assert found.sum("ringback_process_cpu_seconds_total", role="worker") > 0
    assert found.sum("process_start_time_seconds") > 1e9


async def test_the_page_speaks_both_formats_and_bounds_its_clients(stage: Stage, tmp_path: Path) -> None:
    house = await built(stage, tmp_path)
    status, header, body = await asyncio.to_thread(get, house.page, "/metrics")
    assert (status, header["content-type"]) == (200, "text/plain; version=0.0.4; charset=utf-8")
    plain = parsed(body.decode(), openmetrics=False)
    status, header, body = await asyncio.to_thread(
        get, house.page, "/metrics", Accept=OPENMETRICS, Accept_Encoding="gzip"
    )
    assert header["content-type"].startswith("application/openmetrics-text; version=1.0.0; charset=utf-8")
    text = gzip.decompress(body).decode()
    assert text.endswith("# EOF\n")
    assert {each.name for each in parsed(text, openmetrics=True).samples} == {each.name for each in plain.samples}
    for odd in ("application/openmetrics-text; version=x", "application/openmetrics-text; version=1.x.0", ";;=,"):
        assert (await asyncio.to_thread(get, house.page, "/metrics", Accept=odd))[0] == 200, odd
    status, header, body = await asyncio.to_thread(get, house.page, "/metrics", "HEAD")
    assert (status, body) == (200, b"")
    for host, wanted in (
        (f"127.0.0.1:{house.page}", 200), ("localhost", 200), ("[::1]:1", 200), ("ringback.test", 200),
        ("evil.example", 403), ("127.0.0.1.evil.example", 403), ("", 403),
    ):  # fmt: skip
        assert (await asyncio.to_thread(get, house.page, "/metrics", Host=host))[0] == wanted, host
    assert (await asyncio.to_thread(get, house.page, "/"))[0] == 404
    assert (await asyncio.to_thread(get, house.page, "/metrics", "POST"))[0] == 405
    assert (await asyncio.to_thread(get, house.page, "/metrics", X="y" * 5000))[0] == 400
    assert (await asyncio.to_thread(get, house.page, "/healthz"))[0] == 200


async def test_a_crowd_of_connections_is_turned_away_and_the_server_serves_on(stage: Stage, tmp_path: Path) -> None:
    house = await built(stage, tmp_path)
    crowd = [socket.create_connection(("127.0.0.1", house.page)) for _ in range(100)]
    try:
        for each in crowd:
            each.setblocking(False)

        def closed() -> int:
            return sum(1 for each in crowd if _is_closed(each))

        await eventually(lambda: closed() >= 100 - 64, "those too many are closed")
    finally:
        for each in crowd:
            each.close()
    await eventually_answered(lambda: _answers(house.page), "the page is served")


def _is_closed(connection: socket.socket) -> bool:
    try:
        return connection.recv(1) == b""
    except BlockingIOError:
        return False
    except OSError:
        return True


async def _answers(page: int) -> bool:
    try:
        return (await ready(page))[0] == 200
    except OSError:
        return False


# ---- sums never fall


async def test_sums_never_fall_and_end_as_what_the_sink_has(stage: Stage, tmp_path: Path) -> None:
    house = await built(stage, tmp_path, count=2)
    seen: list[dict[Any, float]] = []

    async def look() -> None:
        await eventually_answered(lambda: _answers(house.page), "the page is served")
        seen.append((await scrape(house.page)).counters())

    async with house.load.under_way():
        for times in range(1, 4):
            os.kill(house.ringback.controls[-1], signal.SIGKILL)
            await house.logged("control_died", times)
            await look()
            house.rewrite("Workers = 2\n", "Workers = 3\n") if times == 2 else None
            house.reload()
            await house.logged("reloaded", times)
            await look()
            await house.load.goes_on()
            await look()
    await house.settled("ringback_messages_total", house.load.accepted, outcome="relayed")
    assert house.load.accepted == len(house.upstream.messages)
    for before, after in pairwise(seen):
        fell = {key: (value, after.get(key)) for key, value in before.items() if after.get(key, -1.0) < value}
        assert fell == {}


async def test_workers_that_are_killed_leave_their_counts_and_take_their_gauges_along(
    stage: Stage, tmp_path: Path
) -> None:
    house = await built(stage, tmp_path)
    total = 0
    for times in (1, 2, 3):
        async with AsyncExitStack() as stack:
            clients = [await stack.enter_async_context(await house.ringback.conversation()) for _ in range(3)]
            for client in clients:
                await client.ehlo()
                total += 1
            await house.settled("ringback_sessions", 3, state="idle")
            before = (await scrape(house.page)).counters()
            os.kill(house.ringback.workers[-1], signal.SIGKILL)
            await house.logged("worker_died", times)
            await house.logged("worker_started", times + 1)
        await house.settled("ringback_sessions", 0)
        found = await scrape(house.page)
        assert found.sum("ringback_commands_total", phase="ehlo") == total
        assert found.sum("ringback_worker_restarts_total", reason="died") == times
        after = found.counters()
        assert {key for key, value in before.items() if after.get(key, -1.0) < value} == set()


async def test_a_worker_that_hangs_is_down_until_it_is_replaced(stage: Stage, tmp_path: Path) -> None:
    house = await built(stage, tmp_path, "Worker_Timeout = 1s", count=2)
    os.kill(house.ringback.workers[0], signal.SIGSTOP)
    await house.logged("worker_hangs")
    await house.settled("ringback_worker_restarts_total", 1, reason="hung")
    await house.settled("ringback_workers", 2)
    assert (await scrape(house.page)).sum("ringback_worker_restarts_total", reason="died") == 0


async def test_while_an_old_configuration_drains_both_are_in_the_sums(stage: Stage, tmp_path: Path) -> None:
    may = asyncio.Event()
    house = await built(stage, tmp_path, upstream={"script": {Step.DOT: says("250 2.0.0 Ok", until=may)}})
    async with await house.ringback.conversation() as client:
        await client.ehlo()
        for line in ("MAIL FROM:<known@ok.test>", "RCPT TO:<b@example.com>", "DATA"):
            await client.ask(line)
        await client.send_raw(b"Subject: x\r\n\r\ntext\r\n.\r\n")
        await house.upstream.until(lambda: bool(house.upstream.held), "the message is there")
        await house.settled("ringback_connections", 1)
        house.reload()
        await house.logged("reloaded")
        await house.settled("ringback_drained_connections", 1)
        await house.settled("ringback_workers", 1)
        may.set()
        assert (await client.reply()).startswith("250 ")
    await house.settled("ringback_messages_total", 1, outcome="relayed")
    await house.settled("ringback_drained_connections", 0)


# ---- health


async def test_a_next_hop_that_is_down_is_told_and_only_the_strict_are_refused(stage: Stage, tmp_path: Path) -> None:
    house = await built(stage, tmp_path, "Host_Failure_Retry = 1")
    await house.upstream.stop_listening()
    async with await house.ringback.conversation() as client:
        await client.ehlo()
        await client.ask("MAIL FROM:<known@ok.test>")
    house.rewrite(f"Remote_SMTP_Port = {house.upstream.port}", f"Remote_SMTP_Port = {stage.nobody_listens()}")
    house.reload()
    await house.logged("reloaded")
    await house.settled("ringback_upstream_up", 0)
    status, body = await ready(house.page)
    assert (status, body["ready"], len(body["doubts"])) == (200, True, 1)
    assert (await ready(house.page, "?strict=1"))[0] == 503
    arguments = ("status", "-c", str(house.ringback.configuration))
    assert (await asyncio.to_thread(run, *arguments, folder=tmp_path, name="a"))[0] == 0
    assert (await asyncio.to_thread(run, *arguments, "--strict", folder=tmp_path, name="b"))[0] == 1


async def test_while_it_stops_it_is_not_ready_and_afterwards_nothing_answers(stage: Stage, tmp_path: Path) -> None:
    may = asyncio.Event()
    house = await built(stage, tmp_path, upstream={"script": {Step.DOT: says("250 2.0.0 Ok", until=may)}})
    arguments = ("status", "-c", str(house.ringback.configuration), "--json")
    async with await house.ringback.conversation() as client:
        await client.ehlo()
        for line in ("MAIL FROM:<known@ok.test>", "RCPT TO:<b@example.com>", "DATA"):
            await client.ask(line)
        await client.send_raw(b"Subject: x\r\n\r\ntext\r\n.\r\n")
        await house.upstream.until(lambda: bool(house.upstream.held), "the message is there")
        house.ringback.terminate()

        async def drains() -> bool:
            return (await ready(house.page))[0] == 503

        await eventually_answered(drains, "it is not ready")
        assert (await asyncio.to_thread(get, house.page, "/healthz"))[0] == 200
        status, printed = await asyncio.to_thread(run, *arguments, folder=tmp_path, name="a")
        assert (status, '"ready": false' in printed) == (2, True)
        may.set()
        assert (await client.reply()).startswith("250 ")
    assert await house.ringback.ended() == 0
    status, printed = await asyncio.to_thread(run, *arguments, folder=tmp_path, name="b")
    assert status == 2
    assert "does not run" in printed


async def test_a_supervisor_that_hangs_is_not_alive(stage: Stage, tmp_path: Path) -> None:
    house = await built(stage, tmp_path)
    supervisor = house.ringback.program.process.pid
    os.kill(supervisor, signal.SIGSTOP)
    try:

        async def dead() -> bool:
            return (await asyncio.to_thread(get, house.page, "/healthz"))[0] == 503

        async with asyncio.timeout(60):
            while not await dead():  # noqa: ASYNC110 - another process's state sets no event of ours
                await asyncio.sleep(0.2)
        assert (await ready(house.page))[0] == 503
    finally:
        os.kill(supervisor, signal.SIGCONT)
    await eventually_answered(lambda: _answers(house.page), "it is alive again")


# ---- the address


async def test_a_reload_may_change_the_address_and_one_in_use_is_a_clear_error(stage: Stage, tmp_path: Path) -> None:
    house = await built(stage, tmp_path)
    other = free_port()
    house.rewrite(f"127.0.0.1:{house.page}", f"127.0.0.1:{other}")
    house.reload()
    await house.logged("reloaded")
    before, house.page = house.page, other
    await eventually_answered(lambda: _answers(other), "the new page is served")
    assert not await _answers(before)
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        house.rewrite(f"127.0.0.1:{other}", f"127.0.0.1:{port}")
        house.reload()
        (rejected,) = await house.logged("reload_rejected")
        assert rejected["diagnostics"] == f"127.0.0.1:{port}: Address already in use"
    await house.settled("ringback_config_last_reload_successful", 0)
    status, printed = await asyncio.to_thread(
        run, "status", "-c", str(house.ringback.configuration), "--strict", folder=tmp_path, name="a"
    )
    assert status == 1
    assert "the last reload was rejected" in printed


async def test_without_a_metrics_listener_nothing_is_served_and_status_answers_all_the_same(
    stage: Stage, tmp_path: Path
) -> None:
    upstream = await stage.upstream()
    ringback = await stage.ringback(upstream.port, core=[f'State_Directory = "{tmp_path}"'])
    arguments = ("status", "-c", str(ringback.configuration))

    async def answers() -> bool:
        return (await asyncio.to_thread(run, *arguments, folder=tmp_path, name="a"))[0] == 0

    await eventually_answered(answers, "status answers")
    assert (tmp_path / "control.sock").stat().st_mode & 0o777 == 0o660
