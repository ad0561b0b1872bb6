"""The console of the running server: an operator's day, and what a stranger cannot do."""

from __future__ import annotations

import asyncio
import grp
import json
import os
import pty
import pwd
import select
import signal
import stat
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest
from jsonschema import Draft202012Validator

from proxy.cli.grammar import schema
from proxy.console.commands import all_commands
from proxy.console.people import Role
from proxy.console.places import NAME
from tests.support.consoles import following, refused, said, value
from tests.support.exchanger import Exchanger, Step, says
from tests.support.house import greeted, opened
from tests.support.programs import Program
from tests.support.ringback import Ringback, command, ended, environment
from tests.support.waiting import eventually, eventually_answered
from tests.support.world import Stage

pytestmark = pytest.mark.real("dnsmasq")

REFUSING = '$from = envelope "from"; if ec_test :contains "${from}" "bad" { ec_action 550 "5.7.1 bad sender"; }'
MESSAGE = b"Subject: hello\r\n\r\ntext\r\n"


class Desk:
    """A Ringback and its console."""

    def __init__(self, ringback: Ringback, upstream: Exchanger, folder: Path) -> None:
        self.ringback, self.upstream, self.folder = ringback, upstream, folder

    async def __call__(self, line: str) -> str:
        return "\n".join(await said(self.folder, line))

    async def of(self, line: str) -> Any:
        return await value(self.folder, line)

    async def summary(self, label: str) -> int:
        for line in await said(self.folder, "summary"):
            if line.startswith(f"{label}:"):
                return int(line.rpartition(":")[2].split()[0])
        raise AssertionError(label)

    async def session(self) -> str:
        """Return the id of the only session."""
        (row,) = (await self.of("list sessions"))["sessions"]
        return str(row["id"])


def state(folder: Path) -> Path:
    made = folder / "state"
    made.mkdir(exist_ok=True)
    return made


async def desk(stage: Stage, folder: Path, *lines: str, upstream: Exchanger | None = None, **parts: Any) -> Desk:
    upstream = upstream or await stage.upstream()
    ringback = await opened(
        stage, folder, f'State_Directory = "{state(folder)}"', *lines, upstream_port=upstream.port, **parts
    )
    made = Desk(ringback, upstream, state(folder))
    await eventually_answered(lambda: _answers(made), "the console answers")
    return made


async def routed(stage: Stage, folder: Path, upstream: Exchanger, routes: str) -> Desk:
    """Return one with Routes in place of Gateway."""
    ringback = await opened(stage, folder, f'State_Directory = "{state(folder)}"', routes)
    made = Desk(ringback, upstream, state(folder))
    await eventually_answered(lambda: _answers(made), "the console answers")
    return made


async def _answers(made: Desk) -> bool:
    try:
        rows = (await made.of("workers"))["processes"]
    except OSError:
        return False
    serving = [row for row in rows if row["process"].startswith("worker ")]
    return bool(serving) and all(row["answers"] for row in rows)


def of(desk: Desk, event: str) -> list[dict[str, Any]]:
    return [each for each in desk.ringback.log if each["event"] == event]


# ---------------------------------------------------------------- an operator's day


async def test_an_operators_day(stage: Stage, tmp_path: Path) -> None:
    at = await desk(stage, tmp_path, "Workers = 2", scripts={"mailfrom_phase1": REFUSING})
    assert await at.summary("Received Messages") == 0
    async with following(at.folder, "trace client=127.0.0.2") as trace:
        async with await greeted(at.ringback, source="127.0.0.2") as client:
            assert await client.ask("MAIL FROM:<bad@ok.test>") == "550 5.7.1 bad sender"
        lines = await trace.until("S: 550 5.7.1 bad sender")
    assert any(each.endswith("C: MAIL FROM:<bad@ok.test>") for each in lines)
    assert all(" 127.0.0.2 " in each for each in lines)
    async with await greeted(at.ringback) as client:
        assert (await client.deliver("good@ok.test", ["b@example.com"], MESSAGE)).startswith("250 ")
    await eventually_answered(lambda: _is(at, "Received Messages", 1), "the message is counted")
    await eventually_answered(lambda: _why(at, "bad@ok.test", "bad sender"), "the history has it")

    await at("upstreams drain 127.0.0.1")
    async with await greeted(at.ringback) as client:
        assert (await client.ask("MAIL FROM:<good@ok.test>")).startswith("250 ")
        assert (await client.ask("RCPT TO:<b@example.com>")).startswith("451 ")
    await at("upstreams enable 127.0.0.1")

    good = at.ringback.configuration.read_text()
    at.ringback.configuration.write_text(f"{good}\nNo_Such_Option = 1\n")
    at.ringback.program.process.send_signal(signal.SIGHUP)
    await eventually(lambda: of(at, "reload_rejected"), "the broken file is rejected")
    assert "No_Such_Option" in of(at, "reload_rejected")[0]["diagnostics"]
    at.ringback.configuration.write_text(good)
    at.ringback.program.process.send_signal(signal.SIGHUP)
    await eventually(lambda: of(at, "reloaded"), "the good file is loaded")
    await eventually_answered(lambda: _answers(at), "the console answers again")
    rows = (await at.of("workers"))["processes"]
    victim = next(each["pid"] for each in rows if each["process"] == "worker 1" and each["generation"] == 2)
    os.kill(victim, signal.SIGKILL)
    await eventually_answered(lambda: _restarted(at), "workers shows the restart")
    assert await at.summary("Received Messages") == 1
    commands = {each["command"]: each for each in of(at, "console_command")}
    assert commands["upstreams drain 127.0.0.1"]["outcome"] == "done"


