"""The Debian package in a clean Debian: installed, started by its unit, upgraded under load, and purged.

The machine is a folder that debootstrap made. It has no systemd: `tests/support/unit.py` replaces it.
"""

from __future__ import annotations

import asyncio
import random
import re
import shutil
import smtplib
import sqlite3
import ssl
import subprocess
from collections.abc import Iterator
from contextlib import closing, suppress
from pathlib import Path

import pytest

from proxy.outbox.tables import opened
from tests.support.certificates import make_certificate
from tests.support.conversation import Conversation
from tests.support.mortal import MortalPostfix
from tests.support.oracle import Books, Outcome, hand_in
from tests.support.programs import free_port, wait_until
from tests.support.ringback import ROOT
from tests.support.unit import Machine, made
from tests.support.waiting import eventually

pytestmark = pytest.mark.real("debootstrap", "systemd-analyze", "lintian", "logrotate", "postfix")

HIGHEST_EXPOSURE = 1.5
"""What docs/installing.md says of the unit."""

NEWER = "1.0"
CLIENTS = 20


@pytest.fixture(scope="module")
def package() -> Path:
    """The package of this checkout."""
    return made("debian/build")


@pytest.fixture(scope="module")
def newer(package: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The same under a higher version; to build it anew would take ten times as long."""
    folder = tmp_path_factory.mktemp("newer")
    _printed("dpkg-deb", "--raw-extract", package, folder / "content")
    (installed,) = (folder / "content/usr/lib/ringback/lib").glob("python3*/site-packages/ringback-*.dist-info")
    for path, label in ((folder / "content/DEBIAN/control", "Version"), (installed / "METADATA", "Version")):
        text, count = re.subn(rf"^{label}: .*$", f"{label}: {NEWER}", path.read_text(), count=1, flags=re.MULTILINE)
        assert count == 1, path
        path.write_text(text)
    installed.rename(installed.with_name(f"ringback-{NEWER}.dist-info"))
    _printed("dpkg-deb", "--root-owner-group", "-Znone", "--build", folder / "content", folder / "newer.deb")
    shutil.rmtree(folder / "content")
    return folder / "newer.deb"


@pytest.fixture
def machine(tmp_path: Path) -> Iterator[Machine]:
    """A clean Debian."""
    with Machine(made("base"), tmp_path) as clean:
        yield clean


@pytest.fixture
def postfix() -> Iterator[MortalPostfix]:
    with MortalPostfix() as server:
        yield server


def _printed(*command: str | Path) -> str:
    ended = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False)
    assert ended.returncode == 0, ended.stdout
    return ended.stdout


# ---------------------------------------------------------------- what is in it


def test_lintian_finds_nothing_that_no_override_explains(package: Path) -> None:
    assert _printed("lintian", "--allow-root", "--tag-display-limit", "0", package) == ""
    overrides = (ROOT / "packaging/debian/lintian-overrides").read_text().splitlines()
    assert overrides[0].startswith("# "), "each group of overrides begins with its reason"


def test_it_depends_on_the_python_that_it_was_built_for(package: Path) -> None:
    depends = _printed("dpkg-deb", "--field", package, "Depends")
    assert "python3 (>= 3.11), python3 (<< 3.12)" in depends


def test_it_brings_pages_completion_and_configuration(package: Path) -> None:
    names = {line.split()[5] for line in _printed("dpkg-deb", "--contents", package).splitlines()}
    pages = {f"./usr/share/man/man1/{each.name}.gz" for each in (ROOT / "docs/man").glob("*.1")}
    assert len(pages) > 10
    assert pages <= names
    assert {
        "./etc/logrotate.d/ringback",
        "./usr/bin/ringback",
        "./usr/lib/systemd/system/ringback.service",
        "./usr/share/bash-completion/completions/ringback",
        "./usr/share/fish/vendor_completions.d/ringback.fish",
        "./usr/share/zsh/vendor-completions/_ringback",
        "./usr/share/doc/ringback/operating.md",
    } <= names
    kept = {f"./{path}" for path in _printed("dpkg-deb", "--info", package, "conffiles").split()}
    assert kept == {
        f"./{name}" for name in (f"/{each[2:]}" for each in names) if name.startswith("/etc/") and name[-1] != "/"
    }
    assert [name for name in names if "__pycache__" in name] == []


def test_the_units_sandbox_has_the_score_that_the_page_states() -> None:
    unit = ROOT / "packaging/debian/ringback.service"
    printed = _printed("systemd-analyze", "--no-pager", "security", "--offline=true", unit)
    found = re.search(r"exposure level for ringback.service: ([\d.]+)", printed)
    assert found, printed
    assert float(found[1]) == HIGHEST_EXPOSURE
    assert f"is {HIGHEST_EXPOSURE} " in (ROOT / "docs/installing.md").read_text()


# ---------------------------------------------------------------- installed, upgraded, removed


def _configure(machine: Machine, port: int, upstream: int, *lines: str) -> None:
    """Change the configuration as an administrator would."""
    path = machine.root / "etc/ringback/ecelerity.conf"
    text = path.read_text()
    for name, value in {
        "ESMTP_Listener": f"( 127.0.0.1:{port} )",
        "Hostname": '"ringback.test"',
        "Remote_SMTP_Port": str(upstream),
    }.items():
        text, count = re.subn(rf"^{name} = .*$", f"{name} = {value}", text, flags=re.MULTILINE)
        assert count == 1, name
    text = text.replace('include "sender_callback.conf"', "#include")
    path.write_text("\n".join((text, *lines, "")))


class Load:
    """Clients that hand letters in, one after another, and try again what was not confirmed."""

    def __init__(self, port: int) -> None:
        self.books, self.ends = Books(), asyncio.Event()
        self._port = port

    async def client(self, name: int) -> None:
        chance = random.Random(name)  # noqa: S311 - letters that can be repeated
        while not self.ends.is_set():
            letter = self.books.letter(chance, lines=chance.choices([3, 40, 1200], [6, 3, 1])[0])
            while not letter.is_confirmed:
                with suppress(ConnectionError):  # it does not listen yet, or the old one has ended: try again
                    async with await Conversation.open("127.0.0.1", self._port) as client:
                        if (await client.ask("EHLO client.test")).startswith("250"):
                            await hand_in(client, self.books.attempt(letter))
                await asyncio.sleep(chance.expovariate(2))  # the load, not an order

    def confirmed(self) -> int:
        return sum(each.is_confirmed for each in self.books.letters)


async def _rises(load: Load, by: int) -> None:
    goal = load.confirmed() + by
    await eventually(lambda: load.confirmed() >= goal, f"{by} more letters are confirmed", within=120)


async def test_installed_upgraded_under_load_and_purged_it_loses_and_doubles_nothing(
    machine: Machine, postfix: MortalPostfix, package: Path, newer: Path
) -> None:
    machine.lend("logrotate")
    before = await asyncio.to_thread(machine.files)
    await asyncio.to_thread(machine.installed, package)
    assert [each for each in machine.asked if "invoke" in each] == ["deb-systemd-invoke start ringback.service"]
    _is_confined(machine)
    port = free_port()
    lines = ('Log_File = "/var/log/ringback/ringback.log"', *_with_client_certificates(machine))
    _configure(machine, port, postfix.port, *lines)
    kept = (machine.root / "etc/ringback/ecelerity.conf").read_text()
    await asyncio.to_thread(machine.run, "deb-systemd-invoke", "restart", "ringback.service")
    _is_ready(machine)
    assert await asyncio.to_thread(_shows_certificate, machine, port) == 250

    load = Load(port)
    async with asyncio.TaskGroup() as clients:
        for name in range(CLIENTS):
            clients.create_task(load.client(name))
        await _rises(load, CLIENTS)
        await asyncio.to_thread(machine.installed, newer)
        assert machine.asked[-1] == "deb-systemd-invoke restart ringback.service"
        await _rises(load, CLIENTS)
        load.ends.set()
    assert machine.run("ringback", "--version").strip() == f"ringback {NEWER}"
    assert (machine.root / "etc/ringback/ecelerity.conf").read_text() == kept
    _rotates(machine)
    tally = load.books.compare(postfix.records())
    assert tally.duplicates == 0
    assert tally.outcomes[Outcome.UNKNOWN] == 0
    _is_purged(machine, before)


def _is_confined(machine: Machine) -> None:
    """See that the unit's process has the rights that the unit says, and no more."""
    state = machine.state()
    number = machine.run("id", "-u", "ringback").strip()
    assert 100 <= int(number) < 1000, "SYS_UID_MAX is 999"
    assert state["Uid"].split() == [number] * 4
    assert {state[name] for name in ("CapEff", "CapPrm", "CapBnd", "CapAmb")} == {f"{1 << 10:016x}"}
    assert (state["NoNewPrivs"], state["Seccomp"]) == ("1", "2")


def _is_ready(machine: Machine) -> None:
    ready = machine.run("runuser", "-u", "ringback", "--", "ringback", "status", "-c", "/etc/ringback/ecelerity.conf")
    assert ready.startswith("ready"), ready


def _shows_certificate(machine: Machine, port: int) -> int:
    """Show a certificate of a stranger; the verdict on it is ours, and ctypes calls it. Return the reply's code."""
    context = ssl.create_default_context()
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    folder = machine.root / "etc/ringback"
    context.load_cert_chain(folder / "own.pem", folder / "own.key")
    with smtplib.SMTP("127.0.0.1", port, local_hostname="client.test") as client:
        client.starttls(context=context)
        return client.noop()[0]


def _rotates(machine: Machine) -> None:
    """Rotate the log with the installed rules, and see the server go on in a new file."""
    log = machine.root / "var/log/ringback/ringback.log"
    old = log.stat().st_ino
    machine.run("logrotate", "--force", "--state", "/run/logrotate", "/etc/logrotate.d/ringback")
    assert machine.asked[-1] == "systemctl kill --kill-whom=main --signal=USR1 ringback.service"
    assert (log.parent / "ringback.log.1").stat().st_ino == old
    wait_until(log.exists, "a new log is begun")


def _is_purged(machine: Machine, before: dict[str, str]) -> None:
    """Purge it with a message in its outbox, and keys beside its configuration: these alone stay, set aside."""
    machine.run("deb-systemd-invoke", "stop", "ringback.service")
    outbox = machine.root / "var/lib/ringback/outbox.db"
    _one_message(outbox)
    purge = machine.root / "var/lib/dpkg/info/ringback.postrm"
    script = purge.read_text()
    printed = machine.run("dpkg", "--purge", "ringback")
    (aside,) = (machine.root / "var/backups").glob("ringback-outbox-*")
    assert f"/var/backups/{aside.name}" in printed
    assert _deliveries(aside / "outbox.db") == 1
    assert (aside.stat().st_mode & 0o777, aside.owner()) == (0o700, "root")
    (keys,) = (machine.root / "var/backups").glob("ringback-etc-*")
    assert f"/var/backups/{keys.name}" in printed
    assert {each.name for each in keys.rglob("*") if each.is_file()} == {"own.pem", "own.key", "authority.pem"}
    assert {(keys / each).owner() for each in (".", "own.key")} == {"root"}
    assert (keys.stat().st_mode & 0o777, (keys / "own.key").stat().st_mode & 0o777) == (0o700, 0o400)
    after = machine.files()
    assert {
        name: (before.get(name), after.get(name))
        for name in before.keys() | after.keys()
        if before.get(name) != after.get(name)
    } == {}

    # an empty outbox goes
    shutil.rmtree(aside)
    shutil.rmtree(keys)
    outbox.parent.mkdir()
    opened(outbox).close()
    (machine.root / "tmp/postrm").write_text(script)
    machine.run("sh", "/tmp/postrm", "purge")
    assert not outbox.parent.exists()
    assert list((machine.root / "var/backups").glob("ringback-*")) == []


def _one_message(outbox: Path) -> None:
    connection = opened(outbox)
    connection.execute(
        "INSERT INTO letters (sender, content, purpose, origin, created) VALUES ('', 'x', 'report', '', 0)"
    )
    connection.execute("INSERT INTO deliveries (letter, recipient, held, due) VALUES (1, 'a@example.com', '', 0)")
    connection.close()


def _deliveries(outbox: Path) -> int:
    with closing(sqlite3.connect(outbox)) as connection:
        count: int = connection.execute("SELECT count(*) FROM deliveries").fetchone()[0]
        return count


# ---------------------------------------------------------------- what an administrator changed


@pytest.fixture
def changed(newer: Path, tmp_path: Path) -> Path:
    """The newer package with another configuration in it."""
    folder = tmp_path / "changed"
    _printed("dpkg-deb", "--raw-extract", newer, folder)
    with (folder / "etc/ringback/ecelerity.conf").open("a") as file:
        file.write("\n# new in this release\n")
    _printed("dpkg-deb", "--root-owner-group", "-Znone", "--build", folder, tmp_path / "changed.deb")
    return tmp_path / "changed.deb"


def test_an_upgrade_keeps_what_was_changed_and_leaves_the_old_version_running_if_the_new_one_refuses_that(
    machine: Machine, package: Path, changed: Path
) -> None:
    machine.isolated = True
    machine.installed(package)
    path = machine.root / "etc/ringback/ecelerity.conf"
    _configure(machine, 25, 26, *_with_client_certificates(machine))
    machine.run("deb-systemd-invoke", "restart", "ringback.service")
    _is_ready(machine)
    assert machine.unit is not None
    serving = machine.unit.process.pid
    kept = path.read_text()
    path.write_text(kept + "Nonsense_Option = {\n")
    printed = machine.installed(changed, "--force-confold", status=1)
    assert "Nonsense_Option" in printed
    assert "the version before goes on" in printed
    assert machine.asked.count("deb-systemd-invoke restart ringback.service") == 1
    assert (machine.unit.process.pid, machine.unit.is_running) == (serving, True)
    assert (path.parent / "ecelerity.conf.dpkg-dist").is_file()
    path.write_text(kept)
    machine.run("dpkg", "--configure", "ringback")
    assert machine.asked[-1] == "deb-systemd-invoke restart ringback.service"
    assert machine.unit is not None
    assert machine.unit.process.pid != serving
    _is_ready(machine)
    assert path.read_text() == kept


def _with_client_certificates(machine: Machine) -> tuple[str, ...]:
    """Return lines that ask clients for certificates, which takes ctypes in the sandbox."""
    folder = machine.root / "etc/ringback"
    make_certificate(folder, "own")
    make_certificate(folder, "authority", authority=True)
    machine.run("chown", "ringback", "/etc/ringback/own.key")
    (folder / "own.key").chmod(0o400)
    return 'TLS_Certificate = "own.pem"', 'TLS_Key = "own.key"', 'TLS_Client_CA = "authority.pem"'
