"""Settings from the console: for all workers or none, for new sessions, until a reload; over real processes."""

from __future__ import annotations

import asyncio
import json
import os
import signal
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path

import pytest
from jsonschema import Draft202012Validator

from proxy.cli.grammar import schema
from proxy.console.client import Client, Failed
from proxy.console.places import places
from tests.support.exchanger import Exchanger, says
from tests.support.house import House
from tests.support.ringback import Ringback, ended

MESSAGE = b"Subject: settings\r\n\r\ntext\r\n"

Start = Callable[..., Ringback]


@pytest.fixture
async def upstream() -> AsyncIterator[Exchanger]:
    async with Exchanger() as server:
        yield server


@pytest.fixture
def start(upstream: Exchanger, tmp_path: Path) -> Iterator[Start]:
    """Start Ringback with these lines and two workers; it must end cleanly."""
    started: list[Ringback] = []

    def begin(*lines: str, workers: int = 2, **scripts: str) -> Ringback:
        (tmp_path / "state").mkdir()
        given = (f'State_Directory = "{tmp_path}/state"', f"Workers = {workers}", *lines)
        house = House(upstream_port=upstream.port, lines=given, scripts=scripts)
        started.append(Ringback(house, tmp_path).start())
        return started[0]

    yield begin
    for each in started:
        each.program.stop()


class Console:
    """The console of a server, whose control process may be another one at each command."""

    def __init__(self, tmp_path: Path) -> None:
        self._folders = places(tmp_path / "state")

    def _ask(self, line: str, texts: dict[str, str]) -> str:
        with Client(self._folders) as client:
            return "\n".join(text for lines in client.ask(line, texts=texts, reason="a test") for text in lines)

    async def __call__(self, line: str, **texts: str) -> str:
        return await asyncio.to_thread(self._ask, line, texts)

    async def refuses(self, line: str, **texts: str) -> str:
        with pytest.raises(Failed) as refused:
            await self(line, **texts)
        return str(refused.value)

    async def ready(self) -> Console:
        async def answers() -> bool:
            try:
                return len((await self("workers")).splitlines()) >= 3
            except OSError:
                return False

        for _ in range(600):
            if await answers():
                return self
            await asyncio.sleep(0.05)
        raise AssertionError("the console does not answer")


@pytest.fixture
def console(tmp_path: Path) -> Console:
    return Console(tmp_path)


async def banner(ringback: Ringback) -> str:
    client = await ringback.conversation()
    try:
        return client.banner
    finally:
        await client.close()


async def banners(ringback: Ringback, times: int = 12) -> set[str]:
    """Return what new clients hear; the kernel spreads them over the workers."""
    return {(await banner(ringback)).strip() for _ in range(times)}


async def test_a_setting_holds_for_new_sessions_of_all_workers_at_once(start: Start, console: Console) -> None:
    ringback = start()
    await ringback.logged("serving")
    await console.ready()
    async with await ringback.conversation() as old:
        assert await console("config set banner_hostname changed.test") == "banner_hostname = changed.test"
        assert await banners(ringback) == {"220 changed.test ESMTP Ringback"}
        assert (await old.deliver("", ["b@example.com"], MESSAGE)).startswith("250 ")
    assert await console("config get banner_hostname") == "banner_hostname = changed.test"
    assert await console("config eval idle_time") == "idle_time = 300"
    assert await console("config get idle_time") == "Option 'idle_time' is not set in scope ''."
    (told,) = await ringback.logged("config_differs")
    assert told["settings"] == 1
    (event,) = await ringback.logged("console_command")
    assert (event["reason"], event["outcome"]) == ("a test", "done")
    assert "Effective value is now:" in await console("config unset banner_hostname")
    assert await banners(ringback) == {"220 ringback.test ESMTP Ringback"}


async def test_a_worker_that_is_stopped_keeps_a_setting_from_all(start: Start, console: Console) -> None:
    ringback = start("Worker_Timeout = 0")
    await ringback.logged("serving")
    await console.ready()
    stopped = ringback.workers[0]
    os.kill(stopped, signal.SIGSTOP)
    try:
        refusal = await console.refuses("config set banner_hostname changed.test")
    finally:
        os.kill(stopped, signal.SIGCONT)
    assert refusal.startswith("nothing was changed: worker ")
    assert f"(pid {stopped})" in refusal
    await console.ready()
    assert await banners(ringback) == {"220 ringback.test ESMTP Ringback"}
    assert await console("config get banner_hostname") == "Option 'banner_hostname' is not set in scope ''."
    assert await console("config set banner_hostname again.test") == "banner_hostname = again.test"
    assert await banners(ringback) == {"220 again.test ESMTP Ringback"}


