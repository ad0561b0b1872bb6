"""Supervision: a worker that hangs is replaced, a configuration that hangs is rejected, and clients do not notice."""

from __future__ import annotations

import asyncio
import os
import signal
import socket
import subprocess
import sys
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path

import pytest

from tests.support import ringback as ringback_program
from tests.support.exchanger import Exchanger
from tests.support.house import House
from tests.support.ringback import EX_CONFIG, Ringback, command, environment, run
from tests.support.waiting import eventually

MESSAGE = b"Subject: still here\r\n\r\nsome text\r\n"


@pytest.fixture
async def upstream() -> AsyncIterator[Exchanger]:
    async with Exchanger() as server:
        yield server


Start = Callable[..., Ringback]


@pytest.fixture
def start(upstream: Exchanger, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Start]:
    """Start Ringback with these lines, in a program around it if one is given; it must end cleanly."""
    started: list[Ringback] = []

    def begin(*lines: str, program: str = "", **scripts: str) -> Ringback:
        if program:
            monkeypatch.setattr(ringback_program, "command", lambda *given: [sys.executable, "-c", program, *given])
        house = House(upstream_port=upstream.port, lines=lines, scripts=scripts)
        started.append(Ringback(house, tmp_path).start())
        return started[0]

    yield begin
    for each in started:
        each.program.stop()


async def delivers(ringback: Ringback) -> None:
    """Deliver a message."""
    async with await ringback.conversation() as client:
        assert (await client.deliver("", ["b@example.com"], MESSAGE)).startswith("250 ")


def reload(ringback: Ringback) -> None:
    ringback.program.process.send_signal(signal.SIGHUP)


def amended(ringback: Ringback, before: str, after: str) -> None:
    """Change the configuration and have it loaded again."""
    text = ringback.configuration.read_text()
    assert before in text
    ringback.configuration.write_text(text.replace(before, after))
    reload(ringback)


# ---- one path


async def test_one_worker_that_is_killed_is_replaced(start: Start) -> None:
    ringback = start()
    (worker,) = ringback.workers
    os.kill(worker, signal.SIGKILL)
    (died,) = await ringback.logged("worker_died")
    assert (died["pid"], died["status"]) == (worker, "SIGKILL")
    await ringback.logged("listening", 2)
    await delivers(ringback)


BREAKABLE = """
import sys
from pathlib import Path
from proxy.cli import main, serving

be_worker = serving.be_worker
serving.be_worker = lambda *given: 3 if Path(sys.argv[-1]).with_name("broken").exists() else be_worker(*given)
main()
"""


async def test_one_worker_that_dies_again_and_again_is_started_after_a_pause(start: Start, tmp_path: Path) -> None:
    ringback = start(program=BREAKABLE)
    await ringback.logged("serving")
    (tmp_path / "broken").touch()
    os.kill(ringback.workers[0], signal.SIGKILL)
    assert [each["seconds"] for each in await ringback.logged("worker_waits", 2)] == [1.0, 2.0]
    (tmp_path / "broken").unlink()
    await delivers(ringback)


def threads(process: int) -> int:
    return len(list(Path(f"/proc/{process}/task").iterdir()))


async def test_the_supervisor_of_one_worker_has_a_single_thread(start: Start) -> None:
    ringback = start()
    await ringback.logged("serving")
    reload(ringback)
    await ringback.logged("reloaded")
    assert threads(ringback.program.process.pid) == 1


WITH_STRANGER = """
import ctypes, os, sys, time
from pathlib import Path

ctypes.CDLL(None).prctl(36, 1)  # PR_SET_CHILD_SUBREAPER: orphans come to us, as to process 1
folder = Path(sys.argv[-1]).parent
if (child := os.fork()) == 0:
    if (stranger := os.fork()) == 0:
        while not (folder / "go").exists():
            time.sleep(0.01)
        os._exit(0)
    (folder / "stranger").write_text(str(stranger))
    os._exit(0)
os.waitpid(child, 0)
from proxy.cli import main
main()
"""


async def test_process_1_reaps_strangers(start: Start, tmp_path: Path) -> None:
    ringback = start(program=WITH_STRANGER)
    stranger = f"/proc/{(tmp_path / 'stranger').read_text()}"
    assert os.access(stranger, os.F_OK)
    (tmp_path / "go").touch()
    await eventually(lambda: not os.access(stranger, os.F_OK), "it is reaped")
    await delivers(ringback)


