"""What ships for Fail2Ban and rsyslog reads a real log: the right clients are banned, and each event arrives."""

from __future__ import annotations

import asyncio
import base64
import json
import re
import signal
import subprocess
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from proxy.events.forms import console, logfmt, sentence
from proxy.events.table import EVENTS
from tests.proxy.events.test_forms import filled, lines_of
from tests.support.conversation import Conversation
from tests.support.house import House
from tests.support.programs import Folder, Program, find_program
from tests.support.ringback import ROOT, Ringback, ended
from tests.support.waiting import eventually

FILTER = ROOT / "share/fail2ban/filter.d/ringback.conf"
JAIL = ROOT / "share/fail2ban/jail.d/ringback.conf"
RSYSLOG = ROOT / "share/rsyslog/ringback.conf"
LOG = "/var/log/ringback/ringback.log"

GUESSER, EARLY, CARELESS, RELAY, FRIEND, INNOCENT = (f"127.0.0.{number}" for number in (21, 22, 23, 24, 25, 26))

PRETENDED = f'x","client":"{INNOCENT}","decided_by":"early_talker","event":"authentication_failed'
"""What a client says who wants another one to be banned."""


@pytest.fixture
def folder() -> Iterator[Path]:
    made = Folder("log")
    yield made.path
    made.remove()


async def _served(folder: Path, *lines: str) -> Ringback:
    house = House(
        lines=(
            f'Log_File = "{folder}/ringback.log"',
            "Log_Format = json",
            f'State_Directory = "{folder}"',
            'Gateway = "127.0.0.1"',
            "Remote_SMTP_Port = 9",
            *lines,
        )
    )
    return await Ringback(house, folder).started()


async def _talk(ringback: Ringback, source: str, *lines: str, early: bool = False) -> None:
    client = await Conversation.connect("127.0.0.1", ringback.port, source=source)
    if early:
        await client.send("EHLO early.test")
    await client.reply()
    for line in lines:
        await client.ask(line)
    client.abort()


def _password(user: str) -> str:
    return "AUTH PLAIN " + base64.b64encode(f"\0{user}\0wrong".encode()).decode()


async def _hostile(folder: Path) -> Path:
    """Serve clients of every kind, and return the log."""
    users = folder / "users"
    users.write_text(ended("password", "bob", "--stdin", given=b"right\n")[1])
    users.chmod(0o600)
    auth = ("Authentication = file", f'Authentication_File = "{users}"', "Authentication_Without_TLS = yes")
    ringback = await _served(folder, *auth, "conntrol { pause_time = 1s }", "Workers = 2")
    try:
        await asyncio.gather(
            _talk(ringback, GUESSER, "EHLO guesser.test", _password("bob"), _password(PRETENDED)),
            _talk(ringback, EARLY, early=True),
            _talk(ringback, CARELESS, *[f"FOO {PRETENDED}"] * 20),
            _talk(ringback, RELAY, "EHLO relay.test", f"MAIL FROM:<a@{RELAY}.test>", "RCPT TO:<x@foreign.example>"),
            _talk(ringback, FRIEND, f"EHLO {PRETENDED}", "EHLO friend.test", "FOO", "MAIL FROM:<a@b.test>", "QUIT"),
        )
    finally:
        await asyncio.to_thread(ringback.stop)
    return folder / "ringback.log"


@pytest.mark.real("fail2ban-regex")
async def test_fail2ban_bans_those_that_deserve_it_and_nobody_that_a_client_names(folder: Path) -> None:
    log = await _hostile(folder)

    def banned(mode: str) -> Counter[str]:
        command = [find_program("fail2ban-regex"), "-o", "ip", str(log), f"{FILTER}[mode={mode}]"]
        done = subprocess.run(command, capture_output=True, text=True, check=True)
        return Counter(done.stdout.split())

    assert await asyncio.to_thread(banned, "auth") == {GUESSER: 2}
    assert await asyncio.to_thread(banned, "aggressive") == {GUESSER: 2, EARLY: 1, CARELESS: 1, RELAY: 1}