async def test_a_worker_and_a_control_process_that_are_replaced_keep_a_setting(start: Start, console: Console) -> None:
    ringback = start()
    await ringback.logged("serving")
    await console.ready()
    await console("config set banner_hostname changed.test")
    for worker in ringback.workers:
        os.kill(worker, signal.SIGKILL)
    await ringback.logged("listening", 4)
    assert await banners(ringback) == {"220 changed.test ESMTP Ringback"}
    (control,) = [each["pid"] for each in await ringback.logged("control_started")]
    os.kill(control, signal.SIGKILL)
    await ringback.logged("control_started", 2)
    await console.ready()
    assert await console("config diff") == "- banner_hostname = changed.test"


async def test_a_reload_prints_the_difference_and_drops_settings(start: Start, console: Console) -> None:
    ringback = start()
    await ringback.logged("serving")
    await console.ready()
    await console("config set banner_hostname changed.test")
    text = ringback.configuration.read_text()
    ringback.configuration.write_text(f"{text}Idle_Time = 60\n")
    assert await console("config diff") == "- banner_hostname = changed.test\n+ idle_time = 60"
    answer = await console("config reload")
    assert answer.splitlines() == [
        "- banner_hostname = changed.test",
        "+ idle_time = 60",
        "The configuration has been loaded again.",
    ]
    await console.ready()
    assert await banners(ringback) == {"220 ringback.test ESMTP Ringback"}
    assert await console("config diff") == "The running configuration is the same as the file."


async def test_a_broken_file_changes_nothing_and_its_diagnostics_come_back(start: Start, console: Console) -> None:
    ringback = start()
    await ringback.logged("serving")
    await console.ready()
    await console("config set banner_hostname changed.test")
    text = ringback.configuration.read_text()
    ringback.configuration.write_text(f"{text}Idle_Time = never\n")
    refusal = await console.refuses("config reload")
    assert "`never` is not a duration" in refusal
    assert "^~~~~" in refusal
    ringback.configuration.write_text(f'{text}Nameservers = ( "ns.example.com" )\n')
    assert "ns.example.com" in await console.refuses("config reload")
    assert await banners(ringback) == {"220 changed.test ESMTP Ringback"}


@pytest.mark.parametrize(
    ("command", "told"),
    [
        ("config set idle_time never", "console:1:13: error: `never` is not a duration"),
        ("config set idle_tim 5", "did you mean idle_time?"),
        ("config set workers 4", "workers cannot be set here, because it needs a reload"),
        ("config set state_directory /tmp", "no path can be set here"),
        ("config set esmtp_listener listen 127.0.0.1:1 idle_time 5", "nothing listens on 127.0.0.1:1"),
        ("config set domain example.com relay_domains ( a.test )", "not allowed in domain"),
        ("config set session_time 0 } include /etc/passwd", "`}` closes nothing"),
        ("config set gateway 127.0.0.1:{port}", "is our own listener"),
        ("config set sieve script mailfrom_phase1 source x.siv", "was not sent"),
        ("config unset idle_time", "Option 'idle_time' is not set in scope ''."),
    ],
)
async def test_a_wrong_setting_is_refused_as_check_would(
    start: Start, console: Console, command: str, told: str
) -> None:
    ringback = start(mailfrom_phase1='ec_log "file";', workers=1)
    await ringback.logged("serving")
    await console.ready()
    port = ringback.port
    refusal = await console.refuses(command.replace("{port}", str(port)))
    assert told in refusal
    assert await console("config diff") == "The running configuration is the same as the file."


async def test_scopes_of_listeners_and_domains_can_be_set(start: Start, console: Console, upstream: Exchanger) -> None:
    async with Exchanger() as other:
        ringback = start()
        await ringback.logged("serving")
        await console.ready()
        port = ringback.port
        listen = f"esmtp_listener listen 127.0.0.1:{port}"
        await console(f"config set {listen} peer 127.0.0.0/8 max_recipients_per_message 1")
        await console(f"config set domain other.test routes ( 127.0.0.1:{other.port} )")
        async with await ringback.conversation() as client:
            assert (await client.deliver("", ["b@other.test"], MESSAGE)).startswith("250 ")
        assert len(other.messages) == 1
        assert not upstream.messages
        assert "max_recipients_per_message = 1" in await console("config showrecurse esmtp_listener")
        assert await console(f"config eval {listen} peer 127.0.0.1 max_recipients_per_message") == (
            "max_recipients_per_message = 1"
        )
        assert await console("config locate domain") == "domain:other.test:"


