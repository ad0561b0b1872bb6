"""Real Exims that receive, as daemons on loopback: one is Ringback's next hop, one is the MX of a sender domain."""

from __future__ import annotations

import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Self

from tests.support.exim import Exim
from tests.support.programs import Program, accepts_connections, free_port
from tests.support.servers import MAIL_DOMAIN

_CONFIGURATION = """\
exim_path = {folder}/exim4
deliver_drop_privilege = true
spool_directory = {folder}/spool
log_file_path = {folder}/log-%s
pid_file_path = {folder}/pid
exim_user = nobody
exim_group = {group}
never_users =
keep_environment = *
disable_ipv6 = true
local_interfaces = 127.0.0.1
daemon_smtp_ports = {port}
acl_smtp_rcpt = rcpt
{parts}
"""

_BEHIND = """\
primary_hostname = upstream.test
log_selector = +smtp_connection
tls_advertise_hosts =
domainlist local_domains = {domain}
{settings}
begin acl
rcpt:
  deny hosts = 127.0.0.99
       message = this client is refused
{relaying}
  require message = relay not permitted
          domains = +local_domains
  require verify = recipient
  accept
begin routers
refused:
  driver = redirect
  domains = +local_domains
  local_parts = nobody
  allow_fail
  data = :fail: No such person here
here:
  driver = accept
  transport = inbox
begin transports
inbox:
  driver = appendfile
  directory = {folder}/inbox
  maildir_format
  user = nobody
"""

_RELAYING = """\
  accept hosts = +relay_from_hosts
"""

_EXCHANGER = """\
primary_hostname = mx.{domain}
host_lookup =
tls_advertise_hosts = {tls}
tls_certificate = {certificate}
begin acl
rcpt:
  require  message = relay not permitted
           domains = {domain}
{rules}
  require  verify = recipient
  accept
begin routers
full:
  driver = redirect
  local_parts = full
  allow_fail
  data = :fail: mailbox is full
gone:
  driver = redirect
  local_parts = gone
  allow_fail
  data = :fail: account disabled
known:
  driver = accept
  local_parts = {known}
  transport = nowhere
begin transports
nowhere:
  driver = appendfile
  file = /dev/null
"""


class EximServer(Exim):
    """A daemon; it runs while its context is entered. `_parts` is what its configuration says of mail."""

    def __init__(self) -> None:
        """Choose the port."""
        super().__init__()
        self.port = free_port()
        self._running: Program | None = None

    def _parts(self) -> str:
        """Return its main options, ACLs, routers and transports."""
        raise NotImplementedError

    def start(self) -> Self:
        """Start the daemon and wait until it serves."""
        text = _CONFIGURATION.format(folder=self.folder, group=self.group, port=self.port, parts=self._parts())
        (self.folder / "exim.conf").write_text(text)
        command = [str(self.folder / "exim4"), "-C", str(self.folder / "exim.conf"), "-bdf"]
        self._running = Program(command, folder=self.folder, name="exim", environment=self.environment)
        self._running.wait_ready(lambda: accepts_connections("127.0.0.1", self.port))
        return self

    def __enter__(self) -> Self:
        """Make its folder and start it."""
        super().__enter__()
        try:
            return self.start()
        except BaseException:
            self.__exit__(None, None, None)
            raise

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        """Stop it and remove its folder."""
        if self._running is not None:
            self._running.stop()
        super().__exit__(kind, error, at)


class EximUpstream(EximServer):
    """An Exim as the next hop. It delivers all mail for `MAIL_DOMAIN` into one folder."""

    def __init__(self, settings: Sequence[str] = ()) -> None:
        """Describe it by lines of its main section; one that names `relay_from_hosts` is heeded at RCPT."""
        super().__init__()
        self._settings = tuple(settings)

    def delivered(self, mark: bytes = b"") -> list[bytes]:
        """Return the messages in the folder that contain `mark`, in no order."""
        texts = [path.read_bytes() for path in (self.folder / "inbox" / "new").glob("*")]
        return [text for text in texts if mark in text]

    def speaks(self, feature: str) -> bool:
        """Tell whether it was built with a feature, as `exim -bV` names it."""
        (self.folder / "empty.conf").write_text("keep_environment = *\n")
        shown = subprocess.run(
            [self.folder / "exim4", "-C", self.folder / "empty.conf", "-bV"],
            env=self.environment, capture_output=True, text=True, check=True,
        )  # fmt: skip
        return feature in shown.stdout.partition("Support for:")[2].partition("\n")[0].split()

    def _parts(self) -> str:
        return _BEHIND.format(
            folder=self.folder,
            domain=MAIL_DOMAIN,
            settings="\n".join(self._settings),
            relaying=_RELAYING if any("relay_from_hosts" in line for line in self._settings) else "",
        )


class EximExchanger(EximServer):
    """The exchanger of one domain: it knows a few local parts; `full` is over its quota, `gone` is switched off."""

    def __init__(
        self, domain: str, known: tuple[str, ...], *, put_off: Mapping[str, str], certificate: Path | None = None
    ) -> None:
        """Describe it: `put_off` are local parts with what they are deferred by; TLS is offered with a certificate."""
        super().__init__()
        self._domain, self._known, self._put_off, self._certificate = domain, known, put_off, certificate

    def _parts(self) -> str:
        rules = [
            f"  defer    local_parts = {local_part}\n           message = {message}"
            for local_part, message in self._put_off.items()
        ]
        return _EXCHANGER.format(
            domain=self._domain,
            rules="\n".join(rules),
            known=" : ".join(self._known),
            tls="*" if self._certificate else "",
            certificate=self._certificate or "",
        )