# ---- a reload is tried in a child


@pytest.mark.parametrize(
    ("line", "shown"),
    [
        ("Nameservers = ( ns.example.com )", "ns.example.com"),
        ('Nameservers = ( "fe80::1%lo" )', "fe80::1%lo"),
        ('TLS = required\nTLS_CA = "absent.pem"', "absent.pem"),
        ('TLS = ifavailable\nTLS_Ciphers = "NONSENSE"', "NONSENSE"),
        ('smtp_cbv {\n  store = "rediss://127.0.0.1/0?authorities=/nowhere.pem"\n}', "/nowhere.pem"),
    ],
    ids=[
        "name_for_a_server",
        "zone_in_a_server",
        "authorities_missing",
        "ciphers_unknown",
        "store_authorities_missing",
    ],
)
async def test_what_cannot_be_built_is_an_error_and_the_running_server_goes_on(
    start: Start, tmp_path: Path, line: str, shown: str
) -> None:
    ringback = start()
    text = ringback.configuration.read_text().replace('Nameservers = ( "127.0.0.1:9" )\n', "")
    ringback.configuration.write_text(f"{text}{line}\n")
    reload(ringback)
    (rejected,) = await ringback.logged("reload_rejected")
    assert shown in rejected["diagnostics"]
    assert f"{ringback.configuration}:" in rejected["diagnostics"]
    await delivers(ringback)
    status, printed = await asyncio.to_thread(run, "check", str(ringback.configuration), folder=tmp_path, name="check")
    assert status == EX_CONFIG
    assert shown in printed


HASTY = """
import os, pathlib, time


def on_a_dead_mount(function):
    def call(path, *given, **named):
        while not isinstance(path, int) and os.path.basename(os.fspath(path)).startswith("dead."):
            time.sleep(60)
        return function(path, *given, **named)

    return call


os.open, pathlib.Path.stat = on_a_dead_mount(os.open), on_a_dead_mount(pathlib.Path.stat)

from proxy.server import rehearsing
from proxy import app
from proxy.cli import main

rehearsing.REHEARSAL_SECONDS = app.REHEARSAL_SECONDS = 3.0
main()
"""
"""Ringback that gives a configuration less time, on a machine where every file called `dead.…` is on a dead mount."""


async def test_a_reload_that_hangs_in_a_file_is_rejected_and_says_where_it_hangs(start: Start, tmp_path: Path) -> None:
    ringback = start(program=HASTY, mailfrom_phase1='ec_log "here";\n')
    (tmp_path / "dead.siv").write_text("true;")
    amended(ringback, "mailfrom_phase1.siv", "dead.siv")
    await delivers(ringback)
    (rejected,) = await ringback.logged("reload_rejected")
    assert "3 seconds" in rejected["diagnostics"]
    assert "scripts" in rejected["diagnostics"]
    await delivers(ringback)
    amended(ringback, "dead.siv", "mailfrom_phase1.siv")
    await ringback.logged("reloaded")


async def test_a_server_that_stops_does_not_wait_for_a_reload_that_hangs(start: Start, tmp_path: Path) -> None:
    ringback = start(program=HASTY, mailfrom_phase1='ec_log "here";\n')
    (tmp_path / "dead.siv").write_text("true;")
    amended(ringback, "mailfrom_phase1.siv", "dead.siv")
    await eventually(lambda: len(ringback.program.group()) == 4, "the child that tries it runs")
    ringback.terminate()
    assert await ringback.ended() == 0
    assert ringback.program.group() == {}


@pytest.mark.parametrize("kind", ["stopped", "endless_loop", "dead"])
async def test_a_child_that_tries_a_configuration_and_does_not_come_back_costs_the_reload_alone(
    start: Start, tmp_path: Path, kind: str
) -> None:
    doing = {
        "stopped": "os.kill(os.getpid(), signal.SIGSTOP)",
        "endless_loop": "while True: pass",
        "dead": "os.kill(os.getpid(), signal.SIGSEGV)",
    }[kind]
    program = f"""
import os, signal, sys
from pathlib import Path
from proxy import app
from proxy.cli import main
from proxy.server import rehearsing

rehearsing.REHEARSAL_SECONDS = app.REHEARSAL_SECONDS = 3.0
rehearse, mark = app.rehearse, Path(sys.argv[-1]).with_name("mark")

def ill(*given):
    if mark.exists():
        {doing}
    return rehearse(*given)

app.rehearse = ill
main()
"""
    ringback = start(program=program)
    (tmp_path / "mark").touch()
    reload(ringback)
    await ringback.logged("reload_rejected")
    await delivers(ringback)
    (tmp_path / "mark").unlink()
    reload(ringback)
    await ringback.logged("reloaded")
    await ringback.logged("worker_ended")  # until then the old one may take a client, and tells it to come again
    await delivers(ringback)