async def _why(at: Desk, subject: str, wanted: str) -> bool:
    _, told, _ = await asyncio.to_thread(ended, "why", "-c", at.ringback.configuration, subject)
    return wanted in told


async def _is(at: Desk, label: str, wanted: int) -> bool:
    return await at.summary(label) == wanted


async def _restarted(at: Desk) -> bool:
    found = await at.of("workers")
    return found["restarts"]["died"] == 1 and await _answers(at)


# ---------------------------------------------------------------- sessions


async def test_tail_has_what_the_supervisor_logs_also_after_a_reload(stage: Stage, tmp_path: Path) -> None:
    at = await desk(stage, tmp_path, "Workers = 2")
    for round_ in range(2):
        victim = of(at, "worker_started")[-1]["pid"]
        async with following(at.folder, "tail") as tail:
            os.kill(victim, signal.SIGKILL)
            lines = await tail.until(" started with process id ")
        assert any("died with status SIGKILL" in each and f"pid={victim}" in each for each in lines), lines
        if not round_:
            before = len(of(at, "worker_ended"))
            await at("config reload")
            await at.ringback.logged("worker_ended", before + 2)  # until then the old control process may answer
            await eventually_answered(lambda: _answers(at), "the console answers")


async def test_a_session_is_listed_shown_and_killed_with_421(stage: Stage, tmp_path: Path) -> None:
    at = await desk(stage, tmp_path)
    async with await greeted(at.ringback, name="who.test") as client:
        await client.ask("MAIL FROM:<a@ok.test>")
        row = (await at.of("list sessions 127.0.0.0/8"))["sessions"][0]
        assert (row["helo"], row["phase"], row["sender"]) == ("who.test", "awaiting rcptto", "a@ok.test")
        assert (await at.of("list sessions 192.0.2.0/24"))["sessions"] == []
        assert "awaiting rcptto (for " in await at("show inbound")
        about = await at.of(f"session {row['id']}")
        assert "C: MAIL FROM:<a@ok.test>" in about["dialogue"]
        assert await at(f"kill session {row['id']}") == "1 sessions killed"
        assert await client.reply() == "421 4.3.2 Session ended by the operator, try again"
    assert "there is no such session" in await refused(at.folder, f"kill session {row['id']}")
    assert await at("kill session 127.0.0.0/8") == "0 sessions killed"


async def test_a_session_whose_dot_was_sent_to_the_next_hop_gets_its_reply_before_it_is_killed(
    stage: Stage, tmp_path: Path
) -> None:
    go_on = asyncio.Event()
    upstream = await stage.upstream(script={Step.DOT: says("250 2.0.0 Ok: queued as 1", until=go_on)})
    at = await desk(stage, tmp_path, upstream=upstream)
    async with await greeted(at.ringback) as client:
        await client.ask("MAIL FROM:<a@ok.test>")
        await client.ask("RCPT TO:<b@example.com>")
        await client.ask("DATA")
        await client.send("Subject: x", "", "text", ".")
        identity = await at.session()
        await eventually_answered(lambda: _is_committed(at, identity), "the dot was sent")
        assert "ends when the next hop has answered" in await at(f"kill session {identity}")
        go_on.set()
        assert (await client.reply()).startswith("250 2.0.0 Ok")
        assert (await client.reply()).startswith("421 4.3.2")


