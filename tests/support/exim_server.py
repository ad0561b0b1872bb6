"""A real Exim that takes mail for one domain, with the ACLs that its manual suggests."""

from __future__ import annotations

import grp
import pwd
from collections.abc import Mapping
from contextlib import ExitStack
from pathlib import Path

from tests.support.exim import Exim
from tests.support.programs import Program, accepts_connections
from tests.support.servers import Server

_CONFIGURATION = """\
primary_hostname = mx.{domain}
exim_path = {folder}/exim4
deliver_drop_privilege = true
spool_directory = {folder}/spool
log_file_path = {folder}/log-%s
pid_file_path = {folder}/pid
exim_user = nobody
exim_group = {group}
never_users =
keep_environment = *
host_lookup =
local_interfaces = 127.0.0.1
daemon_smtp_ports = {port}
disable_ipv6 = true
tls_advertise_hosts = {tls}
tls_certificate = {certificate}
acl_smtp_rcpt = rcpt
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


class EximServer(Server):
    """An Exim that knows a few local parts; `full` is over its quota, `gone` has been switched off."""

    program = "exim4"

    def __init__(
        self, domain: str, known: tuple[str, ...], *, put_off: Mapping[str, str], certificate: Path | None = None
    ) -> None:
        """Describe it: `put_off` are local parts with what they are deferred by; TLS is offered with a certificate."""
        super().__init__()
        self._domain, self._known, self._put_off, self._certificate = domain, known, put_off, certificate
        self._stack = ExitStack()

    def start(self) -> EximServer:
        """Start it, and wait until it serves.

        Raises:
            MissingProgramError: it is neither installed nor unpacked.
        """
        exim = self._stack.enter_context(Exim())
        configuration = exim.folder / "exim.conf"
        configuration.write_text(self._configuration(exim.folder))
        arguments = [str(exim.folder / "exim4"), "-C", str(configuration), "-bdf"]
        try:
            self._running = Program(arguments, folder=exim.folder, name=self.program, environment=exim.environment)
            self._running.wait_ready(lambda: accepts_connections("127.0.0.1", self.port))
        except BaseException:
            self.stop()
            raise
        return self

    def stop(self) -> None:
        """Stop it and remove its folder."""
        super().stop()
        self._stack.close()

    def _configuration(self, folder: Path) -> str:
        rules = [
            f"  defer    local_parts = {local_part}\n           message = {message}"
            for local_part, message in self._put_off.items()
        ]
        return _CONFIGURATION.format(
            folder=folder,
            group=grp.getgrgid(pwd.getpwnam("nobody").pw_gid).gr_name,
            port=self.port,
            domain=self._domain,
            rules="\n".join(rules),
            known=" : ".join(self._known),
            tls="*" if self._certificate else "",
            certificate=self._certificate or "",
        )
