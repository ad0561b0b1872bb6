"""A real Exim that receives: a daemon on loopback that delivers all mail for `MAIL_DOMAIN` into one folder."""

from __future__ import annotations

import subprocess
from collections.abc import Sequence
from types import TracebackType
from typing import Self

from tests.support.exim import Exim
from tests.support.programs import Program, accepts_connections, free_port
from tests.support.servers import MAIL_DOMAIN

_CONFIGURATION = """\
primary_hostname = upstream.test
exim_path = {folder}/exim4
deliver_drop_privilege = true
spool_directory = {folder}/spool
log_file_path = {folder}/log-%s
pid_file_path = {folder}/pid
log_selector = +smtp_connection
exim_user = nobody
exim_group = {group}
never_users =
keep_environment = *
tls_advertise_hosts =
disable_ipv6 = true
local_interfaces = 127.0.0.1
daemon_smtp_ports = {port}
domainlist local_domains = {domain}
acl_smtp_rcpt = rcpt
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


class EximServer(Exim):
    """The daemon; it runs while its context is entered."""

    def __init__(self, settings: Sequence[str] = ()) -> None:
        """Describe it by lines of its main section; one that names `relay_from_hosts` is heeded at RCPT."""
        super().__init__()
        self._settings = tuple(settings)
        self.port = free_port()
        self._running: Program | None = None

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

    def start(self) -> Self:
        """Start the daemon and wait until it serves."""
        text = _CONFIGURATION.format(
            folder=self.folder,
            group=self.group,
            port=self.port,
            domain=MAIL_DOMAIN,
            settings="\n".join(self._settings),
            relaying=_RELAYING if any("relay_from_hosts" in line for line in self._settings) else "",
        )
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
