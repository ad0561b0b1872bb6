"""Real servers for tests and benchmarks: Postfix, dnsmasq, Postfix's smtp-sink, and Redis.

Each listens on loopback, keeps everything in a temporary folder of its own, and is a context manager. A program that is
not installed raises `MissingProgramError`; `tests/conftest.py` turns that into a skip, or a failure where all are
required.
"""

from __future__ import annotations

import contextlib
import os
import pwd
import re
import socket
import struct
import subprocess
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Self

from tests.support.programs import (
    Folder,
    Program,
    accepts_connections,
    find_program,
    free_port,
)

POSTFIX_DAEMONS = Path("/usr/lib/postfix/sbin")

MAIL_DOMAIN = "example.com"
"""The domain that `Postfix` takes mail for."""

REFUSED_RECIPIENT = f"nobody@{MAIL_DOMAIN}"
"""The one address in it that Postfix refuses, with `REFUSED_REPLY`."""

REFUSED_REPLY = f"550 5.1.1 <{REFUSED_RECIPIENT}>: Recipient address rejected: No such person here"

_MASTER = """\
cleanup unix n - n - 0 cleanup
qmgr unix n - n 300 1 qmgr
rewrite unix - - n - - trivial-rewrite
bounce unix - - n - 0 bounce
defer unix - - n - 0 bounce
trace unix - - n - 0 bounce
verify unix - - n - 1 verify
error unix - - n - - error
retry unix - - n - - error
discard unix - - n - - discard
smtp unix - - n - - smtp
virtual unix - n n - - virtual
proxymap unix - - n - - proxymap
anvil unix - - n - 1 anvil
tlsmgr unix - - n 1000? 1 tlsmgr
postlog unix-dgram n - n - 1 postlogd
"""


class Server:
    """A server program on a port of 127.0.0.1, with a temporary folder of its own. Not a server itself."""

    program = ""
    """The program that the server is."""

    def __init__(self) -> None:
        """Choose the port; nothing runs before `start`."""
        self.port = free_port()
        self._folder: Folder | None = None
        self._running: Program | None = None

    @property
    def address(self) -> str:
        """`127.0.0.1:port`."""
        return f"127.0.0.1:{self.port}"

    @property
    def folder(self) -> Path:
        """Everything that the server writes."""
        assert self._folder is not None, "not started"
        return self._folder.path

    @property
    def running(self) -> Program:
        """The program."""
        assert self._running is not None, "not started"
        return self._running

    def start(self) -> Self:
        """Start it and wait until it serves.

        Raises:
            MissingProgramError: the program is not installed.
        """
        find_program(self.program)
        self._folder = Folder(self.program)
        try:
            self._running = Program(self._prepare(), folder=self.folder, name=self.program)
            self._running.wait_ready(self._is_ready)
        except BaseException:
            self.stop()
            raise
        return self

    def stop(self) -> None:
        """Stop it and remove its folder."""
        if self._running is not None:
            self._running.stop()
        if self._folder is not None:
            self._folder.remove()
        self._running = self._folder = None

    def _prepare(self) -> list[str]:
        """Write the files it needs and return its command line."""
        raise NotImplementedError

    def _is_ready(self) -> bool:
        return accepts_connections("127.0.0.1", self.port)

    def __enter__(self) -> Self:
        """Start it."""
        return self.start()

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        """Stop it."""
        self.stop()