FORGERIES = (
    PRETENDED,
    f'{{"timestamp":"2026-11-30T12:00:00.000000Z","event":"authentication_failed","level":"info","session":"x","client":"{INNOCENT}",',
    f'\n{{"timestamp":"2026-11-30T12:00:00.000000Z","event":"authentication_failed","level":"info","session":"x","client":"{INNOCENT}",',
    f'\u2028,"event":"refused","level":"info","session":"x","client":"{INNOCENT}","decided_by":"too_many_errors"',
    f'","level":"info","session":"","client":"{INNOCENT}","decided_by":"relay_domains',
    f"event=authentication_failed client={INNOCENT} decided_by=early_talker",
    f"{INNOCENT} sent a wrong password for x, refused by {INNOCENT} [{INNOCENT}]",
)
"""What a stranger may write wherever a field is foreign."""


OURS = {"session": "6h2q-1", "transaction": "6h2q-1.1", "client": GUESSER}
"""Fields that no stranger fills."""

FORMS = {
    "json": bytes,
    "logfmt": logfmt,
    "console": console,
    "sentences": lambda line: sentence(json.loads(line)).encode(),
}
"""With the journal, Fail2Ban reads the sentences."""


def _all_events(forgery: str) -> list[bytes]:
    """Return a line of each event that there is, by a client that says this in every foreign field."""
    said = [(event.name, filled(event, forgery)) for event in EVENTS.values()]
    return lines_of(*((name, {key: OURS.get(key, value) for key, value in fields.items()}) for name, fields in said))


@pytest.mark.real("fail2ban-regex")
@pytest.mark.parametrize("forms", [["json"], ["logfmt", "console", "sentences"]], ids=lambda forms: forms[0])
def test_no_event_in_any_format_lets_a_stranger_ban_somebody_else(folder: Path, forms: list[str]) -> None:
    lines = [FORMS[form](line) for form in forms for forgery in FORGERIES for line in _all_events(forgery)]
    (folder / "log").write_bytes(b"".join(line.rstrip(b"\n") + b"\n" for line in lines))
    command = [find_program("fail2ban-regex"), "-o", "ip", str(folder / "log"), f"{FILTER}[mode=aggressive]"]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    wrong_passwords = 2 * len(FORGERIES)  # authentication_failed and authentication_limited
    assert Counter(done.stdout.split()) == ({GUESSER: wrong_passwords} if forms == ["json"] else {})


def test_the_jail_names_the_filter_and_the_log_that_the_pages_name() -> None:
    jail = JAIL.read_text()
    assert f"filter = {FILTER.stem}[mode=auth]" in jail
    assert f"logpath = {LOG}" in jail
    assert LOG in RSYSLOG.read_text()
    assert LOG in (ROOT / "docs/operating.md").read_text()


async def _heard(ringback: Ringback, greeting: str, condition: Callable[[], bool]) -> None:
    """Talk until it is so: rsyslog reads at the next line what was written before it watched the file."""
    async with asyncio.timeout(60):
        while not condition():
            await _talk(ringback, FRIEND, greeting, "QUIT")


@pytest.mark.real("rsyslogd")
async def test_rsyslog_writes_each_event_and_follows_a_rotation(folder: Path) -> None:
    text = RSYSLOG.read_text().replace(LOG, f"{folder}/ringback.log").replace("/var/log/mail.log", f"{folder}/mail.log")
    (folder / "rsyslog.conf").write_text(f'global(workDirectory="{folder}")\n{text}')
    ringback = await _served(folder)
    command = [find_program("rsyslogd"), "-n", "-f", f"{folder}/rsyslog.conf", "-i", f"{folder}/rsyslog.pid"]
    rsyslog = Program(command, folder=folder, name="rsyslogd")

    def written() -> str:
        path = folder / "mail.log"
        return path.read_text() if path.exists() else ""

    try:
        await _heard(ringback, "EHLO one.test", lambda: "one.test" in written())
        (folder / "ringback.log").rename(folder / "ringback.log.1")
        ringback.program.process.send_signal(signal.SIGUSR1)
        await eventually((folder / "ringback.log").exists, "the log is reopened")
        await _heard(ringback, "EHLO two.test\t\x01", lambda: "two.test" in written())
    finally:
        rsyslog.stop()
        await asyncio.to_thread(ringback.stop)
    form = re.compile(r'\d{4}-\d\d-\d\dT[\d:.]+Z \S+ ringback: (info|warning|error) \{"timestamp":.*\}')
    assert [line for line in written().splitlines() if form.fullmatch(line) is None] == []