SCRIPT = 'ec_action 550 "5.7.1 not today";'


async def test_a_script_is_read_by_the_client_and_may_include_nothing(
    start: Start, console: Console, tmp_path: Path
) -> None:
    ringback = start(mailfrom_phase1='ec_log "file";')
    await ringback.logged("serving")
    await console.ready()
    folder = tmp_path / "mine"
    folder.mkdir()
    (folder / "new.siv").write_text(SCRIPT)
    words = ("config", "set", "sieve", "sieve", "script", "mailfrom_phase1", "source", str(folder / "new.siv"))
    status, told, wrong = await asyncio.to_thread(ended, "console", "-c", ringback.configuration, *words)
    assert (status, wrong) == (0, ""), told
    async with await ringback.conversation() as client:
        await client.ehlo()
        assert (await client.ask("MAIL FROM:<a@example.org>")).startswith("550 5.7.1 not today")
    (folder / "new.siv").write_text('ec_include "/etc/passwd";')
    status, _, wrong = await asyncio.to_thread(ended, "console", "-c", ringback.configuration, *words)
    assert status == 1
    assert "includes a file, and a script from the console may not" in wrong
    status, _, wrong = await asyncio.to_thread(
        ended, "console", "-c", ringback.configuration, *words[:-1], str(folder / "absent.siv")
    )
    assert "absent.siv: No such file or directory" in wrong
    assert "from the console" in await console("config diff")


async def test_a_session_keeps_what_it_began_with_over_several_changes(start: Start, console: Console) -> None:
    ringback = start(mailfrom_phase1='ec_log "file";', workers=1)
    await ringback.logged("serving")
    await console.ready()
    async with await ringback.conversation() as old:
        await old.ehlo()
        await console("config set sieve script mailfrom_phase1 source new.siv", **{"new.siv": SCRIPT})
        await console("config set banner_hostname changed.test")
        async with await ringback.conversation() as new:
            await new.ehlo()
            assert (await new.ask("MAIL FROM:<a@example.org>")).startswith("550 5.7.1 not today")
            await console("module disable sieve")
            assert (await new.ask("MAIL FROM:<a@example.org>")).startswith("250 ")
            await console("module enable sieve")
        assert (await old.ask("MAIL FROM:<a@example.org>")).startswith("250 ")


async def test_a_reload_says_goodbye_to_sessions_from_before_a_setting(start: Start, console: Console) -> None:
    ringback = start('Reconfig_Message = "4.3.2 come again"', workers=1)
    await ringback.logged("serving")
    await console.ready()
    async with await ringback.conversation() as old:
        await old.ehlo()
        await console("config set banner_hostname changed.test")
        await console("config reload")
        assert (await old.reply()).startswith("421 4.3.2 come again")


@pytest.mark.parametrize("dialect", ["rfc5228", "auto"])
async def test_a_script_from_the_console_has_the_dialect_of_its_stanza(
    start: Start, console: Console, dialect: str, tmp_path: Path
) -> None:
    (tmp_path / "file.sieve").write_text("keep;\n")
    stanza = f'sieve {{\n  dialect = {dialect}\n  data_phase1 = "file.sieve"\n}}'
    ringback = start(stanza, workers=1)
    await ringback.logged("serving")
    await console.ready()
    standard = 'require ["envelope", "reject"];\nif envelope "from" "a@example.org" { reject "standard"; }\n'
    await console("config set sieve script data_phase1 source new.sieve", **{"new.sieve": standard})
    async with await ringback.conversation() as client:
        await client.ehlo()
        assert (await client.deliver("a@example.org", ["b@example.com"], MESSAGE)).startswith("550 standard")
    plus = 'ec_action 550 "Sieve++";\n'
    refusal = await console.refuses("config set sieve script data_phase1 source new.sieve", **{"new.sieve": plus})
    assert "ec_action" in refusal
    including = 'require "include";\ninclude :personal "other";\n'
    refusal = await console.refuses("config set sieve script data_phase1 source new.sieve", **{"new.sieve": including})
    assert "includes a file, and a script from the console may not" in refusal


DUPLICATES = 'require ["duplicate", "reject"];\nif duplicate { reject "seen"; }\n'