async def _is_committed(at: Desk, identity: str) -> bool:
    return bool((await at.of(f"session {identity}"))["phase"] == "sending body response")


async def test_trace_shows_the_client_the_next_hop_and_the_callback(stage: Stage, tmp_path: Path) -> None:
    await stage.exchanger("ok.test")
    upstream = await stage.upstream()
    ringback = await stage.ringback(upstream.port, core=[f'State_Directory = "{state(tmp_path)}"', "Workers = 2"])
    at = Desk(ringback, upstream, state(tmp_path))
    await eventually_answered(lambda: _answers(at), "the console answers")
    async with following(at.folder, "trace client=127.0.0.2") as trace:
        async with await greeted(at.ringback, source="127.0.0.2") as client:
            assert (await client.deliver("good@ok.test", ["b@example.com"], MESSAGE)).startswith("250 ")
            await client.ask("QUIT")
        lines = [each.partition(" 127.0.0.2 ")[2] for each in await trace.until(" 127.0.0.2 S: 221")]
        while not any(each.startswith("callback ") for each in lines):
            lines.append((await trace.line()).partition(" 127.0.0.2 ")[2])
    ours = [each.removeprefix("next hop ") for each in lines if each.startswith("next hop ")]
    assert "C: RCPT TO:<b@example.com>" in ours
    assert ours[-1].startswith("S: 250 ")
    assert "subject" not in "".join(ours).lower()
    assert "callback C: RCPT TO:<good@ok.test>" in lines


async def test_what_a_client_says_is_escaped_wherever_it_is_shown(stage: Stage, tmp_path: Path) -> None:
    at = await desk(stage, tmp_path)
    async with following(at.folder, "trace") as trace, following(at.folder, "tail event=refused") as tail:
        async with await greeted(at.ringback) as client:
            await client.send_raw(b"MAIL FROM:<\x1b[2J\xe2\x80\xae@ok.test> \x07\r\n")
            await client.reply()
            found = json.dumps(await at.of(f"session {await at.session()}"))
        shown = [*await trace.until("S: 5"), *await tail.until("refused")]
    assert "\\x1b" in "".join(shown)
    for text in (found, *shown, await at("list sessions")):
        assert text.isascii()
        assert text.isprintable() or "\n" in text
        assert "\x1b" not in text


async def test_passwords_and_messages_are_never_shown(stage: Stage, tmp_path: Path) -> None:
    at = await desk(stage, tmp_path)
    async with following(at.folder, "trace") as trace:
        async with await greeted(at.ringback) as client:
            await client.ask("AUTH PLAIN AGJvYgBzZWNyZXQ=")
            await client.deliver("a@ok.test", ["b@example.com"], b"Subject: private\r\n\r\nprivate\r\n")
            about = json.dumps(await at.of(f"session {await at.session()}"))
            await client.ask("QUIT")
        lines = await trace.until("S: 221")
    for text in (about, *lines):
        assert "AGJvYgBzZWNyZXQ" not in text
        assert "private" not in text
    assert any("AUTH" in each for each in lines)


# ---------------------------------------------------------------- tail


async def test_a_viewer_of_one_client_misses_none_of_its_events(stage: Stage, tmp_path: Path) -> None:
    at = await desk(stage, tmp_path, "Workers = 2")
    async with following(at.folder, "tail client=127.0.0.3 event=message --json") as tail:
        for number in range(10):
            for source in ("127.0.0.2", "127.0.0.3"):
                async with await greeted(at.ringback, source=source) as client:
                    assert (await client.deliver(f"a{number}@ok.test", ["b@example.com"], MESSAGE)).startswith("250")
        events = [json.loads(await tail.line()) for _ in range(10)]
    assert {each["client"] for each in events} == {"127.0.0.3"}
    assert {each["sender"] for each in events} == {f"a{number}@ok.test" for number in range(10)}


async def test_a_session_alone_is_followed_to_its_end(stage: Stage, tmp_path: Path) -> None:
    at = await desk(stage, tmp_path)
    before = await greeted(at.ringback)
    async with before, following(at.folder, "tail --only-new --only-one --terse") as tail:
        await before.ask("RCPT TO:<x@elsewhere.invalid>")
        async with await greeted(at.ringback) as client:
            await client.deliver("a@ok.test", ["b@example.com"], MESSAGE)
            await client.ask("QUIT")
        lines = [await tail.line()]
        while lines[-1] != ".":
            lines.append(await tail.line())
    assert "disconnected" in lines[-2]
    assert not any("elsewhere" in each for each in lines)