# ---- the network warns


@pytest.fixture
def mute() -> Iterator[str]:
    """A name server that never answers."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as server:
        server.bind(("127.0.0.1", 0))
        yield f"127.0.0.1:{server.getsockname()[1]}"


async def test_what_the_network_does_not_answer_is_a_warning_and_stops_neither_start_nor_reload(
    start: Start, mute: str, tmp_path: Path
) -> None:
    ringback = start(f'Nameservers = ( "{mute}" )', "Gateway = mta.example.com")
    reload(ringback)
    (reloaded,) = await ringback.logged("reloaded")
    assert reloaded["warnings"] == 1
    status, printed = await asyncio.to_thread(run, "check", str(ringback.configuration), folder=tmp_path, name="check")
    assert status == 0
    assert ": warning: cannot look up mta.example.com: " in printed


# ---- check


def contents(folder: Path) -> dict[str, tuple[int, bytes]]:
    return {
        str(each.relative_to(folder)): (each.stat().st_mtime_ns, each.read_bytes() if each.is_file() else b"")
        for each in folder.rglob("*")
        if not each.name.startswith("ringback.std")
    }


def test_check_builds_everything_and_writes_nothing(tmp_path: Path) -> None:
    house = tmp_path / "house"
    (house / "state").mkdir(parents=True)
    lines = (
        f'State_Directory = "{house}/state"',
        "smtp_cbv {",
        f'  store = "sqlite://{house}/state/verdicts.db"',
        "}",
    )
    scripts = {
        "mailfrom_phase1": '$from = envelope "from";\n($rv) = smtp_callback_verify "${from}";\nec_log "${rv}";\n',
        "spool_phase1": 'ec_forward "x@example.com" "a@example.com" "see below";\n',
    }
    configuration = House(upstream_port=2526, lines=lines, scripts=scripts).write(house)
    before = contents(house)
    printed = subprocess.run(
        command("check", str(configuration)),
        env={**os.environ, **environment()},
        cwd=house,
        capture_output=True,
        text=True,
        check=False,
    )
    assert printed.returncode == 0, printed.stderr
    assert printed.stdout == f"{configuration}: no errors\n"
    assert f"(uid {os.geteuid()})" in printed.stderr
    assert contents(house) == before


def test_check_that_hangs_ends_and_says_where_it_hung(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ringback_program, "command", lambda *given: [sys.executable, "-c", HASTY, *given])
    configuration = House(upstream_port=2526, lines=('TLS_Certificate = "dead.pem"',)).write(tmp_path)
    (tmp_path / "dead.pem").touch()
    status, printed = run("check", str(configuration), folder=tmp_path)
    assert status == EX_CONFIG, printed
    assert "3 seconds" in printed
    assert "certificates" in printed


# ---- a worker that hangs


@pytest.mark.parametrize("count", [1, 2])
async def test_a_worker_that_is_stopped_is_replaced_and_logged_as_stopped(start: Start, count: int) -> None:
    ringback = start(f"Workers = {count}", "Worker_Timeout = 3")
    await ringback.logged("serving")
    worker = ringback.workers[0]
    os.kill(worker, signal.SIGSTOP)
    hangs = await ringback.logged("worker_hangs")
    assert (hangs[0]["pid"], hangs[0]["state"], hangs[0]["stack"]) == (worker, "stopped", "")
    died = await ringback.logged("worker_died")
    assert (died[0]["pid"], died[0]["status"]) == (worker, "SIGKILL")
    await ringback.logged("listening", count + 1)
    await delivers(ringback)


LOOPING = """
from pathlib import Path
import sys
from proxy.smtp.protocol import SmtpProtocol
from proxy.cli import main

mark = Path(sys.argv[-1]).with_name("mark")
connection_made = SmtpProtocol.connection_made

def turn_round_and_round(self, transport):
    while mark.exists():
        pass
    connection_made(self, transport)