async def test_what_scripts_remember_outlives_a_setting(start: Start, console: Console, tmp_path: Path) -> None:
    (tmp_path / "file.sieve").write_text(DUPLICATES)
    stanza = 'sieve {\n  dialect = rfc5228\n  store = memory\n  data_phase1 = "file.sieve"\n}'
    ringback = start(stanza, workers=1)
    await ringback.logged("serving")
    await console.ready()
    letter = b"Message-ID: <1@example.org>\r\n" + MESSAGE
    async with await ringback.conversation() as client:
        await client.ehlo()
        assert (await client.deliver("a@example.org", ["b@example.com"], letter)).startswith("250 ")
    await console("config set sieve script_timeout 9")
    async with await ringback.conversation() as client:
        await client.ehlo()
        assert (await client.deliver("a@example.org", ["b@example.com"], letter)).startswith("550 ")


# ---- explain


CALLING = """
$from = envelope "from";
($rv) = smtp_callback_verify "${from}";
if ec_test :is "${rv}" "fail" {
  ec_action 550 "5.1.8 from address not reachable";
}
"""

LIMITS = ('Connection_Rate_Per_Client = "100/60"', 'Message_Rate_Per_Client = "50/60"')


def calling(exchanger: Exchanger) -> tuple[str, ...]:
    stanza = [f"port = {exchanger.port}", "allow_networks = ( 127.0.0.0/8 )", 'map = [ example.org = "127.0.0.1" ]']
    return ("smtp_cbv {\n" + "\n".join(f"  {each}" for each in stanza) + '\n  tls = no\n  mailfrom = ""\n}',)


async def test_explain_says_what_a_client_would_hear_and_changes_nothing(
    start: Start, console: Console, upstream: Exchanger
) -> None:
    async with Exchanger(recipients={"bad@example.org": says("550 5.1.1 no such user")}) as exchanger:
        ringback = start(*calling(exchanger), *LIMITS, mailfrom_phase1=CALLING)
        await ringback.logged("serving")
        await console.ready()
        asked = "explain client=127.0.0.9 helo=client.test from=bad@example.org rcpt=b@example.com"
        before, connections = await console("limits show 127.0.0.9"), [*upstream.dialogues]
        told = await console(asked)
        assert "unknown    sieve at mailfrom: the callback's verdict on bad@example.org: not cached" in told
        assert "b@example.com goes to" in told
        assert not exchanger.dialogues
        assert upstream.dialogues == connections
        assert await console("limits show 127.0.0.9") == before
        async with await ringback.conversation() as client:
            await client.ehlo()
            assert (await client.ask("MAIL FROM:<bad@example.org>")).startswith("550 5.1.8")
        probes, refused = len(exchanger.dialogues), await console("show inbound")
        told = await console(asked)
        assert "callback bad@example.org: fail (no_such_user)" in told
        assert "550 5.1.8 from address not reachable" in told
        assert told.splitlines()[-1].startswith("reply      550 5.1.8 from address not reachable (decided by script ")
        assert f"{ringback.configuration.parent}/mailfrom_phase1.siv:5" in told.splitlines()[-1]
        assert len(exchanger.dialogues) == probes
        assert await console("show inbound") == refused


async def test_explain_follows_the_settings_of_the_console(start: Start, console: Console) -> None:
    ringback = start(*LIMITS, 'conntrol {\n  pause_time = 0\n  banner = "be quiet"\n}')
    await ringback.logged("serving")
    await console.ready()
    asked = "explain client=127.0.0.9 helo=client.test from=a@example.org rcpt=b@elsewhere.example"
    told = await console(asked)
    assert "connect    banner: 220 be quiet" in told
    assert "550 5.7.1 Relaying denied" in told
    await console("config set relay_hosts ( 127.0.0.9 )")
    assert "b@elsewhere.example goes to" in await console(asked)
    assert "Relaying denied" in await console(asked.replace("127.0.0.9", "127.0.0.8"))
    assert "limit      worker 1: connection_rate_per_client 100/60, now 100.0 left" in await console(asked)
    status, printed, _ = await asyncio.to_thread(
        ended, "explain", "-c", ringback.configuration, "--json", "--auth", "me", *asked.split()[1:]
    )
    assert status == 0
    assert "as me; may relay to any domain" in printed
    whole = json.loads(schema.FILE.read_text())
    Draft202012Validator({**whole, "anyOf": [whole["$defs"]["ringback explain"]]}).validate(json.loads(printed))
    assert "is not an IP address" in await console.refuses(asked.replace("127.0.0.9", "nobody"))