async def test_a_wrong_filter_says_what_to_write(stage: Stage, tmp_path: Path) -> None:
    at = await desk(stage, tmp_path)
    assert 'there "nobody"' not in await refused(at.folder, "tail client=nobody")
    assert "write an address or a block" in await refused(at.folder, "tail client=nobody")
    assert "relayed, refused" in await refused(at.folder, "tail verdict=odd")
    assert "known are client" in await refused(at.folder, "tail colour=red")


# ---------------------------------------------------------------- next hops


async def test_a_drained_server_gets_no_new_transactions_and_the_other_one_takes_over(
    stage: Stage, tmp_path: Path
) -> None:
    first, second = await stage.upstream(), await stage.upstream()
    at = await routed(stage, tmp_path, first, f'Routes = ( "127.0.0.1:{first.port}" "127.0.0.1:{second.port}" )')
    ringback = at.ringback
    async with await greeted(ringback) as client:
        await client.ask("MAIL FROM:<a@ok.test>")
        await client.ask("RCPT TO:<b@example.com>")
        await at(f"upstreams drain 127.0.0.1:{first.port}")
        await client.ask("DATA")  # the running transaction stays with its next hop
        await client.send("Subject: x", "", "text", ".")
        assert (await client.reply()).startswith("250")
    before = len(first.messages)
    for _ in range(6):
        async with await greeted(ringback) as client:
            assert (await client.deliver("a@ok.test", ["b@example.com"], MESSAGE)).startswith("250")
    assert len(first.messages) == before
    assert len(second.messages) == 7 - before
    await at(f"upstreams drain 127.0.0.1:{second.port}")
    async with await greeted(ringback) as client:
        await client.ask("MAIL FROM:<a@ok.test>")
        assert (await client.ask("RCPT TO:<b@example.com>")).startswith("451 ")
    assert (await at.of("upstreams"))["upstreams"][0]["state"] == "drained"
    await at(f"upstreams enable 127.0.0.1:{first.port}")
    async with await greeted(ringback) as client:
        assert (await client.deliver("a@ok.test", ["b@example.com"], MESSAGE)).startswith("250")
    assert "no next hop is called" in await refused(at.folder, "upstreams drain elsewhere")


# ---------------------------------------------------------------- modules, limits, the service


async def test_a_module_in_shadow_is_only_logged_and_a_disabled_one_is_not_asked(stage: Stage, tmp_path: Path) -> None:
    at = await desk(stage, tmp_path, "Workers = 2", scripts={"mailfrom_phase1": REFUSING})
    name = (await at.of("module list"))[0]["name"]

    async def answer() -> str:
        async with await greeted(at.ringback) as client:
            return await client.ask("MAIL FROM:<bad@ok.test>")

    assert (await answer()).startswith("550")
    assert await at(f"shadow {name} on") == "Success"
    assert (await answer()).startswith("250")
    (told,) = await eventually(lambda: of(at, "shadowed"), "the verdict is logged")
    assert (told["validator"], told["disposition"], told["phase"]) == (name, "refused", "mailfrom")
    for process in at.ringback.workers:
        os.kill(process, signal.SIGKILL)
    await eventually(lambda: len(of(at, "worker_started")) == 4, "workers are replaced")
    await eventually_answered(lambda: _answers(at), "they answer")
    assert (await answer()).startswith("250")
    await at(f"shadow {name} off")
    assert (await answer()).startswith("550")
    await at(f"module disable {name}")
    assert (await answer()).startswith("250")
    await at(f"module enable {name}")
    assert (await answer()).startswith("550")
    assert "there are" in await refused(at.folder, "module disable nothing")


async def test_while_the_service_is_drained_new_clients_get_421_and_sessions_go_on(
    stage: Stage, tmp_path: Path
) -> None:
    at = await desk(stage, tmp_path)
    async with await greeted(at.ringback) as client:
        await at("drain")
        assert (await client.deliver("a@ok.test", ["b@example.com"], MESSAGE)).startswith("250")
        reader, writer = await asyncio.open_connection("127.0.0.1", at.ringback.port)
        assert (await reader.readline()).startswith(b"421 4.3.2 ")
        writer.close()
    await at("drain off")
    async with await greeted(at.ringback) as client:
        await client.ask("NOOP")