class Postfix(Server):
    """A Postfix instance that accepts mail for `MAIL_DOMAIN` and delivers all of it into one maildir."""

    program = "postfix"

    def __init__(
        self,
        *,
        service: Sequence[str] = (),
        processes: int = 100,
        options: Mapping[str, str] | None = None,
        postscreen: bool = False,
    ) -> None:
        """Describe it: `service` holds main.cf settings of the listener, `options` settings of the instance.

        With `postscreen`, that is in front of the listener.
        """
        super().__init__()
        self._service = service
        self._processes = processes
        self._options = dict(options or {})
        self._postscreen = postscreen

    # ---- what tests read

    @property
    def log(self) -> str:
        """Its mail log so far."""
        path = self.folder / "mail.log"
        return path.read_text(errors="backslashreplace") if path.exists() else ""

    def queued(self, mark: bytes) -> bool:
        """Tell whether the queue holds, in any state, a message that contains `mark`."""
        folders = ("incoming", "active", "deferred", "hold", "maildrop")
        files = [path for each in folders for path in (self.folder / "queue" / each).rglob("*") if path.is_file()]
        for path in files:
            with contextlib.suppress(FileNotFoundError):  # delivered meanwhile
                if mark in path.read_bytes():
                    return True
        return False

    def delivered(self, mark: bytes = b"") -> list[bytes]:
        """Return the messages in the maildir that contain `mark`, oldest first, with the line ends of the wire.

        The delivery agent turns CR LF into LF; nothing else is undone, so Postfix's own header fields come first.
        """
        paths = sorted((self.folder / "mail" / "inbox" / "new").glob("*"), key=lambda path: path.stat().st_mtime_ns)
        texts = [path.read_bytes().replace(b"\n", b"\r\n") for path in paths]
        return [text for text in texts if mark in text]

    # ---- its files

    def _prepare(self) -> list[str]:
        owner = pwd.getpwnam("postfix")
        for name, user, group in (
            ("queue", 0, 0),
            ("data", owner.pw_uid, 0),
            ("mail", owner.pw_uid, owner.pw_gid),
        ):
            (self.folder / name).mkdir()
            os.chown(self.folder / name, user, group)
        (self.folder / "recipients").write_text(f"/^{REFUSED_RECIPIENT}$/ 550 5.1.1 No such person here\n")
        settings = {**self._settings(owner), **self._options}
        (self.folder / "main.cf").write_text("".join(f"{name} = {value}\n" for name, value in settings.items()))
        service = " ".join(f"-o {setting}" for setting in self._service)
        server = f"n - {self._processes} smtpd {service}\n"
        place = f"127.0.0.1:{self.port} inet n -"
        listener = f"{place} n - 1 postscreen\nsmtpd pass - - {server}" if self._postscreen else f"{place} {server}"
        (self.folder / "master.cf").write_text(_MASTER + listener)
        check = subprocess.run(
            [find_program("postfix"), "-c", self.folder, "check"], capture_output=True, text=True, check=False
        )
        assert check.returncode == 0, f"postfix check: {check.stderr}"
        # `postfix start-fg` leaves a shell between us and the master daemon; -d keeps it in our process group.
        return [str(POSTFIX_DAEMONS / "master"), "-c", str(self.folder), "-d"]

    def _settings(self, owner: pwd.struct_passwd) -> dict[str, str]:
        return {
            "compatibility_level": "3.6",
            "mail_owner": "postfix",
            "setgid_group": "postdrop",
            "queue_directory": f"{self.folder}/queue",
            "data_directory": f"{self.folder}/data",
            "command_directory": str(Path(find_program("postfix")).parent),
            "daemon_directory": str(POSTFIX_DAEMONS),
            "myhostname": "upstream.test",
            "myorigin": MAIL_DOMAIN,
            "mydestination": "",
            "mynetworks": "192.0.2.0/24",
            "inet_interfaces": "127.0.0.1",
            "inet_protocols": "ipv4",
            "smtpd_peername_lookup": "no",
            "smtpd_recipient_restrictions": f"check_recipient_access regexp:{self.folder}/recipients,"
            " permit_auth_destination, reject",
            "smtpd_relay_restrictions": "",
            "smtpd_client_connection_count_limit": "0",
            "smtpd_forbid_unauth_pipelining": "yes",
            "virtual_mailbox_domains": MAIL_DOMAIN,
            "virtual_mailbox_base": f"{self.folder}/mail",
            "virtual_mailbox_maps": "static:inbox/",
            "virtual_uid_maps": f"static:{owner.pw_uid}",
            "virtual_gid_maps": f"static:{owner.pw_gid}",
            "virtual_minimum_uid": "1",
            "local_recipient_maps": "",
            "local_header_rewrite_clients": "",  # a message without Date or From stays without
            "alias_maps": "",
            "in_flow_delay": "0",
            "message_size_limit": "52428800",
            "virtual_mailbox_limit": "0",
            "maillog_file": f"{self.folder}/mail.log",
            "maillog_file_prefixes": str(self.folder),
        }