SmtpProtocol.connection_made = turn_round_and_round
main()
"""


async def test_a_worker_in_an_endless_loop_is_replaced_and_its_stack_is_logged(start: Start, tmp_path: Path) -> None:
    ringback = start("Worker_Timeout = 3", program=LOOPING)
    await ringback.logged("serving")
    (tmp_path / "mark").touch()
    _, writer = await asyncio.open_connection("127.0.0.1", ringback.port)
    (hangs,) = await ringback.logged("worker_hangs")
    (tmp_path / "mark").unlink()
    assert hangs["state"] == "running"
    assert "turn_round_and_round" in hangs["stack"]
    await ringback.logged("listening", 2)
    writer.close()
    await delivers(ringback)


async def test_a_worker_that_is_left_to_hang_is_not_replaced(start: Start) -> None:
    ringback = start("Worker_Timeout = 0")
    await ringback.logged("serving")
    (worker,) = ringback.workers
    os.kill(worker, signal.SIGSTOP)
    reload(ringback)
    await ringback.logged("reloaded")
    os.kill(worker, signal.SIGCONT)
    await ringback.logged("worker_ended")
    assert not [each for each in ringback.log if each["event"] == "worker_hangs"]


async def test_a_machine_that_stood_still_costs_no_worker(start: Start) -> None:
    ringback = start("Worker_Timeout = 4")
    await ringback.logged("serving")
    before = ringback.workers
    os.killpg(ringback.program.process.pid, signal.SIGSTOP)
    await asyncio.sleep(8)  # the supervisor's own clock must be late: nothing else can show that it is
    os.killpg(ringback.program.process.pid, signal.SIGCONT)
    await ringback.logged("supervisor_late")
    await delivers(ringback)
    assert ringback.workers == before


# ---- signals, streams, ends


@pytest.mark.parametrize("number", [signal.SIGUSR1, signal.SIGUSR2], ids=lambda number: number.name)
async def test_a_reserved_signal_ends_no_process(start: Start, number: signal.Signals) -> None:
    ringback = start()
    await ringback.logged("serving")
    before = ringback.program.group().keys()
    os.killpg(ringback.program.process.pid, number)
    await delivers(ringback)
    assert ringback.program.group().keys() == before


@pytest.mark.parametrize(
    "stream",
    ["2>/dev/full", "2>&-", "1>&- 2>&-", "0<&- 1>&- 2>&-"],
    ids=["full", "error_closed", "output_closed", "all_closed"],
)
async def test_it_starts_wherever_its_log_goes(upstream: Exchanger, tmp_path: Path, stream: str) -> None:
    house = House(upstream_port=upstream.port, lines=("Starttls_Injection_Policy = allow",))  # something to warn of
    configuration = house.write(tmp_path)
    process = await asyncio.create_subprocess_exec(
        "sh",
        "-c",
        f'exec "$@" {stream}',
        "sh",
        *command("serve", "-c", str(configuration)),
        env={**os.environ, **environment()},
        cwd=tmp_path,
    )
    try:
        ringback = Ringback(house, tmp_path)

        async def served() -> bool:
            try:
                await delivers(ringback)
            except OSError:
                return False
            return True

        async with asyncio.timeout(30):
            while not await served():
                assert process.returncode is None
                await asyncio.sleep(0.05)
        process.terminate()
        async with asyncio.timeout(30):
            assert await process.wait() == 0
    finally:
        if process.returncode is None:
            process.kill()


STUCK_THREAD = """
import asyncio, time
from proxy.server.worker import Worker
from proxy.cli import main

start = Worker.start

async def with_stuck_thread(self, *given, **named):
    asyncio.get_running_loop().run_in_executor(None, time.sleep, 3600)
    await start(self, *given, **named)

Worker.start = with_stuck_thread
main()
"""


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP], ids=lambda number: number.name)
async def test_no_exit_waits_for_a_thread(start: Start, number: signal.Signals) -> None:
    ringback = start(program=STUCK_THREAD)
    await ringback.logged("serving")
    ringback.program.process.send_signal(number)
    await ringback.logged("worker_ended")


async def test_a_script_that_writes_into_a_fifo_does_not_hold_up_the_end(start: Start, tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.log")
    ringback = start(spool_phase1=f'ec_log_file "{tmp_path}/pipe.log" "a line";\n')
    async with await ringback.conversation() as client:
        await client.envelope("", ["b@example.com"])
        await client.send_raw(MESSAGE + b".\r\n")
        ringback.terminate()
        await ringback.logged("stopping")
        ringback.terminate()
        await client.rest()
    assert await ringback.ended() == 0