async def test_limits_of_a_client_are_shown_and_cleared(stage: Stage, tmp_path: Path) -> None:
    at = await desk(stage, tmp_path, 'Message_Rate_Per_Client = "1/3600"')
    async with await greeted(at.ringback) as client:
        assert (await client.ask("MAIL FROM:<a@ok.test>")).startswith("250")
        await client.ask("RSET")
        assert (await client.ask("MAIL FROM:<a@ok.test>")).startswith("4")
        shown = await at.of("limits show 127.0.0.1")
        assert shown["connections"] == 1
        assert shown["rates"][0]["rate"] == "1/3600"
        assert await at("limits clear 127.0.0.1") == "cleared 1 limits"
        assert (await client.ask("MAIL FROM:<a@ok.test>")).startswith("250")


async def test_the_log_is_louder_for_a_while(stage: Stage, tmp_path: Path) -> None:
    at = await desk(stage, tmp_path)
    await at("log-level error")
    async with await greeted(at.ringback) as client:
        await client.ask("QUIT")
    await at("log-level info for 5 minutes")
    async with await greeted(at.ringback) as client:
        await client.deliver("a@ok.test", ["b@example.com"], MESSAGE)
    await eventually(lambda: of(at, "message"), "it is logged again")
    assert len(of(at, "session")) <= 1
    assert "is not a level" in await refused(at.folder, "log-level odd")
    assert "is not a part" in await refused(at.folder, "log-level odd debug")


async def test_shutdown_ends_the_service(stage: Stage, tmp_path: Path) -> None:
    at = await desk(stage, tmp_path)
    await at("shutdown")
    assert await at.ringback.ended() == 0


ARGUMENTS = {
    "config eval": "gateway", "config get": "gateway", "config locate": "global", "dns_cache lookup": "ok.test MX",
    "explain": "client=192.0.2.1 from=a@ok.test rcpt=b@example.com",
    "inbound_audit count_cidr": '192.0.2.1 none "60,1" 0 0',
    "inbound_audit show ip": "192.0.2.1", "limits show": "192.0.2.1", "smtp_cbv lookup": "a@ok.test",
}  # fmt: skip
"""What each read command gets that needs arguments."""

ELSEWHERE = frozenset({"session", "outbox show", "sieve test", "gauge_cache show"})
"""Those that need a session, a letter or a script, which other tests have."""


@pytest.mark.parametrize("workers", [1, 2])
async def test_every_read_command_answers(stage: Stage, tmp_path: Path, workers: int) -> None:
    """With one worker there is no keeper, so the worker answers what the keeper would."""
    at = await desk(stage, tmp_path, f"Workers = {workers}", "smtp_cbv { }", "inbound_audit { }")
    served = SimpleNamespace(began=0.0, processes=None)
    table = all_commands(cast(Any, served), running=cast(Any, SimpleNamespace()))
    asked = [each for each in table if each.role is Role.READ and each.run and each.words not in ELSEWHERE]
    assert [each.words for each in asked if each.fewest and each.words not in ARGUMENTS] == [], "add arguments"
    lines = [f"{each.words} {ARGUMENTS.get(each.words, '')}".strip() for each in asked]
    for line in (*lines, "dns flush", "summary reset", "reopen logs"):
        await at(line)
        assert await at.of(line) is not None, line
    assert (await at("pid")) == str(at.ringback.program.process.pid)
    assert await at("smtp_cbv forget --all") == "0 records removed"


# ---------------------------------------------------------------- who may