@dataclass(frozen=True, slots=True)
class Zone:
    """The names that a `Dnsmasq` knows. Every other name does not exist (NXDOMAIN)."""

    addresses: Mapping[str, Sequence[str]]
    """Host name → its IPv4 addresses."""
    exchangers: Mapping[str, Sequence[tuple[int, str]]]
    """Domain → (preference, host) of its MX records."""
    aliases: Mapping[str, str] = field(default_factory=dict)
    """Alias → the host name that it leads to (CNAME)."""
    unanswered: Sequence[str] = ()
    """Domains whose name servers never answer."""
    texts: Mapping[str, str] = field(default_factory=dict)
    """Name → its TXT record: a name may be there without an address."""


class Dnsmasq(Server):
    """A dnsmasq that answers from a `Zone` only and forwards nothing to the world."""

    program = "dnsmasq"

    def __init__(self, zone: Zone) -> None:
        """Describe it."""
        super().__init__()
        self._zone = zone
        self._mute = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)

    def stop(self) -> None:
        """Stop it and remove its folder."""
        self._mute.close()
        super().stop()

    def _prepare(self) -> list[str]:
        self._mute.bind(("127.0.0.1", 0))
        configuration = self.folder / "dnsmasq.conf"
        configuration.write_text("\n".join(self._lines()) + "\n")
        return [find_program(self.program), "--keep-in-foreground", f"--conf-file={configuration}"]

    def _is_ready(self) -> bool:
        return answers_dns("127.0.0.1", self.port)

    def _lines(self) -> list[str]:
        mute = self._mute.getsockname()[1]
        return [
            f"port={self.port}",
            "listen-address=127.0.0.1",
            "bind-interfaces",
            "no-resolv",
            "no-hosts",
            "no-poll",
            "cache-size=0",
            "local-ttl=60",
            "local=/#/",
            f"user={pwd.getpwuid(os.geteuid()).pw_name}",
            f"pid-file={self.folder}/dnsmasq.pid",
            *(f"host-record={name},{each}" for name, those in self._zone.addresses.items() for each in those),
            *(f"mx-host={name},{host},{rank}" for name, mx in self._zone.exchangers.items() for rank, host in mx),
            *(f"cname={alias},{host}" for alias, host in self._zone.aliases.items()),
            *(f"txt-record={name},{text}" for name, text in self._zone.texts.items()),
            *(f"server=/{name}/127.0.0.1#{mute}" for name in self._zone.unanswered),
        ]


def answers_dns(address: str, port: int) -> bool:
    """Tell whether a DNS server answers a question there, whatever it says."""
    question = struct.pack("!6H", 1, 0x0100, 1, 0, 0, 0) + b"\x05ready\x04test\x00" + struct.pack("!2H", 1, 1)
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as client:
        client.settimeout(0.2)
        try:
            client.sendto(question, (address, port))
            return len(client.recv(512)) > 0
        except OSError:
            return False


class SmtpSink(Server):
    """Postfix's smtp-sink: it swallows mail as fast as it comes and counts it."""

    program = "smtp-sink"

    def __init__(self, *, backlog: int = 1000, sessions: int = 256) -> None:
        """Describe it: `backlog` connections may wait to be accepted, beside the sessions that it serves at once."""
        super().__init__()
        self._backlog, self._sessions = backlog, sessions

    @property
    def count(self) -> int:
        """Messages that ended with a dot so far."""
        counts = re.findall(r"mesg=(\d+)", self.running.stdout.read_text())
        return int(counts[-1]) if counts else 0

    def _prepare(self) -> list[str]:
        user = ["-u", "nobody"] if os.geteuid() == 0 else []
        most = ["-m", str(self._sessions)]
        return [find_program(self.program), "-c", *most, *user, self.address, str(self._backlog)]


class RedisServer(Server):
    """Redis, in memory alone. It keeps its port, so that it may be stopped and started again."""

    program = "redis-server"

    def __init__(self, *options: str, tls: bool = False) -> None:
        """Describe it by options as on its command line; with `tls` they name its certificate and key."""
        super().__init__()
        self._options, self._tls = options, tls

    @property
    def socket(self) -> str:
        """The path of its socket."""
        return f"{self.folder}/socket"

    def kill(self) -> None:
        """End it without a chance to say goodbye."""
        self.running.process.kill()
        self.stop()

    def _prepare(self) -> list[str]:
        ports = ["--port", "0", "--tls-port", str(self.port)] if self._tls else ["--port", str(self.port)]
        listening = ["--bind", "127.0.0.1", *ports, "--unixsocket", self.socket]
        return [find_program(self.program), *listening, "--save", "", "--appendonly", "no", *self._options]