def _as_user(folder: Path, uid: int, gid: int, line: str) -> tuple[int, str]:
    """Ask as another user, in a child process."""
    code = (
        f"import os, socket\nos.chdir({str(folder)!r})\nos.setgroups([{gid}])\nos.setgid({gid})\nos.setuid({uid})\n"
        f"s = socket.socket(socket.AF_UNIX)\ns.connect({NAME!r})\n"
        "f = s.makefile('rb')\ngreeting = f.readline()\nprint(greeting.decode(), end='')\n"
        f"s.sendall({line + chr(10)!r}.encode()) if greeting.startswith(b'#') else None\n"
        "for each in iter(f.readline, b''):\n    print(each.decode(), end='')\n    if each == b'.\\n': break\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=30, check=False)
    return done.returncode, done.stdout + done.stderr


STRANGER = pwd.getpwnam("nobody")

as_root = pytest.mark.skipif(os.geteuid() != 0, reason="only root can become another user")


@as_root
async def test_a_stranger_is_refused_even_if_the_files_let_him_in(stage: Stage, tmp_path: Path) -> None:
    at = await desk(stage, tmp_path)
    path = at.folder / NAME
    assert stat.S_IMODE(path.stat().st_mode) == 0o660
    path.parent.chmod(0o711)
    status, told = await asyncio.to_thread(_as_user, at.folder, STRANGER.pw_uid, STRANGER.pw_gid, "version")
    assert status != 0
    assert "Permission denied" in told
    path.chmod(0o666)
    status, told = await asyncio.to_thread(_as_user, at.folder, STRANGER.pw_uid, STRANGER.pw_gid, "version")
    assert told.startswith("! You may not use this console")
    assert "Ringback" not in told.partition("\n")[2]
    (event,) = await eventually(lambda: of(at, "console_refused"), "it is logged")
    assert event["user"] == STRANGER.pw_name


@as_root
async def test_the_sockets_group_may_operate_but_not_stop_the_service(stage: Stage, tmp_path: Path) -> None:
    at = await desk(stage, tmp_path)
    at.folder.chmod(0o711)
    group = os.getegid()
    _, told = await asyncio.to_thread(_as_user, at.folder, STRANGER.pw_uid, group, "drain off")
    assert "new clients are taken" in told
    _, told = await asyncio.to_thread(_as_user, at.folder, STRANGER.pw_uid, group, "shutdown")
    assert "Not Authorized for this command" in told
    await eventually(lambda: len(of(at, "console_command")) == 2, "both are in the log")
    events = {each["command"]: each for each in of(at, "console_command")}
    assert events["drain off"]["user"] == STRANGER.pw_name
    assert events["shutdown"]["outcome"] == "not authorized"


@as_root
async def test_a_stanza_decides_by_user_and_role_and_whole_commands(stage: Stage, tmp_path: Path) -> None:
    group = grp.getgrgid(os.getegid()).gr_name
    (tmp_path / "roles").write_text("auditors:nobody,other\n")
    at = await desk(
        stage,
        tmp_path,
        "Control_Listener = ( /tmp/2025 <file_mode=0666> "
        f'[ 0.0.0.0/0 = ( Authorization [ uri = "groups://{tmp_path}/roles" ] ) ] )',
        'Authorization { root [ allow = "^version$" allow = "^workers$" ]  auditors [ allow = "^list" ] }',
        f'Authorization {{ Role "@{group}" {{ allow = ( "^pid$" ) }} }}',
    )
    assert (await at("version")).startswith("Ringback ")
    assert await refused(at.folder, "summary") == "Not Authorized for this command"
    assert await refused(at.folder, "ver -x") != ""
    at.folder.chmod(0o711)
    _, told = await asyncio.to_thread(_as_user, at.folder, STRANGER.pw_uid, os.getegid(), "list sessions")
    assert "0 sessions" in told
    _, told = await asyncio.to_thread(_as_user, at.folder, STRANGER.pw_uid, os.getegid(), "version")
    assert "Not Authorized" in told
    _, told = await asyncio.to_thread(_as_user, at.folder, STRANGER.pw_uid, os.getegid(), "pid")
    assert str(at.ringback.program.process.pid) in told
    assert (at.folder / NAME).is_socket()


async def test_nothing_listens_but_the_unix_socket(stage: Stage, tmp_path: Path) -> None:
    at = await desk(stage, tmp_path, "Control_Listener = ( 127.0.0.1:2025 )")
    await at("version")
    with pytest.raises(ConnectionRefusedError):
        await asyncio.open_connection("127.0.0.1", 2025)


async def test_control_listener_switches_the_console_off(stage: Stage, tmp_path: Path) -> None:
    upstream = await stage.upstream()
    ringback = await opened(
        stage,
        tmp_path,
        f'State_Directory = "{state(tmp_path)}"',
        'Control_Listener { Listen "/tmp/2025" { Enable = false } }',
        upstream_port=upstream.port,
    )
    await eventually(lambda: [each for each in ringback.log if each["event"] == "serving"], "it serves")
    assert not (state(tmp_path) / NAME).exists()


# ---------------------------------------------------------------- the socket


async def test_a_killed_control_process_leaves_a_socket_that_its_successor_replaces(
    stage: Stage, tmp_path: Path
) -> None:
    at = await desk(stage, tmp_path)
    os.kill(at.ringback.controls[-1], signal.SIGKILL)
    await eventually(lambda: len(of(at, "control_started")) == 2, "another one starts")
    await eventually_answered(lambda: _answers(at), "the console answers")


async def test_a_change_outlives_the_control_process_and_a_worker_that_was_started_after_it(
    stage: Stage, tmp_path: Path
) -> None:
    at = await desk(stage, tmp_path, scripts={"mailfrom_phase1": REFUSING})
    name = (await at.of("module list"))[0]["name"]
    await at(f"module disable {name}")
    os.kill(at.ringback.controls[-1], signal.SIGKILL)
    await eventually(lambda: len(of(at, "control_started")) == 2, "another control process starts")
    await eventually_answered(lambda: _answers(at), "the console answers")
    os.kill(at.ringback.workers[0], signal.SIGKILL)
    await eventually(lambda: len(of(at, "worker_started")) == 2, "another worker starts")
    await eventually_answered(lambda: _answers(at), "it answers")
    assert (await at.of("module list"))[0]["enabled"] is False
    at.ringback.program.process.send_signal(signal.SIGHUP)
    await eventually(lambda: of(at, "reloaded"), "the configuration is loaded again")
    await eventually_answered(lambda: _answers(at), "the console answers")
    assert (await at.of("module list"))[0]["enabled"] is True


async def test_two_servers_with_one_folder_are_told_apart_and_the_second_follows_the_first(
    stage: Stage, tmp_path: Path
) -> None:
    at = await desk(stage, tmp_path)
    (tmp_path / "second").mkdir()
    second = await opened(
        stage, tmp_path / "second", f'State_Directory = "{at.folder}"', upstream_port=at.upstream.port
    )
    (told,) = await eventually(
        lambda: [each for each in second.log if each["event"] == "console_unavailable"], "the second one says so"
    )
    assert told["level"] == "error"
    assert "give each its own State_Directory" in told["reason"]
    assert await at("pid") == str(at.ringback.program.process.pid)
    await at("shutdown")
    await at.ringback.ended()
    wanted = str(second.program.process.pid)

    async def answers() -> bool:
        try:
            return await at("pid") == wanted
        except OSError:
            return False

    await eventually_answered(answers, "the second one takes the place")


# ---------------------------------------------------------------- ringback console


async def _run(at: Desk, *words: str, given: bytes = b"") -> tuple[int, str, str]:
    return await asyncio.to_thread(lambda: ended("console", "-c", at.ringback.configuration, *words, given=given))


async def test_the_command_line_gives_one_command_or_many(stage: Stage, tmp_path: Path) -> None:
    at = await desk(stage, tmp_path)
    assert await _run(at, "pid") == (0, f"{at.ringback.program.process.pid}\n", "")
    right = await asyncio.to_thread(at.ringback.configuration.read_text)
    for wrong in ("bogus = 1\n", "}\n", "Gateway = (\n"):  # somebody edits the file
        await asyncio.to_thread(at.ringback.configuration.write_text, right + wrong)
        assert await _run(at, "pid") == (0, f"{at.ringback.program.process.pid}\n", "")
    assert (await asyncio.to_thread(ended, "status", "-c", at.ringback.configuration))[0] == 0
    await asyncio.to_thread(at.ringback.configuration.write_text, right)
    status, told, _ = await _run(at, "json", "list", "sessions")
    assert (status, json.loads(told)["sessions"]) == (0, [])
    status, told, _ = await _run(at, "xml", "list", "sessions")
    assert status == 0
    assert told.startswith("<list_sessions>")
    assert "<sessions />" in told
    status, told, problems = await _run(at, given=b"pid\nbogus\nvers\n")
    assert status == 1
    assert told.splitlines()[1].startswith("Ringback ")
    assert "bogus command not understood" in problems
    status, told, problems = await _run(at, given=b"conf reload\ncounter add x\njson workers\n")
    assert (status, problems) == (0, "")
    assert '"generation": 2' in told
    status, _, problems = await _run(at, "sh")
    assert status == 1
    assert "may be" in problems
    status, told, _ = await _run(at, "-r", "ticket 7", "drain", "off")
    assert status == 0
    assert next(each for each in of(at, "console_command") if each["command"] == "drain off")["reason"] == "ticket 7"


@pytest.mark.parametrize(("words", "wanted"), [("event=message", '"event": "message"'), ("--trace", '"line": "QUIT"')])
async def test_what_the_command_line_follows_with_json_has_the_form_of_the_schema(
    stage: Stage, tmp_path: Path, words: str, wanted: str
) -> None:
    at = await desk(stage, tmp_path)
    program = Program(
        command("tail", "-c", str(at.ringback.configuration), "--json", words),
        folder=tmp_path,
        name="tail",
        environment=environment(),
    )

    async def sends_until_printed() -> bool:
        async with await greeted(at.ringback) as client:
            await client.deliver("a@ok.test", ["b@example.com"], MESSAGE)
            await client.ask("QUIT")
        printed = await asyncio.to_thread(program.stdout.read_text)
        return wanted in printed and printed.endswith("\n")

    try:
        await eventually_answered(sends_until_printed, f"{wanted} is printed")
        printed = await asyncio.to_thread(program.stdout.read_text)
    finally:
        await asyncio.to_thread(program.stop)
    valid = Draft202012Validator(json.loads(schema.FILE.read_text()))
    for line in printed.splitlines():
        valid.validate(json.loads(line))


async def test_what_was_changed_is_in_the_history(stage: Stage, tmp_path: Path) -> None:
    at = await desk(stage, tmp_path)
    await said(at.folder, "drain off", reason="ticket 9")

    def rows() -> bool:
        files = list(at.folder.glob("history-*.db"))
        return any(b"ticket 9" in each.read_bytes() for each in at.folder.glob("history-*")) if files else False

    await eventually(rows, "the history has it")


async def test_cache_purge_lets_the_running_server_forget_at_once(stage: Stage, tmp_path: Path) -> None:
    await stage.exchanger("ok.test")
    upstream = await stage.upstream()
    ringback = await stage.ringback(upstream.port, core=[f'State_Directory = "{state(tmp_path)}"', "Workers = 2"])
    at = Desk(ringback, upstream, state(tmp_path))
    await eventually_answered(lambda: _answers(at), "the console answers")
    async with await greeted(ringback) as client:
        assert (await client.ask("MAIL FROM:<known@ok.test>")).startswith("250")
    assert "pass" in await at("smtp_cbv lookup known@ok.test")
    status, told, _ = await asyncio.to_thread(ended, "cache", "-c", ringback.configuration, "purge", "known@ok.test")
    assert (status, told) == (0, "1 record removed\n")
    assert await at("smtp_cbv lookup known@ok.test") == "known@ok.test: nothing is cached"
    assert (await at.of("smtp_cbv stats"))["verdicts_in_memory"] == 0


async def test_at_a_terminal_there_is_a_prompt_that_completes_words_and_keeps_its_history(
    stage: Stage, tmp_path: Path
) -> None:
    at = await desk(stage, tmp_path)

    def talk() -> tuple[int, str]:
        ours, theirs = pty.openpty()
        process = subprocess.Popen(
            command("console", "-c", str(at.ringback.configuration)),
            stdin=theirs, stdout=theirs, stderr=theirs,
            env=environment() | {"HOME": str(tmp_path), "TERM": "dumb"},
            start_new_session=True,
        )  # fmt: skip
        os.close(theirs)
        shown = ""
        for wanted, answer in (("ringback> ", "vers\t\n"), ("ringback> ", "json pi\t\n"), ("ringback> ", "quit\n")):
            while wanted not in shown.rpartition("\n")[2]:
                assert select.select([ours], [], [], 30)[0], shown
                shown += os.read(ours, 4096).decode()
            os.write(ours, answer.encode())
            shown += "\n"
        status = process.wait(30)
        os.close(ours)
        return status, shown

    status, shown = await asyncio.to_thread(talk)
    assert status == 0
    assert "# Ringback " in shown
    assert f"\n{at.ringback.program.process.pid}" in shown.replace("\r", "")
    history = await asyncio.to_thread((tmp_path / ".ringback_history").read_text)
    assert "version" in history


async def test_without_a_server_the_command_line_says_so(tmp_path: Path) -> None:
    configuration = tmp_path / "e.conf"
    configuration.write_text(
        f'ESMTP_Listener = ( 127.0.0.1:2 )\nGateway = "127.0.0.1"\nState_Directory = "{state(tmp_path)}"\n'
    )
    status, _, problems = await asyncio.to_thread(ended, "console", "-c", configuration, "pid")
    assert status == 69
    assert "no server answers" in problems
    assert "it does not run" in problems
    configuration.write_text(f'State_Directory = "{tmp_path}/gone"\n')
    status, _, problems = await asyncio.to_thread(ended, "console", "-c", configuration, "pid")
    assert status == 69
    assert "there is no such folder" in problems
